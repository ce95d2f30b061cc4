"""The folder of a run: its record, its rows of metrics, and how a run is stopped. No TensorFlow.

config.json      the settings, the code, the pictures and the start: what a run is bound to
metrics.jsonl    a line per --log_every steps, and one per validation
lock             held by the process that is at work

A run is bound to its record from its first checkpoint on: what a start that failed has left is no run.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import threading
from collections.abc import Collection, Iterator
from typing import Any

from gllmm_tf.errors import GllmmError, OutOfMemoryError
from gllmm_tf.files.atomic import write_bytes_atomic
from gllmm_tf.training import lock
from gllmm_tf.training.settings import FIELDS, FREE, Settings, typed

CONFIG, METRICS, CHECKPOINTS = "config.json", "metrics.jsonl", "checkpoints"
INTERRUPTED = 130
"""Exit status of a run that a signal has stopped."""

_SPECIAL = "*?[\\"
"""What TensorFlow takes for a pattern in the name of a checkpoint, and does not find again."""


class Folder:
    """A run's folder, made if need be.

    Args:
        path: Of the folder.
        argument: What messages call it.

    Attributes:
        path: As given.
        argument: As given.
        record: {name: value} of config.json; {} in the folder of no run.

    Raises:
        GllmmError: the folder cannot be made, or its record cannot be read.
    """

    def __init__(self, path: str, argument: str = "run_dir"):
        self.path = path
        self.argument = argument
        self.record: dict[str, Any] = {}
        self._read_record()

    def lock(self) -> None:
        """Takes the folder for this process; raises GllmmError if another one is at work there."""
        lock.take(self.path, self.argument)
        self._read_record()  # the process before may have written since

    def unlock(self) -> None:
        """Ends what `lock` began."""
        lock.give_back(self.path)

    def check_name(self) -> None:
        """Raises GllmmError if checkpoints of TensorFlow cannot be read back from such a path."""
        found = [c for c in _SPECIAL if c in os.path.abspath(self.path)]
        if found:
            raise GllmmError(
                f"{self.path}: TensorFlow reads no checkpoints from a path with {' '.join(found)}; "
                f"give another {self.argument}",
                self.argument,
            )

    def _read_record(self):
        path, argument, config = self.path, self.argument, self.file(CONFIG)
        try:
            os.makedirs(path, exist_ok=True)
            if os.path.exists(config):
                with open(config) as f:
                    record = json.load(f)
                record["settings"].items()
                bound = os.path.exists(self.file(CHECKPOINTS, "checkpoint"))
                self.record = record if bound else {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise GllmmError(
                f"{config}: is not the record of a run; give another {argument}", argument
            ) from error
        except OSError as error:
            raise GllmmError(
                f"{path}: cannot be written ({error.strerror}); give another {argument}", argument
            ) from error

    def file(self, *names: str) -> str:
        """Path of a file in the folder."""
        return os.path.join(self.path, *names)

    @property
    def held_out_rule(self) -> str:
        """By which rule of `data.split` the run holds pictures out; earlier versions recorded none."""
        return self.record.get("held_out", "number" if self.record else "content")

    def check_settings(self, settings: Settings, free: Collection[str] = FREE) -> None:
        """Raises GllmmError if the folder's run has another value of a setting that it is bound to.

        Args:
            settings: To go on with.
            free: Names of settings that may differ.
        """
        theirs = self.record.get("settings", {})
        for name, mine in settings.flat().items():
            if name in free or name not in theirs:
                continue
            value = typed(FIELDS[name][1], theirs[name])
            if value != mine:
                raise GllmmError(
                    f"{self.path}: its run has {name}={value!r}, not {mine!r}; use that value, or "
                    f"another {self.argument}",
                    name,
                )

    def check_pictures(self, now: dict[str, Any], argument: str = "train_glob") -> None:
        """A run goes on with the pictures that it began with: crops are drawn by their number.

        Args:
            now: {"count", "sha256"} of the pictures that are given.
            argument: What messages call them.
        """
        then = self.record.get("pictures", now)
        if {name: then[name] for name in now if name in then} != now:
            raise GllmmError(
                f"{self.path}: its run began with {then['count']} pictures, {argument} names "
                f"{now['count']}, or others; bring them back, or give another {self.argument}",
                argument,
            )

    def check_room(self, needed: int) -> None:
        """Raises GllmmError unless checkpoints of so many bytes, together, fit on the disk."""
        free = shutil.disk_usage(self.path).free
        if free < needed:
            raise GllmmError(
                f"{self.path}: {free / 1e6:.0f} MB free, the checkpoints need "
                f"{needed / 1e6:.0f} MB; make room or give another {self.argument}",
                self.argument,
            )

    def write_record(self, **facts: Any) -> None:
        """Adds facts to config.json, which is either complete or as it was before."""
        self.record = {**self.record, **facts}
        with writing(self.file(CONFIG)):
            write_json(self.file(CONFIG), self.record)

    def append(self, row: dict[str, Any]) -> None:
        """Adds a line to metrics.jsonl."""
        path = self.file(METRICS)
        with writing(path), open(path, "a") as f:
            f.write(json.dumps(row) + "\n")

    def rows(self) -> list[dict[str, Any]]:
        """The complete lines of metrics.jsonl."""
        path = self.file(METRICS)
        if not os.path.exists(path):
            return []
        with open(path) as f:
            return [json.loads(line) for line in f if line.endswith("\n") and line.strip()]

    def forget_after(self, step: int, finished: bool) -> None:
        """Drops the rows that come once more: a killed run has some beyond its last checkpoint.

        Args:
            step: Of the checkpoint.
            finished: Whether it is the run's last; then only its validation is done again.
        """
        path = self.file(METRICS)
        if not os.path.exists(path):
            return

        def stays(row):
            again = finished and row["step"] == step and "validation" in row
            return row["step"] <= step and not again

        kept = "".join(json.dumps(row) + "\n" for row in self.rows() if stays(row))
        with writing(path):
            write_bytes_atomic(path, kept.encode())


class Stop:
    """Why a run should stop after its present step; falsy until something says so.

    Attributes:
        reason: One phrase, or None.
        interrupted: Whether a signal is the reason, of this process or of another worker.
    """

    def __init__(self):
        self.reason: str | None = None
        self.interrupted = False

    def __bool__(self):
        return self.reason is not None

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Turns SIGINT and SIGTERM into a clean stop while the block lasts, in the main thread.

        A second one raises KeyboardInterrupt at once.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number, _):
            if self.interrupted:
                raise KeyboardInterrupt
            self.reason, self.interrupted = signal.Signals(number).name, True

        before = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def write_json(path: str, value: Any) -> None:
    """Writes a JSON file, which is either complete or as it was before."""
    write_bytes_atomic(path, (json.dumps(value, indent=2) + "\n").encode())


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
    """Turns what the system says about a full disk or a lost folder into one line.

    TensorFlow says RESOURCE_EXHAUSTED of a full disk as well as of memory; its text tells which.
    """
    try:
        yield
    except OutOfMemoryError:
        raise
    except Exception as error:
        kinds = {kind.__name__ for kind in type(error).__mro__}
        line = (str(error).splitlines() or [type(error).__name__])[0]
        no_space = any(word in line.lower() for word in ("no space", "quota"))
        if "ResourceExhaustedError" in kinds and not no_space or isinstance(error, MemoryError):
            raise OutOfMemoryError(
                f"{path}: not enough memory to write it ({line}); free some, then the same command "
                "continues"
            ) from error
        if not kinds & {"OSError", "OpError"}:
            raise
        raise GllmmError(
            f"{path}: cannot be written ({line}); make room, then the same command continues"
        ) from error
