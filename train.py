"""Trains a model, or continues an interrupted training: `gllmm train`, run from a checkout.

    python train.py --train_glob='photos/**/*.jpg' --run_dir=runs/first --num_filters=48
    python train.py --config=experiments/configs/gllmm_n48.py --train_glob=.. --run_dir=..

The folder of the run holds config.json, metrics.jsonl (one line of means per --log_every steps),
tensorboard/, checkpoints/ and model.npz, which compress.py takes as --model. Kill it at any moment:
the same command continues.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from gllmm_tf.training import flags  # noqa: E402

if __name__ == "__main__":
    flags.main([os.path.basename(sys.argv[0]), *sys.argv[1:]])
