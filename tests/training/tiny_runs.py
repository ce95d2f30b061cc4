"""Tiny runs of training, and what is compared of them."""

import glob
import json
import os

import numpy as np
import tensorflow as tf

from gllmm_tf.training.settings import Settings

TINY = dict(
    num_filters=8,
    families=("gaussian",),
    components=1,
    stages=1,
    entropy_widths=(16, 16),
    patch=64,
    batch=2,
    steps=6,
    warmup=1,
    validation_images=1,
    validation_size=64,
    validation_files=0,
    precision="float32",
    log_every=1,
    checkpoint_every=3,
    evaluate_every=0,
)
LAMBDAS = (0.002, 0.01, 0.05)


def tiny(**changes):
    """Settings of a tiny run."""
    return Settings.of(**{**TINY, **changes})


def state(learner):
    """Everything that a step may change but the clock, as arrays."""
    average = learner.average.averages if learner.average else []
    counters = [learner.step, learner.skipped, learner.pixels]
    variables = [*learner.model.variables, *learner.optimizer.variables, *average, *counters]
    return [v.numpy() for v in variables]


def assert_same(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second):
        np.testing.assert_array_equal(a, b)


def rows_of(folder):
    """Lines of metrics.jsonl without what a clock measured."""
    with open(os.path.join(folder, "metrics.jsonl")) as f:
        rows = [json.loads(line) for line in f]
    for row in rows:
        row.pop("seconds", None)
        row.pop("seconds_per_step", None)
    return rows


def tensorboard_tags(folder):
    """Names of everything that the run has put on TensorBoard."""
    tags = set()
    for path in glob.glob(os.path.join(folder, "tensorboard", "events*")):
        for record in tf.data.TFRecordDataset(path):
            event = tf.compat.v1.Event.FromString(record.numpy())
            tags.update(value.tag for value in event.summary.value)
    return tags


PRECISIONS = {
    "float32": dict(precision="float32", optimizer="adam", ema=0.0),
    "bfloat16": dict(precision="bfloat16", optimizer="muon", lambdas=LAMBDAS, validation_files=1),
}


def batch(learner, size=64):
    """(smooth crops, qualities)."""
    rows, columns = np.mgrid[:size, :size]
    waves = np.stack([rows / 9 + k * columns / 14 for k in (-1, 0, 1)], -1)
    crops = np.stack([128 + 90 * np.sin(waves), 128 + 90 * np.cos(2 * waves)])
    qualities = np.array([1.0, 2.5] if learner.config.lambdas else [0.0, 0.0], np.float32)
    return tf.constant(crops.astype(np.uint8)), tf.constant(qualities)
