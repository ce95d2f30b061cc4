"""The loop of an exported step: that of `gllmm_tf.training.run` with several steps per call."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import os
import shutil
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from gllmm_tf.errors import GllmmError
from gllmm_tf.training import crops
from gllmm_tf.training.divergence import sound_until
from gllmm_tf.training.folder import Folder, Stop, writing
from gllmm_tf.training.meter import METRICS, SKIPS_UNTIL_STOP, Meter
from gllmm_tf.training.settings import Settings
from gllmm_tf.training.xla.runner import checkpoints, manifest, pictures
from gllmm_tf.training.xla.runner.device import Steps

KEPT = 2
"""Checkpoints."""

FIT_CALLS = 5
"""Calls after which the time per step is taken as known; the first ones are slower."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What is run, and how; see `command.parse`.

    Raises:
        GllmmError: a value cannot be used.
    """

    out: str
    step: str
    data: str
    steps: int = 0
    steps_per_call: int = 1
    checkpoint_every: int | None = None
    log_every: int | None = None
    precision: str = "highest"
    max_seconds: float = 0.0
    fit_seconds: float = 0.0
    compilation_cache: str = ""

    def __post_init__(self):
        if self.steps_per_call < 1:
            raise GllmmError(
                f"steps_per_call={self.steps_per_call} cannot be used; give 1 or more",
                "steps_per_call",
            )
        if self.steps and self.fit_seconds:
            raise GllmmError("steps and fit_seconds both choose the length; give one of them")


class Pace:
    """How long calls and checkpoints take, and what a time limit has room for.

    Args:
        saving: First guess of the seconds of a checkpoint.

    Attributes:
        calls: Number of calls so far.
        call_seconds: Of the latest.
        saving: Seconds of the latest checkpoint.
    """

    def __init__(self, saving: float):
        self.calls = 0
        self.call_seconds = 0.0
        self.saving = saving
        self._began = time.monotonic()

    @contextlib.contextmanager
    def call(self) -> Iterator[None]:
        """The block is a call."""
        start = time.monotonic()
        yield
        self.call_seconds = time.monotonic() - start
        self.calls += 1

    @contextlib.contextmanager
    def save(self) -> Iterator[None]:
        """The block writes a checkpoint."""
        start = time.monotonic()
        yield
        self.saving = time.monotonic() - start

    def left(self, limit: float) -> float:
        """Seconds for calls until the limit, with room for the last checkpoints."""
        return limit - (time.monotonic() - self._began) - 2.0 * self.saving


class Run:
    """A folder with a run in it, and the loop.

    Args:
        options: `Options`.

    Attributes:
        settings: Of the run, as far as its step does not have them built in.
        folder: `Folder` of options.out.
        stop: `Stop`; set, it ends the run after the present call.
        step: Steps done.
        fitted: Whether the length of the run was chosen by `fit`.

    Raises:
        GllmmError: one line, before anything slow is done where that can be.
    """

    def __init__(self, options: Options):
        self.options = options
        self.manifest = manifest.read(options.step)
        settings = Settings.of(**self.manifest["record"]["settings"])
        given = {name: getattr(options, name) for name in ("checkpoint_every", "log_every")}
        given = {name: value for name, value in given.items() if value is not None}
        self.settings = settings.replace(max_seconds=options.max_seconds, **given)
        self.folder = Folder(options.out, "out")
        self.folder.lock()
        self.stop = Stop()
        self._read_pictures()
        self._resume()
        self._check_length()

    # ------------------------------------------------------------------------------------- start

    def _read_pictures(self):
        settings = self.settings
        found, self.fingerprint = pictures.read(self.options.data)
        self.crops = crops.Crops(
            found, settings.data.patch, settings.run.seed, settings.model.num_qualities
        )
        if not len(self.crops):
            raise GllmmError(
                f"{self.options.data}: all {len(found)} pictures are smaller than the patch of "
                f"{settings.data.patch} pixels; give larger ones",
                "data",
            )
        say(f"{len(found)} pictures, {self.crops.num_small} of them smaller than the patch")

    def _resume(self):
        """Reads the latest checkpoint, or the exported state."""
        options = self.options
        found = checkpoints.found_in(options.out)
        source = found[-1] if found else os.path.join(options.step, manifest.INITIAL)
        facts, self.state = checkpoints.read(source)
        wanted = {
            name: (tuple(entry["shape"]), entry["dtype"])
            for name, entry in self.manifest["variables"].items()
        }
        if wanted != {name: (a.shape, a.dtype.name) for name, a in self.state.items()}:
            raise GllmmError(
                f"{source}: belongs to another model or optimizer; give another out", "out"
            )
        self.step, self.seconds = int(self.state["step"]), facts["seconds"]
        self.folder.record = facts["record"]
        self.folder.check_settings(self.settings, manifest.FREE)
        if self.step:
            self.folder.check_pictures(self.fingerprint, "data")
        self.fitted = facts.get("fitted", False)
        if self.fitted:
            self.settings = self.settings.replace(steps=facts["record"]["settings"]["steps"])
        say(f"starting from {source}, step {self.step} of {self.steps}")
        self.folder.check_room((KEPT + 1) * self._state_bytes())
        self.folder.forget_after(self.step, finished=False)

    def _state_bytes(self):
        return sum(array.nbytes for array in self.state.values())

    @property
    def steps(self) -> int:
        """How many steps the run has when this call is done, unless something stops it."""
        return self.options.steps or self.settings.schedule.steps

    def _check_length(self):
        options, length = self.options, self.settings.schedule.steps
        if options.steps > length:
            raise GllmmError(
                f"steps={options.steps}: the run has {length}; export again with more", "steps"
            )
        calls = -(-self.steps // options.steps_per_call) - self.step // options.steps_per_call
        if options.fit_seconds and not self.fitted and 0 < calls <= FIT_CALLS:
            raise GllmmError(
                f"fit_seconds measures {FIT_CALLS} calls before it chooses a length, and with "
                f"steps_per_call={options.steps_per_call} only {calls} are left; lower that, or "
                "leave fit_seconds out",
                "fit_seconds",
            )

    # ---------------------------------------------------------------------------------- the loop

    def train(self) -> int:
        """Trains to the end, a signal or the time limit; returns the number of steps done.

        Raises:
            GllmmError: too many steps in a row were not finite, or the disk is full.
        """
        options = self.options
        if self.step >= self.steps:
            say(f"{options.out}: its {self.step} steps are done")
            return self.step
        pace = Pace(saving=self._state_bytes() / 100e6)
        cache = options.compilation_cache or self.folder.file("compiled")
        device = Steps(options.step, self.manifest, options.precision, cache)
        say(f"{device.device}, precision {options.precision}; compiling")
        with self.stop.on_signals(), concurrent.futures.ThreadPoolExecutor(1) as loader:
            self._calls(device, loader, pace)
        if self.stop:
            say(f"stopped at step {self.step}: {self.stop.reason}; the same command continues")
        return self.step

    def _calls(self, device, loader, pace):
        """Calls until the run is over or is to stop."""
        options = self.options
        state, self.state = device.put(self.state), None
        ahead = loader.submit(self.inputs_from, device, self.step)
        device.prepare(state, ahead.result()[0])
        meter = Meter(self.settings, self.seconds)
        while self.step < self.steps and not self.stop:
            before = self.step
            with pace.call():
                inputs, self.step = ahead.result()
                if self.step < self.steps:
                    ahead = loader.submit(self.inputs_from, device, self.step)
                state, metrics = device.run(state, inputs)
            for values in np.asarray(metrics).tolist():
                meter.add(dict(zip(METRICS, values)))
            if meter.bad >= SKIPS_UNTIL_STOP:
                raise self._not_finite(meter.bad)
            if options.fit_seconds and not self.fitted and pace.calls >= FIT_CALLS:
                seconds = pace.call_seconds / len(metrics)
                seconds += pace.saving / self.settings.run.checkpoint_every
                self.fit(seconds, 0.98 * pace.left(options.fit_seconds))
                meter.settings = self.settings
                ahead = loader.submit(self.inputs_from, device, self.step)  # of the new schedule
            limit = options.max_seconds
            if limit and pace.left(limit) < 1.2 * pace.call_seconds:
                self.stop.reason = self.stop.reason or f"time limit of {limit:.0f} s"
            last = bool(self.stop) or self.step == self.steps
            if last or crossed(before, self.step, self.settings.run.log_every):
                self._log(meter, state)
            due = last or crossed(before, self.step, self.settings.run.checkpoint_every)
            if due and not meter.bad:  # else the state may be what makes the steps bad
                self.seconds = meter.tick()
                with pace.save():
                    self.save(device, state)

    def _not_finite(self, bad):
        until = sound_until(self.folder.rows(), self.step - bad)
        found = checkpoints.found_in(self.options.out)
        sound = [path for path in found if checkpoints.step_of(path) <= until]
        left = f"{sound[-1]} is of before" if sound else "no checkpoint is left of before"
        return GllmmError(
            f"{self.options.out}: {bad} steps in a row, to step {self.step}, had a non-finite loss "
            f"or gradient; {left}: export again with a lower learning_rate"
        )

    def fit(self, seconds_per_step: float, seconds: float) -> None:
        """Gives the run, and the schedule of its learning rate, as many steps as there is time for.

        Args:
            seconds_per_step: Of a step, with its part of a checkpoint.
            seconds: That are left.
        """
        count = self.options.steps_per_call
        steps = self.step + int(max(0.0, seconds) / seconds_per_step)
        self.settings = self.settings.replace(steps=max(self.step + count, steps - steps % count))
        self.fitted = True
        say(f"{seconds_per_step:.4f} s/step: {self.steps} steps fit into {seconds:.0f} s")

    def inputs_from(self, device, first: int) -> tuple[Any, int]:
        """Returns what the steps from `first` on need, on the device, and the step after them."""
        settings, count = self.settings, self.options.steps_per_call
        stop = min(first + count - first % count, self.steps)
        steps = range(first, stop)
        batches = [self.crops.batch(step, settings.data.batch) for step in steps]
        inputs = {
            "crops": np.stack([crop for crop, _ in batches]),
            "quality": np.stack([quality for _, quality in batches]),
            "seed": np.array([[settings.run.seed, step] for step in steps], np.int32),
            "learning_rate": np.array([settings.learning_rate_at(s) for s in steps], np.float32),
        }
        return device.put(inputs), stop

    def _log(self, meter, state):
        row = meter.row(self.step, int(state["skipped"]), int(state["pixels"]))
        self.folder.append(row)
        say(meter.text(row))

    def save(self, device, state: dict[str, Any]) -> None:
        """Writes a checkpoint and removes those that are no longer kept."""
        path = checkpoints.path_of(self.options.out, self.step)
        arrays = device.get(state)
        began = self.folder.record
        facts = {
            "seconds": self.seconds,
            "fitted": self.fitted,
            "precision": self.options.precision,
            "device": device.device,
            "training_pictures": len(self.crops),
            **{name: int(arrays[name]) for name in ("step", "skipped", "pixels")},
            "record": {
                **self.manifest["record"],
                "settings": self.settings.flat(),
                "pictures": self.fingerprint,
                **{name: began[name] for name in ("held_out", "start")},
            },
        }
        ordered = {name: arrays[name] for name in self.manifest["variables"]}
        with writing(path):
            checkpoints.write(path, ordered, facts)
            for old in checkpoints.found_in(self.options.out)[:-KEPT]:
                shutil.rmtree(old)


def crossed(before: int, now: int, every: int) -> bool:
    """Returns whether a multiple of `every` lies in (before, now]."""
    return now // every > before // every


def say(text: str) -> None:
    """Writes a line to stderr."""
    print(text, file=sys.stderr, flush=True)
