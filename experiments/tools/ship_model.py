"""Makes the file of a model that ships: its scale of qualities, packed.

    python -m experiments.tools.ship_model --model=runs/high --positions=1.2,2,3.3,5 --base=gllmm-n144 \\
        --train_glob='photos/**/*.jpg' --output=gllmm-n144-high.npz
    python -m experiments.tools.ship_model --model=gllmm-n144-ms-ssim --base=gllmm-n144 --output=same.npz

`--positions` are the places on the trained scale, from 1 on, that become the model's integer qualities, so
that a scale goes on where another model's ends. With them it is another model than before, whose averages
on the held-out photographs are printed and recorded. Without them the model stays what it is, and only its
file changes.
"""

import dataclasses

import numpy as np
from absl import flags

from experiments.common import program
from gllmm_tf.coding import empty_channels
from gllmm_tf.errors import ModelError
from gllmm_tf.model.compression import CompressionModel, build
from gllmm_tf.training import data, growth
from gllmm_tf.training.judge import Judge
from gllmm_tf.training.run import spread
from gllmm_tf.zoo.model_file import ModelFile
from gllmm_tf.zoo.registry import RELEASED, read_model


def define_flags() -> None:
    flags.DEFINE_string("model", None, "Name, file or run of a model.", required=True)
    flags.DEFINE_string("base", "", "Released model from which it was trained on.")
    flags.DEFINE_list("positions", [], "Places on the trained scale that become integer qualities.")
    flags.DEFINE_list(
        "train_glob", [], "Training photographs, as for train.py, for a changed model."
    )
    flags.DEFINE_integer("validation_images", 16, "Photographs held out, as for train.py.")
    flags.DEFINE_integer("validation_size", 256, "Side of their centres, as for train.py.")
    flags.DEFINE_string("output", None, "The model file to write.", required=True)


def rescale(stored: ModelFile, positions: list[float]) -> CompressionModel:
    """Returns the model with other integer qualities: `positions` on the scale that it has, from 1 on.

    Lambdas are interpolated in their logarithms, as training does it between two qualities. Between two
    new qualities gains are on the line between those, no longer bent at an old one.
    """
    start = CompressionModel.load(stored)
    old = np.log(stored.config.lambdas)
    lambdas = np.exp(growth.on_lines(np.array(positions), np.arange(len(old)) + 1.0, old))
    model = build(dataclasses.replace(start.config, lambdas=tuple(lambdas.tolist())))
    growth.grow(model, start)
    return model


def changed(f, stored: ModelFile) -> ModelFile:
    """Returns the model on another scale, and with what it does on held-out photographs."""
    if not stored.config.lambdas:
        raise ModelError(f"{f.model}: has a fixed rate; give a model of variable rate")
    positions = program.numbers("positions", f.positions)
    model = rescale(stored, positions)
    seen, held_out = data.split(data.find_pictures(f.train_glob), f.validation_images)
    empty_rows = empty_channels.fit(model, (data.decode(path) for path in spread(seen)))
    info = {**stored.info, "lambdas": list(model.config.lambdas), "positions": positions}
    made = ModelFile.from_model(model, info, empty_rows)
    judge = Judge(CompressionModel.load(made), model.config.lambdas, model.config.metric)
    made.info["validation"] = judge.evaluate(data.centres(held_out, f.validation_size))
    return made


def main(f: flags.FlagValues) -> None:
    stored = read_model(f.model)
    if f.positions:
        stored = changed(f, stored)
        for row in stored.info["validation"]["qualities"]:
            print("quality {quality} {bpp:.4f} bpp {psnr:.2f} dB".format(**row))
    if f.base and f.base not in RELEASED:
        raise ModelError(
            f"{f.base}: is not a released model, on which others may rest: omit --base"
        )
    stored.save(f.output, packed=True, base=read_model(f.base) if f.base else None)
    print(f"{f.output}: model {read_model(f.output).identity.hex()}")


if __name__ == "__main__":
    program.run(main, define_flags)
