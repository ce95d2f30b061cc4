"""Trains a model, or continues an interrupted training.

    python train.py --train_glob='photos/**/*.jpg' --run_dir=runs/first --num_filters=48 --steps=20000

The folder of the run holds config.json, metrics.jsonl (one line of means per --log_every steps), tensorboard/,
checkpoints/ and model.npz, which compress.py takes as --model. Kill it at any moment: the same command continues.
"""

import dataclasses
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import app, flags  # noqa: E402

from gllmm_tf import errors, training  # noqa: E402

DEFINE = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
}
for field in dataclasses.fields(training.Settings):
    DEFINE[field.type](field.name, field.default, field.metadata["help"])


def main(argv):
    if len(argv) > 1:
        sys.exit(f"train.py: unexpected argument {argv[1]!r}; every setting is a flag, see --help")
    names = [field.name for field in dataclasses.fields(training.Settings)]
    try:
        training.train(training.Settings(**{name: flags.FLAGS[name].value for name in names}))
    except errors.GllmmError as error:
        sys.exit(f"train.py: {error}")


if __name__ == "__main__":
    app.run(main)
