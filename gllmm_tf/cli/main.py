"""The command line `gllmm`: compress, decompress, info, evaluate, models, export, train.

    parser     every command with its flags
    commands   what they do
    jobs       many files at once
    reports    what is printed

Exit status: 0 if all went well, 1 if any file failed (each failure is one line on stderr), 2 for a
command line that cannot be parsed, 130 when interrupted.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable

from PIL import Image

from gllmm_tf.cli import commands
from gllmm_tf.cli.jobs import Abort
from gllmm_tf.cli.parser import parse_args
from gllmm_tf.cli.reports import complain


def run() -> None:
    """Entry point of the console command and of compress.py; exits the process."""
    Image.MAX_IMAGE_PIXELS = None  # Our own limit, --max_pixels, is checked before decoding.
    warnings.filterwarnings("ignore", module="PIL")
    logging.getLogger("PIL").addHandler(logging.NullHandler())  # Which would write to stderr.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # File names may be any bytes.
    if sys.argv[1:2] == ["train"]:
        sys.exit(_status_of(lambda: commands.train(sys.argv[2:])))
    # Not absl.app.run: TensorFlow imported inside it asks for the devices before it has switched to
    # eager mode, after which tf.init_scope leads to a graph. Of absl, the flags alone are needed.
    sys.exit(main(parse_args(sys.argv)))


def main(args: argparse.Namespace) -> int:
    """Runs one parsed command line and returns the exit status."""
    return _status_of(lambda: commands.COMMANDS[args.command](args))


def _status_of(command: Callable[[], int]) -> int:
    try:
        status = command()
        sys.stdout.flush()
        return status
    except Abort as error:
        complain(str(error))
        return 1
    except KeyboardInterrupt:
        complain("interrupted")
        return 130
    except BrokenPipeError:  # The reader of our output, `head` for instance, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
