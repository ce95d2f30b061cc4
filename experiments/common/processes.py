"""Commands in processes of their own: what they cost, and how they end."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Sequence

from experiments.common import places
from experiments.common.program import ExperimentError

# A process begins with the peak memory of the one that forked it, so a small one stands in between.
LAUNCHER = """
import os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(time.perf_counter() - start, usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status) and 1)
"""
KILOBYTE = 1 if sys.platform == "darwin" else 1024  # bytes; the unit of ru_maxrss


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a process took: seconds of wall time, and its peak resident memory in MB (10^6 bytes)."""

    seconds: float
    peak_megabytes: float


def cost_of(command: Sequence[str]) -> Cost:
    """Runs a command, start-up included; what it prints is thrown away.

    Raises:
        ExperimentError: it failed, with the last line that it wrote to standard error.
    """
    done = finished([sys.executable, "-c", LAUNCHER, *command])
    if done.returncode:
        raise ExperimentError(last_line(done))
    seconds, peak = done.stdout.split()
    return Cost(float(seconds), int(peak) * KILOBYTE / 1e6)


def cost_of_gllmm(*arguments: str) -> Cost:
    """Runs the command line `gllmm`."""
    return cost_of([sys.executable, "-m", "gllmm_tf.cli", *arguments])


def script(name: str, *arguments: str) -> subprocess.CompletedProcess:
    """Runs a script at the root of the repository (`train.py`, `compress.py`)."""
    return finished([sys.executable, os.path.join(places.ROOT, name), *arguments])


def module(name: str, *arguments: str) -> subprocess.CompletedProcess:
    """Runs `python -m NAME` from the root of the repository."""
    return finished([sys.executable, "-m", name, *arguments], cwd=places.ROOT)


def finished(command: Sequence[str], cwd: str | None = None) -> subprocess.CompletedProcess:
    """Runs a command to its end; returns its status and all its text."""
    path = os.pathsep.join(filter(None, (places.ROOT, os.environ.get("PYTHONPATH"))))
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env={**os.environ, "PYTHONPATH": path}
    )


def last_line(done: subprocess.CompletedProcess) -> str:
    """Returns the last line of standard error, or the status where there is none."""
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"{done.args[-1]}: exit status {done.returncode}"
