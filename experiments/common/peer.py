"""Talks to a program that works under another Python, one order a line (compressai_peer.py)."""

from __future__ import annotations

import json
import os
import subprocess

from absl import flags

from experiments.common import places
from experiments.common.program import ExperimentError

COMPRESSAI = os.path.join(places.EXPERIMENTS, "common", "compressai_peer.py")


def define_python(required: bool = False) -> None:
    """Defines --compressai_python."""
    text = "Python with torch and compressai 1.2.8" + ("." if required else "; none: ours alone.")
    flags.DEFINE_string("compressai_python", None, text, required=required)


class Peer:
    """A process that answers each line with {"seconds": ..}.

    Attributes:
        facts: what it said of itself when it was ready: versions, threads, sizes.
    """

    def __init__(self, python: str, task: str, program: str = COMPRESSAI, **options: object):
        """Starts the program and waits until it is ready.

        Args:
            python: interpreter to run it with.
            task: its first argument.
            program: path of the program.
            options: its flags; True is a flag without a value, False none.
        """
        shown = {k: v for k, v in options.items() if v is not False}
        arguments = [f"--{k}" if v is True else f"--{k}={v}" for k, v in shown.items()]
        # A pool of threads that spins while it waits would slow the other side down.
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": ""}
        try:
            self._process = subprocess.Popen(
                [python, program, task, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
        except OSError as error:
            raise ExperimentError(f"{python}: {error.strerror}.") from None
        self.facts = {k: v for k, v in self._answer().items() if k != "ready"}

    def seconds(self, order: object) -> float:
        """Has an order carried out and returns its seconds."""
        self._process.stdin.write(f"{order}\n")
        self._process.stdin.flush()
        return self._answer()["seconds"]

    def close(self) -> None:
        """Ends the process."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            raise ExperimentError("The peer has stopped; its message stands above.")
        return json.loads(line)
