"""Trains a model, or continues an interrupted training.

    python train.py --train_glob='photos/**/*.jpg' --run_dir=runs/first --num_filters=48
    python train.py --config=experiments/configs/gllmm_n48.py --train_glob=.. --run_dir=..

The folder of the run holds config.json, metrics.jsonl (one line of means per --log_every steps),
tensorboard/, checkpoints/ and model.npz, which compress.py takes as --model. Kill it at any moment:
the same command continues.
"""

import dataclasses
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import app, flags  # noqa: E402

from gllmm_tf import errors  # noqa: E402
from gllmm_tf.training import run as training  # noqa: E402

DEFINE = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
}
FIELDS = dataclasses.fields(training.Settings)
for field in FIELDS:
    DEFINE[field.type](field.name, field.default, field.metadata["help"])
CONFIG = flags.DEFINE_string(
    "config",
    "",
    "FILE.py or FILE.py:KEY with SETTINGS; flags on the command line come before them.",
)


def settings():
    """Returns the Settings that the flags, and the file that --config names, decide."""
    values = training.read_config(CONFIG.value) if CONFIG.value else {}
    for name in (field.name for field in FIELDS):
        if flags.FLAGS[name].present or name not in values:
            values[name] = flags.FLAGS[name].value
    return training.Settings(**values)


def parse(argv):
    """Parses the flags; a wrong one ends the program with one line."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        sys.exit(f"train.py: {error}; see --help")


def main(argv):
    if len(argv) > 1:
        sys.exit(f"train.py: unexpected argument {argv[1]!r}; every setting is a flag, see --help")
    try:
        training.train(settings())
    except errors.GllmmError as error:
        sys.exit(f"train.py: {error}")


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
