"""One file's work, and the fault that concerns no single file."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

PROGRAM = "gllmm"


class Job(NamedTuple):
    """Paths of one input and of its output, which is "" where nothing is written."""

    source: str
    target: str = ""


class Abort(Exception):
    """A fault that concerns no single file: one line for the user, and nothing more is done."""


Report = Callable[[], object]
"""What tells of a job that is done, called in the order of the jobs."""
