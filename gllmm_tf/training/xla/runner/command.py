"""The command line of the runner."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from gllmm_tf.errors import GllmmError
from gllmm_tf.training.folder import INTERRUPTED
from gllmm_tf.training.xla.runner.loop import Options, Run
from gllmm_tf.training.xla.runner.stablehlo import PRECISIONS


def parse(arguments: Sequence[str] | None = None, program: str | None = None) -> Options:
    """Parses a command line.

    Args:
        arguments: Without the program's name; None for those of this process.
        program: Path of the program, in whose folder the step is looked for; None for this process'.
    """
    program = program or sys.argv[0]
    parser = argparse.ArgumentParser(
        prog=os.path.basename(program),
        description="Trains with an exported step, or continues doing so.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    here = os.path.dirname(os.path.abspath(program))
    add("--out", required=True, help="folder for checkpoints and metrics")
    add("--step", default=here, help="folder that export_step.py wrote; default: that of run.py")
    add("--data", default="", help="pictures: folder, or .npy [n, h, w, 3]; default: STEP/pictures")
    add("--steps", type=int, default=0, help="stop after this many steps; 0: all of the schedule")
    add("--steps_per_call", type=int, default=1, help="steps per launch of the device")
    text = "steps between checkpoints; default: as exported"
    add("--checkpoint_every", type=int, default=None, help=text)
    text = "steps per line of metrics; default: as exported"
    add("--log_every", type=int, default=None, help=text)
    text = (
        "float32 products exact (highest) or as fast as the device likes (default: TF32 on an "
        "NVIDIA GPU); bfloat16: the step of train.py --precision=bfloat16"
    )
    add("--precision", choices=list(PRECISIONS), default="highest", help=text)
    text = "stop in time for this limit; 0: none"
    add("--max_seconds", type=float, default=0.0, help=text)
    text = (
        "choose the length of the run, after its first calls, so that it and the decay of its "
        "learning rate end in time for this limit; 0: the exported length"
    )
    add("--fit_seconds", type=float, default=0.0, help=text)
    text = "folder for compiled programs; default: OUT/compiled, or what jax is configured to use"
    add("--compilation_cache", default="", help=text)
    values = vars(parser.parse_args(arguments))
    values["data"] = values["data"] or os.path.join(values["step"], "pictures")
    try:
        return Options(**values)
    except GllmmError as error:
        parser.error(error.with_flag())


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains as the command line says.

    Ends with status 1 and one line for what cannot be done, with `INTERRUPTED` after a signal.
    """
    options, program = parse(arguments), os.path.basename(sys.argv[0])
    try:
        run = Run(options)
        run.train()
    except GllmmError as error:
        sys.exit(f"{program}: {error.with_flag()}")
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    if run.stop.interrupted:
        sys.exit(INTERRUPTED)
