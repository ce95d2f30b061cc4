"""Moves the highest quality of a trained model further out, and writes a model file.

    python -m experiments.tools.extend_range --model=trained.npz --by=0.2 \\
        --train_glob='photos/**/*.jpg' --output=gllmm-n144.npz

Training makes a model cheaper at each of its lambdas, so that the range of rates that it covers ends
earlier than before. A variable-rate model is a straight line between two qualities, in the logarithm of
its gains and in the offset of phi; this goes on along the last of these lines: what was quality Q + 0.2
becomes quality Q. Files of qualities up to Q - 1 stay as they were, but for the identity of the model in
them. Nothing is trained, and lambda of quality Q stays what the model was trained with.

Prints the averages on the held-out photographs at the last two qualities, before and after.
"""

from absl import flags

from experiments.common import program
from gllmm_tf.coding import empty_channels
from gllmm_tf.errors import ModelError
from gllmm_tf.model.compression import CompressionModel
from gllmm_tf.training import data
from gllmm_tf.training.judge import Judge
from gllmm_tf.training.run import spread
from gllmm_tf.zoo import model_file
from gllmm_tf.zoo.registry import DEFAULT_MODEL, read_model


def define_flags() -> None:
    flags.DEFINE_string("model", DEFAULT_MODEL, "Name, file or run of a variable-rate model.")
    flags.DEFINE_float("by", 0.2, "How far, in qualities.", lower_bound=0.0, upper_bound=1.0)
    flags.DEFINE_list("train_glob", None, "Training photographs, as for train.py.", required=True)
    flags.DEFINE_integer("validation_images", 16, "Photographs held out, as for train.py.")
    flags.DEFINE_integer("validation_size", 256, "Side of their centres, as for train.py.")
    flags.DEFINE_string("output", None, "The model file to write.", required=True)


def extend(gains, by):
    """Moves the last row of each table of `model.Gains` along the line from the row before."""
    for table in gains.weights:
        rows = table.numpy()
        rows[-1] += by * (rows[-1] - rows[-2])
        table.assign(rows)


def run(f):
    """Writes the file; returns the lines to print."""
    stored = read_model(f.model)
    if not stored.config.lambdas:
        raise ModelError(f"{f.model}: has a fixed rate; give a model of variable rate")
    seen, held_out = data.split(data.find_pictures(f.train_glob), f.validation_images)
    centres = data.centres(held_out, f.validation_size)
    model, lines = CompressionModel.load(stored), []
    judge = Judge(model, stored.config.lambdas, stored.config.metric)
    for state in ("before", "after"):
        if state == "after":
            extend(model.gains, f.by)
        result = judge.evaluate(centres)
        for row in result["qualities"][-2:]:
            lines.append("{:6} quality {quality} {bpp:.4f} bpp {psnr:.2f} dB".format(state, **row))
    empty_rows = empty_channels.fit(model, (data.decode(path) for path in spread(seen)))
    known = stored.exact.get(empty_channels.NAME)
    if known is not None and empty_rows is not None:
        empty_rows[:-1] = known[:-1]
    info = {**stored.info, "validation": result, "last_quality_moved_by": f.by}
    model_file.export_model(model, f.output, info, empty_rows)
    return lines


def main(f: flags.FlagValues) -> None:
    print("\n".join(run(f)))


if __name__ == "__main__":
    program.run(main, define_flags)
