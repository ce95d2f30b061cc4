"""The command line in tests: run here or in a process of its own, and what it says."""

import os
import pathlib
import subprocess
import sys

from gllmm_tf.cli import main as cli
from gllmm_tf.cli.parser import parse_args

ROOT = pathlib.Path(__file__).parents[2]


def gllmm(*args) -> int:
    """Runs the command in this process and returns its exit status."""
    return cli.main(parse_args(["gllmm", *map(str, args)]))


def process(*args, **kwargs):
    """Runs compress.py in a process of its own."""
    return subprocess.run(
        [sys.executable, str(ROOT / "compress.py"), *map(str, args)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        **kwargs,
    )


def error_line(capsys) -> str:
    """The one line on stderr; stdout must be empty."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("gllmm: ") and err.endswith("\n") and err.count("\n") == 1
    return err[len("gllmm: ") : -1]
