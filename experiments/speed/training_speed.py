"""Training throughput beside CompressAI: pixels per second of GLLMM and of its cheng2020-attn.

    python -m experiments.speed.training_speed --compressai_python=compressai_env/bin/python \\
        --output=experiments/results/training_speed.json

For N = 64 and 128 it takes training steps (forward pass, loss, gradient, clipping, Adam) of the same
number and size of crops on the same cores: ours in this process, CompressAI's cheng2020-attn in one
under the other Python (common/compressai_peer.py says what that needs). Both live at once and work
in turns of --block steps, so that what else the machine does meets both; the figures are medians over the
blocks. GLLMM has half as much arithmetic again per pixel as cheng2020-attn: two residual pairs where
that has one, wider entropy parameters and nine mixture components for one.

    ours            GLLMM with Adam, convolutions in bfloat16
    ours, muon      the same with the optimiser of the shipped model
    theirs          as CompressAI trains by default: float32
    theirs, half    the same under torch.autocast in bfloat16

`ratio` is ours against theirs and at least 1, else the exit status is 1. About ten minutes on two
cores.
"""

from __future__ import annotations

import os
import statistics
import time

import numpy as np
from absl import flags

from experiments.common import peer, program, records
from experiments.common.program import LimitError
from gllmm_tf.training.learner import Learner
from gllmm_tf.training.settings import Settings

LIMIT = 1.0


class Ours:
    """Steps of gllmm_tf."""

    def __init__(self, num_filters: int, batch: int, patch: int, optimizer: str):
        settings = Settings.of(
            num_filters=num_filters,
            batch=batch,
            patch=patch,
            optimizer=optimizer,
            ema=0.0,
        )
        self._learner = Learner(settings)
        shape = (batch, patch, patch, 3)
        self._crops = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        self._quality = np.zeros(batch, np.float32)
        self.seconds(2)  # traces

    def seconds(self, steps: int) -> float:
        """Takes some steps and returns their seconds."""
        start = time.perf_counter()
        for step in range(steps):
            self._learner.take_step(self._crops, self._quality, step)
        return time.perf_counter() - start


def compare(f: flags.FlagValues, num_filters: int) -> dict:
    """Returns the figures of one N."""
    sizes = {"num_filters": num_filters, "batch": f.batch, "patch": f.patch}
    theirs = {
        "theirs": peer.Peer(f.compressai_python, "train", **sizes),
        "theirs, half": peer.Peer(f.compressai_python, "train", **sizes, bfloat16=True),
    }
    ours = {"ours": Ours(**sizes, optimizer="adam"), "ours, muon": Ours(**sizes, optimizer="muon")}
    sides = {**ours, **theirs}
    times = {name: [] for name in sides}
    for _ in range(f.blocks):
        for name, side in sides.items():
            times[name].append(side.seconds(f.block) / f.block)
    for side in theirs.values():
        side.close()
    pixels = f.batch * f.patch**2
    rates = {name: pixels / statistics.median(seconds) for name, seconds in times.items()}
    return {
        "num_filters": num_filters,
        "pixels_per_second": rates,
        "seconds_per_step": times,
        "ratio": rates["ours"] / rates["theirs"],
        "peer": theirs["theirs"].facts,
    }


def define_flags() -> None:
    peer.define_python(required=True)
    flags.DEFINE_list("num_filters", "64,128", "Values of N.")
    flags.DEFINE_integer("batch", 8, "Crops per step.", 1)
    flags.DEFINE_integer("patch", 128, "Side of a crop in pixels, a multiple of 64.", 64)
    flags.DEFINE_integer("blocks", 5, "Turns of each side.", 1)
    flags.DEFINE_integer("block", 4, "Steps per turn.", 1)
    flags.DEFINE_string("output", "", "JSON file for the figures; empty: none.")


def main(f: flags.FlagValues) -> None:
    rows = []
    for num_filters in program.numbers("num_filters", f.num_filters, int):
        rows.append(compare(f, num_filters))
        print(f"N = {num_filters}, {f.batch} crops of {f.patch} x {f.patch} pixels")
        for name, rate in rows[-1]["pixels_per_second"].items():
            print(f"  {name:14s}{rate / 1e3:9.1f} thousand pixels per second")
        print(f"  ours against theirs: {rows[-1]['ratio']:.2f}, at least {LIMIT}", flush=True)
    if f.output:
        figures = {"batch": f.batch, "patch": f.patch, "cores": os.cpu_count(), "results": rows}
        records.write_json(f.output, figures)
    if min(row["ratio"] for row in rows) < LIMIT:
        raise LimitError("slower than CompressAI")


if __name__ == "__main__":
    program.run(main, define_flags)
