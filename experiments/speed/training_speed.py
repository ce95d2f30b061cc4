"""Training throughput beside CompressAI: pixels per second of GLLMM and of its cheng2020-attn.

    python -m experiments.speed.training_speed --compressai_python=compressai_env/bin/python \\
        --output=experiments/results/training_speed.json

For N = 64 and 128 it takes training steps (forward pass, loss, gradient, clipping, Adam) of the same
number and size of crops on the same cores: ours in this process, CompressAI's cheng2020-attn in one
under the other Python (compressai_step.py says what that needs). Both live at once and work in turns
of --block steps, so that what else the machine does meets both; the figures are medians over the
blocks. GLLMM has half as much arithmetic again per pixel as cheng2020-attn: two residual pairs where
that has one, wider entropy parameters and nine mixture components for one.

    ours            GLLMM with Adam, convolutions in bfloat16
    ours, muon      the same with the optimiser of the shipped model
    theirs          as CompressAI trains by default: float32
    theirs, half    the same under torch.autocast in bfloat16

`ratio` is ours against theirs and at least 1, else the exit status is 1. About ten minutes on two
cores.
"""

import json
import os
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))

import numpy as np  # noqa: E402
from absl import app, flags  # noqa: E402

from gllmm_tf.training import run as training  # noqa: E402

LIMIT = 1.0


class Ours:
    """Steps of gllmm_tf."""

    def __init__(self, num_filters, batch, patch, optimizer):
        settings = training.Settings(
            train_glob="-",
            run_dir="-",
            num_filters=num_filters,
            batch=batch,
            patch=patch,
            optimizer=optimizer,
            ema=0.0,
        )
        self._learner = training.Learner(settings)
        shape = (batch, patch, patch, 3)
        self._crops = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        self._quality = np.zeros(batch, np.float32)
        self.seconds(2)  # traces

    def seconds(self, steps):
        start = time.perf_counter()
        for step in range(steps):
            self._learner.take_step(self._crops, self._quality, step)
        return time.perf_counter() - start

    def close(self):
        pass


class Theirs:
    """Steps of CompressAI in a process of its own."""

    def __init__(self, python, num_filters, batch, patch, *more):
        command = [python, os.path.join(HERE, "compressai_step.py"), *more]
        sizes = {"num_filters": num_filters, "batch": batch, "patch": patch}
        # A pool of threads that spins while it waits would slow the other side down.
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": ""}
        self._process = subprocess.Popen(
            [*command, *(f"--{name}={value}" for name, value in sizes.items())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.facts = self._answer()

    def seconds(self, steps):
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        return self._answer()["seconds"]

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            sys.exit("training_speed.py: the peer has stopped; its message stands above")
        return json.loads(line)

    def close(self):
        self._process.stdin.close()
        self._process.wait()


def compare(num_filters):
    """Returns the figures of one N."""
    f = flags.FLAGS
    size = num_filters, f.batch, f.patch
    sides = {
        "ours": Ours(*size, "adam"),
        "ours, muon": Ours(*size, "muon"),
        "theirs": Theirs(f.compressai_python, *size),
        "theirs, half": Theirs(f.compressai_python, *size, "--bfloat16"),
    }
    times = {name: [] for name in sides}
    for _ in range(f.blocks):
        for name, side in sides.items():
            times[name].append(side.seconds(f.block) / f.block)
    for side in sides.values():
        side.close()
    pixels = f.batch * f.patch**2
    rates = {name: pixels / statistics.median(seconds) for name, seconds in times.items()}
    return {
        "num_filters": num_filters,
        "pixels_per_second": rates,
        "seconds_per_step": times,
        "ratio": rates["ours"] / rates["theirs"],
        "peer": {k: v for k, v in sides["theirs"].facts.items() if k != "ready"},
    }


def define_flags():
    """Defines the flags of the command; not at import, where other commands' would meet them."""
    flags.DEFINE_string("compressai_python", None, "Python with torch and compressai 1.2.8.")
    flags.DEFINE_list("num_filters", "64,128", "Values of N.")
    flags.DEFINE_integer("batch", 8, "Crops per step.", 1)
    flags.DEFINE_integer("patch", 128, "Side of a crop in pixels, a multiple of 64.", 64)
    flags.DEFINE_integer("blocks", 5, "Turns of each side.", 1)
    flags.DEFINE_integer("block", 4, "Steps per turn.", 1)
    flags.DEFINE_string("output", "", "JSON file for the figures; empty: none.")
    flags.mark_flag_as_required("compressai_python")


def main(argv):
    if len(argv) > 1:
        sys.exit(f"training_speed.py: unexpected argument {argv[1]!r}; see --help")
    f, rows = flags.FLAGS, []
    for num_filters in map(int, f.num_filters):
        rows.append(compare(num_filters))
        print(f"N = {num_filters}, {f.batch} crops of {f.patch} x {f.patch} pixels")
        for name, rate in rows[-1]["pixels_per_second"].items():
            print(f"  {name:14s}{rate / 1e3:9.1f} thousand pixels per second")
        print(f"  ours against theirs: {rows[-1]['ratio']:.2f}, at least {LIMIT}", flush=True)
    if f.output:
        figures = {"batch": f.batch, "patch": f.patch, "cores": os.cpu_count(), "results": rows}
        training.write_json(f.output, figures)
    sys.exit(min(row["ratio"] for row in rows) < LIMIT)


if __name__ == "__main__":
    define_flags()
    app.run(main)
