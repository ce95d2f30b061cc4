"""Training: one resumable loop around one compiled step.

    pictures -> crops, qualities (data.py)
             -> step: model, loss, gradient, clip, update, average (learner.py)
             -> every so often: metrics (meter.py), validation (judge.py), model, checkpoint

All that is random in step s (crops, qualities, quantisation noise) is a function of (seed, s) and
of the place in the batch. So a run that was stopped, at any moment and in any way, continues from
its last checkpoint as if nothing had happened, and a batch that several devices share
(distribution.py) is the same batch.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from gllmm_tf.coding import empty_channels
from gllmm_tf.errors import GllmmError, ModelError, running_out_of_memory
from gllmm_tf.layers.precision import emulates_bfloat16
from gllmm_tf.training import data, distribution, validation
from gllmm_tf.training.divergence import sound_until
from gllmm_tf.training.facts import facts_of, record_of
from gllmm_tf.training.folder import CHECKPOINTS, Folder, Stop, writing
from gllmm_tf.training.judge import table
from gllmm_tf.training.learner import Learner
from gllmm_tf.training.meter import SKIPS_UNTIL_STOP, Meter
from gllmm_tf.training.revision import revision
from gllmm_tf.training.settings import Settings
from gllmm_tf.zoo import model_file

KEPT = 3  # checkpoints
UNREADABLE_SHOWN = 10
"""Pictures left out that are named; all are counted."""

EMPTY_CHANNEL_PICTURES = 32
"""Training pictures whose empty channels are counted for an exported model."""


class Run:
    """A folder with a run in it, and the loop.

    Writes under run_dir: config.json, metrics.jsonl, tensorboard/, checkpoints/, model.npz. Of
    several workers only the chief, the first one, writes; all of them read the checkpoints.

    Args:
        settings: `Settings`.

    Raises:
        GllmmError: one line, before anything slow is done where that can be.
    """

    def __init__(self, settings: Settings):
        self.settings = settings
        self.devices = distribution.Devices(settings.run.strategy)
        self.folder = Folder(settings.run.run_dir)
        self.folder.check_name()
        if self.devices.is_chief:
            self.folder.lock()
        self.folder.check_settings(settings)
        self.stop = Stop()
        self._read_pictures()
        self._warn()
        self.learner = Learner(settings, self.devices, self._recorded_start())
        self.check_room()
        self.manager = tf.train.CheckpointManager(
            self.learner.checkpoint, self.folder.file(CHECKPOINTS), max_to_keep=KEPT
        )
        self._recorded = False
        self._resume()

    # ------------------------------------------------------------------------------------- start

    def _read_pictures(self):
        settings = self.settings
        paths = data.find_pictures(settings.data.train_glob)
        skip = settings.data.skip_unreadable
        if not skip:
            self.folder.check_pictures(data.facts_of(paths))
        cache = settings.data.cache_dir or self.folder.file("cache")
        pictures = data.Pictures.open(paths, cache, skip)
        self._pictures = data.facts_of(pictures.paths)
        self.folder.check_pictures(self._pictures)
        self._held_out_rule = self.folder.held_out_rule
        training, held_out = data.split(
            pictures.paths, settings.data.validation_images, self._held_out_rule
        )
        self.crops = data.Crops(
            pictures.only(training),
            settings.data.patch,
            settings.run.seed,
            settings.model.num_qualities,
        )
        self.validation = data.centre_crops(pictures.only(held_out), settings.data.validation_size)
        for line in pictures.unreadable[:UNREADABLE_SHOWN]:
            self._say(f"left out: {line}")
        if pictures.unreadable:
            self._say(f"{len(pictures.unreadable)} of {len(paths)} pictures cannot be read")
        self._say(
            f"{len(training)} training pictures, {self.crops.num_small} of them left out as "
            f"smaller than the patch of {settings.data.patch}; {len(self.validation)} of "
            f"{len(held_out)} held-out pictures for validation"
        )

    def _warn(self):
        if self.settings.run.precision == "bfloat16" and emulates_bfloat16():
            self._say(
                "this processor has no AVX-512, so bfloat16 is emulated: precision float32 is many "
                "times faster here"
            )
        if revision()[1]:
            self._say(
                'the code has changes that are not committed: the model\'s record says "modified", '
                "and such a model is not for release"
            )

    def _recorded_start(self):
        """What the run knows of the model it began with; None for a run that begins."""
        if not tf.train.latest_checkpoint(self.folder.file(CHECKPOINTS)):
            return None
        return self.folder.record.get("start")  # absent in runs of earlier versions

    def _write_record(self):
        """Binds the folder to this run."""
        if not self._recorded:
            start = self.learner.start
            record = record_of(self.settings, self._pictures, self._held_out_rule, start)
            self.folder.write_record(**record)
            self._recorded = True

    def check_room(self) -> None:
        """Raises GllmmError unless four checkpoints (three kept, one being written) fit on the disk."""
        learner = self.learner
        averages = learner.average.averages if learner.average else []
        count = sum(
            int(np.prod(v.shape))
            for v in (*learner.variables, *learner.optimizer.variables, *averages)
        )
        self.folder.check_room(4 * 4 * count)  # bytes

    def _resume(self):
        latest = self.manager.latest_checkpoint
        if latest:
            self.learner.restore(latest)
            self._say(f"continuing {self.folder.path} from step {self._step()}")
        self.devices.check_same(
            self._step(),
            f"{self.folder.path}: the workers find checkpoints of different steps there; give a "
            "run_dir that all of them share",
        )
        if self.devices.is_chief:
            step = self._step()
            self.folder.forget_after(step, finished=step >= self.settings.schedule.steps)

    def _step(self):
        return int(self.learner.step.numpy())

    def _say(self, text):
        if self.devices.is_chief:
            say(text)

    # ---------------------------------------------------------------------------------- the loop

    def train(self) -> dict | None:
        """Trains to the end, or until a signal or the time limit.

        Returns:
            The last validation (see `Judge.evaluate`), or None.

        Raises:
            GllmmError: too many steps in a row were not finite, or the disk is full.
        """
        settings, devices = self.settings, self.devices
        first, chief = self._step(), devices.is_chief
        place = self.folder.file("tensorboard")
        writer = tf.summary.create_file_writer(place) if chief else tf.summary.create_noop_writer()
        self._meter = Meter(settings, float(self.learner.seconds.numpy()))
        show = chief and sys.stderr.isatty()
        bar = tqdm(total=settings.schedule.steps, initial=first, unit="step", disable=not show)
        if chief:
            self.folder.lock()
        with self._unlocking(), self.stop.on_signals(), writer.as_default(), bar:
            if first >= settings.schedule.steps:
                self._say(f"{self.folder.path}: its {first} steps are done; raise steps to go on")
                return self._evaluate(first)
            result, step = self._steps(first, bar, writer)
        if self.stop:
            self._say(f"stopped at step {step}: {self.stop.reason}; the same command continues")
        elif chief:
            self._summarise(result)
        return result

    def _steps(self, first, bar, writer):
        """Steps first, first + 1, ..; returns (last validation or None, steps done)."""
        settings, learner, devices = self.settings, self.learner, self.devices
        share = devices.share(settings.data.batch)
        part = share * devices.local_count, share * devices.first
        total = settings.schedule.steps
        result, began = None, time.monotonic()
        step = first
        for crops, quality in self.crops.dataset(first, total, *part):
            values = learner.take_step(crops, quality, step)
            self._meter.add(values)
            bar.update()
            step += 1
            if self._meter.bad >= SKIPS_UNTIL_STOP:
                raise self._not_finite(self._meter.bad, step)
            limit = settings.run.max_seconds
            over = bool(limit) and time.monotonic() - began >= limit
            if over:
                self.stop.reason = f"time limit of {limit:.0f} s"
            if devices.any(bool(self.stop)):
                self._stopped_elsewhere()
            last = step == total or bool(self.stop)
            if step % settings.run.log_every == 0 or last:
                self._log(step, bar, writer)
            due = settings.run.evaluate_every and step % settings.run.evaluate_every == 0
            if due or step == total or over:
                result = self._evaluate(step)
            if step % settings.run.checkpoint_every == 0 or last:
                # After the validation: a run that was killed in between does both again.
                self._save(step, last, finished=step == total)
            if last:
                break
        return result, step

    @contextlib.contextmanager
    def _unlocking(self):
        try:
            yield
        finally:
            self.folder.unlock()

    def _stopped_elsewhere(self):
        """Takes over that another worker was stopped: by a signal, unless there is a time limit."""
        if not self.stop:
            self.stop.reason = "another worker was stopped"
            self.stop.interrupted = not self.settings.run.max_seconds

    def _not_finite(self, bad, step):
        """Sets the folder back to before the divergence; returns the error that says so."""
        before = self._sound_checkpoints(step - bad)
        if before:
            if self.devices.is_chief:
                place = self.folder.file(CHECKPOINTS)
                with writing(place):
                    tf.compat.v1.train.update_checkpoint_state(place, before[-1], before)
            again = f"the same command continues from {before[-1]}, which is of before, with"
        elif self.manager.latest_checkpoint:
            again = "no checkpoint is left of before; start again in another run_dir with"
        else:
            again = "start again with"
        return GllmmError(
            f"{self.folder.path}: {bad} steps in a row, to step {step}, had a non-finite loss or "
            f"gradient; {again} a lower learning_rate",
            "learning_rate",
        )

    def _sound_checkpoints(self, step):
        """Paths of the kept checkpoints that are of before a divergence, the latest last.

        Args:
            step: From which on steps were not finite, or the number of steps done.
        """
        until = sound_until(self.folder.rows(), step)
        return [path for path in self.manager.checkpoints if int(path.rsplit("-", 1)[1]) <= until]

    def _log(self, step, bar, writer):
        learner = self.learner
        row = self._meter.row(step, int(learner.skipped.numpy()), int(learner.pixels.numpy()))
        if self.devices.is_chief:
            self.folder.append(row)
        for name, value in row.items():
            if name != "step" and value is not None:
                tf.summary.scalar(f"train/{name}", value, step)
        writer.flush()
        text = self._meter.text(row)
        if bar.disable:
            self._say(text)
        else:
            bar.set_postfix_str(text)

    def _save(self, step, last, finished):
        """Writes a checkpoint, but none of a run that diverges in place of its last sound one."""
        self.learner.seconds.assign(self._meter.tick())
        if not self.devices.is_chief or self._meter.bad and not finished:
            return
        kept = self.manager.checkpoints
        if len(kept) == KEPT and not last and self._sound_checkpoints(step) == kept[:1]:
            return
        self._write_record()
        with writing(self.folder.file(CHECKPOINTS)):
            self.manager.save(checkpoint_number=step)

    # --------------------------------------------------------------------------------- validation

    def _evaluate(self, step):
        """Validates the averaged weights, exports the model, compresses with it, records it all."""
        learner, result = self.learner, None
        if not self.devices.is_chief:
            return None
        learner.seconds.assign(self._meter.tick())
        with self._meter.paused(), learner.averaged():
            with running_out_of_memory("the validation", "validate fewer or smaller pictures"):
                if len(self.validation):
                    result = learner.judge.evaluate(self.validation)
            try:
                self._export(step, result)
                if len(self.validation) and self.settings.data.validation_files:
                    self._compress(result, step)
            except ModelError as error:
                say(f"no model is exported at step {step}: {error}")  # a later one may be
            if result:
                self.folder.append({"step": step, "validation": result})
                self._show(step, result)
        return result

    def _export(self, step, result):
        """Writes model.npz."""
        learner, path = self.learner, self.folder.file(model_file.FILE_NAME)
        with running_out_of_memory("counting empty channels", "train on smaller pictures"):
            empty_rows = empty_channels.fit(learner.model, spread(self.crops.pictures))
        info = facts_of(
            self.settings,
            steps=step,
            pixels_seen=int(learner.pixels.numpy()),
            seconds=round(float(learner.seconds.numpy())),
            skipped_steps=int(learner.skipped.numpy()),
            started_from=learner.start["started_from"],
            training_pictures=len(self.crops),
            validation=result,
        )
        with writing(path):
            model_file.export_model(learner.model, path, info, empty_rows)

    def _compress(self, result, step):
        """Adds "files" to each row of a validation: estimate and truth for the same few pictures."""
        some = self.validation[: self.settings.data.validation_files]
        estimates = self.learner.judge.evaluate(some)["qualities"]
        path = self.folder.file(model_file.FILE_NAME)
        files = validation.compress(path, some)
        for row, estimate, real in zip(result["qualities"], estimates, files):
            row["files"] = {
                "pictures": len(some),
                "estimated_bpp": estimate["bpp"],
                "bpp": real.bpp,
                "psnr": real.psnr,
            }
        for i in sorted({0, len(files) // 2, len(files) - 1}):
            pictures = validation.side_by_side(some, files[i].decoded)
            tag = f"validation/quality_{i + 1}/original_and_decoded"
            tf.summary.image(tag, pictures, step, max_outputs=3)

    def _show(self, step, result):
        say(f"validation at step {step}: loss {result['loss']:.4f}")
        for line in table(result):
            say(line)
        tf.summary.scalar("validation/loss", result["loss"], step)
        for row in result["qualities"]:
            place = f"validation/quality_{row['quality']}"
            for name in ("bpp", "psnr"):
                tf.summary.scalar(f"{place}/{name}", row[name], step)
            if "files" in row:
                tf.summary.scalar(f"{place}/file_bpp", row["files"]["bpp"], step)

    def _summarise(self, result):
        """Prints what the whole run did."""
        learner = self.learner
        steps, skipped, pixels = (
            int(v.numpy()) for v in (learner.step, learner.skipped, learner.pixels)
        )
        seconds = max(float(learner.seconds.numpy()), 1e-3)
        say(
            f"{self.folder.path}: {steps} steps, {skipped} of them skipped, {pixels / 1e6:.1f} Mpixel "
            f"in {seconds / 60:.1f} min, {pixels / seconds / 1e3:.0f} thousand pixels per second"
        )
        for line in table(result) if result else ():
            say(line)
        if os.path.exists(self.folder.file(model_file.FILE_NAME)):
            say(f"use it: gllmm compress PICTURE --model={self.folder.path}")


def spread(pictures, most: int = EMPTY_CHANNEL_PICTURES):
    """Yields up to `most` of the pictures, from all over the sequence."""
    count = min(len(pictures), most)
    return (pictures[i * len(pictures) // count] for i in range(count))


def train(settings: Settings) -> dict | None:
    """Runs or continues the run of the settings; returns its last validation, or None."""
    return Run(settings).train()


def say(text: str) -> None:
    """Writes a line to stderr, past a progress bar."""
    tqdm.write(text, file=sys.stderr)
