"""Gives the unused channels of a trained model a new start (growth.revive), and writes a model file.

    python -m experiments.tools.revive --train_glob='photos/**/*.jpg' --output=start.npz
    python train.py --init_from=start.npz --rate_ramp=1500 ...

With `--num_filters` the model is widened first (growth.grow), and it is the new channels that start so.

Nothing is trained here: the file is a start. train.py reads in it which channels were revived, and
holds the gradient of their rate back for `--rate_ramp` steps.
"""

import dataclasses

import numpy as np
import tensorflow as tf
from absl import flags

from experiments.common import program
from gllmm_tf.errors import ModelError
from gllmm_tf.model.compression import CompressionModel, build
from gllmm_tf.training import data, growth
from gllmm_tf.zoo import model_file
from gllmm_tf.zoo.registry import DEFAULT_MODEL, read_model

PATCH = 128
CHANGES = ("hyper_filters", "deep_filters", "lambdas")


def define_flags() -> None:
    flags.DEFINE_string("model", DEFAULT_MODEL, "Name, file or run of a variable-rate model.")
    flags.DEFINE_integer("num_filters", 0, "N of a wider model; 0: as it is.", lower_bound=0)
    flags.DEFINE_integer("hyper_filters", 0, "Of a wider model, see ModelConfig.", lower_bound=0)
    flags.DEFINE_integer("deep_filters", 0, "Of a wider model, see ModelConfig.", lower_bound=0)
    flags.DEFINE_list("lambdas", [], "Of a wider model; empty: as they are.")
    flags.DEFINE_list("train_glob", None, "Training photographs, as for train.py.", required=True)
    flags.DEFINE_string("cache_dir", "runs/cache", "Folder for the decoded photographs.")
    flags.DEFINE_integer("crops", 512, f"Crops, {PATCH} pixels wide, on which the start is fitted.")
    flags.DEFINE_integer("validation_images", 16, "Photographs held out, as for train.py.")
    flags.DEFINE_integer("seed", 0, "Decides the crops and initial weights.")
    flags.DEFINE_string("output", None, "The model file to write.", required=True)


def widened(stored, num_filters: int, **changes):
    """The model of a file with more channels: (model, the new channels).

    Args:
        stored: `ModelFile`.
        num_filters: N, or 0 to leave the model as it is, with None for the channels.
        **changes: Other fields of the wider model's configuration.

    Raises:
        ModelError: the file has as many already.
    """
    start = CompressionModel.load(stored)
    if not num_filters:
        return start, None
    if num_filters <= stored.config.num_filters:
        raise ModelError(f"the model has {stored.config.num_filters} filters already: name more")
    config = dataclasses.replace(stored.config, num_filters=num_filters, **changes)
    wide = build(config)
    growth.grow(wide, start)
    return wide, np.arange(num_filters) >= stored.config.num_filters


def revive(f):
    """Writes the file; returns what was done, in one line."""
    tf.keras.utils.set_random_seed(f.seed)
    stored = read_model(f.model)
    changes = {name: getattr(f, name) for name in CHANGES if getattr(f, name)}
    if "lambdas" in changes:
        changes["lambdas"] = tuple(program.numbers("lambdas", changes["lambdas"]))
    start, new = widened(stored, f.num_filters, **changes)
    photographs, _ = data.split(data.find_pictures(f.train_glob), f.validation_images)
    pictures = data.Pictures.open(photographs, f.cache_dir)
    source = data.Crops(pictures, PATCH, f.seed, start.config.num_qualities)
    crops = np.concatenate([c.numpy() for c, _ in source.dataset(0, 1, f.crops)])
    revived = np.flatnonzero(growth.revive(start, crops, new)).tolist()
    if not revived:
        raise ModelError(f"{f.model}: all its channels are in use, there are none to revive")
    model_file.export_model(start, f.output, {**stored.info, "revived": revived})
    return f"{f.output}: {len(revived)} of {start.config.num_filters} channels revived"


def main(f: flags.FlagValues) -> None:
    print(revive(f))


if __name__ == "__main__":
    program.run(main, define_flags)
