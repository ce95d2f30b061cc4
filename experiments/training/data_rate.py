"""Does the input pipeline hold training up? Step time with real data against synthetic data.

    python -m experiments.training.data_rate --train_glob='photos/**/*.jpg' --num_filters=48 \\
        --run_dir=runs/data_rate --cache_dir=runs/cache

takes every flag of train.py, and the training step of N = --num_filters with crops that are drawn, cut
and flipped as in training, and with one batch that lies ready in memory, in turns of --block steps, and
prints the medians over the blocks' times per step and their ratio. The limit is 1.05 (exit status 1
above it). Decoding the pictures into the cache comes before, as in training. It takes about two
minutes on two cores at N = 48, beside one decoding of all pictures.

`crops alone` is what the pipeline can deliver when nothing else runs, in batches per second.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Iterator

import tensorflow as tf
from absl import flags

from experiments.common import program, records
from experiments.common.program import LimitError
from gllmm_tf.training import data
from gllmm_tf.training import flags as training_flags
from gllmm_tf.training.learner import Learner
from gllmm_tf.training.settings import Settings

LIMIT = 1.05


def seconds_of(learner: Learner, batches: Iterator, first: int, count: int) -> float:
    """Takes `count` steps from step number `first`; returns seconds per step."""
    start = time.perf_counter()
    for step in range(first, first + count):
        learner.take_step(*next(batches), step)
    return (time.perf_counter() - start) / count


def synthetic(settings: Settings) -> Iterator:
    """Yields one batch again and again."""
    shape = (settings.data.batch, settings.data.patch, settings.data.patch, 3)
    crops = tf.cast(tf.random.stateless_uniform(shape, (1, 2), 0, 256, tf.int32), tf.uint8)
    quality = tf.linspace(1.0, float(len(settings.model.lambdas)), settings.data.batch)
    while True:
        yield crops, quality


def measure(settings: Settings, blocks: int, block: int) -> dict:
    """Returns the figures as a dict."""
    cache = settings.data.cache_dir or os.path.join(settings.run.run_dir, "cache")
    pictures = data.Pictures.open(data.find_pictures(settings.data.train_glob), cache)
    qualities = len(settings.model.lambdas)
    crops = data.Crops(
        pictures, settings.data.patch, settings.run.seed, qualities if qualities > 1 else None
    )
    learner = Learner(settings)
    steps = (blocks + 1) * block
    kinds = {
        "real": iter(crops.dataset(0, steps, settings.data.batch)),
        "synthetic": synthetic(settings),
    }
    times = {name: [] for name in kinds}
    for number in range(blocks + 1):
        for name, batches in kinds.items():
            seconds = seconds_of(learner, batches, number * block, block)
            if number:  # the first block traces
                times[name].append(seconds)
    start = time.perf_counter()
    for step in range(steps, steps + 20):
        crops.batch(step, settings.data.batch)
    medians = {f"{name}_seconds_per_step": statistics.median(t) for name, t in times.items()}
    return {
        **medians,
        "ratio": medians["real_seconds_per_step"] / medians["synthetic_seconds_per_step"],
        "crops_alone_batches_per_second": 20 / (time.perf_counter() - start),
        "blocks": blocks,
        "steps_per_block": block,
        "pictures": len(crops),
        "settings": {
            name: value
            for name, value in settings.flat().items()
            if name in ("num_filters", "patch", "batch", "precision", "optimizer", "lambdas")
        },
    }


def define_flags() -> None:
    training_flags.define(flags.FLAGS)
    flags.DEFINE_integer("blocks", 8, "Blocks of steps with each kind of data.", 1)
    flags.DEFINE_integer("block", 20, "Steps per block.", 1)
    flags.DEFINE_string("output", "", "JSON file for the figures; empty: none.")


def main(f: flags.FlagValues) -> None:
    figures = measure(training_flags.settings_of(f), f.blocks, f.block)
    if f.output:
        records.write_json(f.output, figures)
    print(json.dumps(figures, indent=2))
    print(f"real against synthetic data: {figures['ratio']:.3f}, at most {LIMIT}")
    if figures["ratio"] > LIMIT:
        raise LimitError("the pictures do not keep up with the training step")


if __name__ == "__main__":
    program.run(main, define_flags)
