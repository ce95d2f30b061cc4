"""The folder of an exported step, which needs nothing else but jax and NumPy where it runs.

settings, run_dir --> programs, state (export.py)
train_glob        --> pictures
the runner, and what it imports of this package
                  --> run.py, gllmm_tf/
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from gllmm_tf.errors import GllmmError
from gllmm_tf.training import data
from gllmm_tf.training.facts import record_of
from gllmm_tf.training.folder import Folder, writing
from gllmm_tf.training.settings import Settings
from gllmm_tf.training.xla import export
from gllmm_tf.training.xla.runner import manifest, pictures, pieces, schedule

PROGRAM = "run.py"

MODULES = (
    "gllmm_tf",
    "gllmm_tf.config",
    "gllmm_tf.errors",
    "gllmm_tf.legacy_keras",
    "gllmm_tf.metrics",
    "gllmm_tf.files",
    "gllmm_tf.files.atomic",
    "gllmm_tf.training",
    "gllmm_tf.training.crops",
    "gllmm_tf.training.divergence",
    "gllmm_tf.training.folder",
    "gllmm_tf.training.lock",
    "gllmm_tf.training.meter",
    "gllmm_tf.training.settings",
    "gllmm_tf.training.xla",
    "gllmm_tf.training.xla.runner",
    "gllmm_tf.training.xla.runner.checkpoints",
    "gllmm_tf.training.xla.runner.command",
    "gllmm_tf.training.xla.runner.device",
    "gllmm_tf.training.xla.runner.loop",
    "gllmm_tf.training.xla.runner.manifest",
    "gllmm_tf.training.xla.runner.pictures",
    "gllmm_tf.training.xla.runner.pieces",
    "gllmm_tf.training.xla.runner.stablehlo",
)
"""The runner and all that it imports; none of it needs TensorFlow or Pillow."""

SCHEDULE_MODULES = (
    *MODULES,
    "gllmm_tf.training.xla.runner.__main__",
    "gllmm_tf.training.xla.runner.schedule",
)
"""The same where several steps are run one after the other."""


def write(
    settings: Settings,
    folder: str,
    programs: Sequence[str] = export.PROGRAMS,
    kind: str | None = "pixels",
    piece_bytes: int = pictures.PIECE_BYTES,
) -> int:
    """Exports a training run: programs, state, pictures and the program that runs them.

    The run starts from the latest checkpoint in settings.run.run_dir or, if there is none, from the
    initial weights of its seed. A run that has begun is compared as `Run` does it.

    Args:
        settings: Of the run.
        folder: To write; must be empty or new.
        programs: Precisions of which the step is exported.
        kind: "pixels": training pictures decoded, 3 bytes per pixel. "files": their files as they are,
            which need Pillow there. None: no pictures.
        piece_bytes: Bound of the size of a file with pictures.

    Returns:
        Number of training pictures, those that are held out not counted.

    Raises:
        GllmmError: the folder, the run or the pictures cannot be used.
    """
    if os.path.isdir(folder) and os.listdir(folder):
        raise GllmmError(f"{folder}: is not empty; name another folder", "export_dir")
    run = Folder(settings.run.run_dir)
    run.check_settings(settings, manifest.FREE)
    paths = data.find_pictures(settings.data.train_glob)
    if settings.data.skip_unreadable:
        paths = data.readable(paths)
    fingerprint = data.facts_of(paths)
    run.check_pictures(fingerprint)
    training, _ = data.split(paths, settings.data.validation_images, run.held_out_rule)
    with writing(folder):
        os.makedirs(folder, exist_ok=True)
        copy_runner(folder)
    if kind:  # first: a picture that cannot be read is found before the slow part
        write_pictures(training, folder, kind, fingerprint, piece_bytes)
    learner = export.learner_of(settings, run)
    record = record_of(settings, fingerprint, run.held_out_rule, learner.start)
    entries = export.write_programs(learner, folder, programs)
    with writing(folder):
        export.write_initial(learner, folder, list(entries["variables"]), record)
        path = os.path.join(folder, manifest.FILE_NAME)
        content = {"record": record, "averages": export.averages_of(learner), **entries}
        pieces.write_json(path, content)  # last: now it is whole
    return len(training)


def write_schedule(
    parts: Sequence[tuple[schedule.Part, Settings]],
    folder: str,
    programs: Sequence[str] = export.PROGRAMS,
    kind: str | None = "pixels",
) -> None:
    """Exports several runs into one folder, which `runner/schedule.py` trains one after the other.

    Pictures that parts have in common travel once.

    Args:
        parts: (part, settings of its run); `pictures` of a part is decided here.
        folder: To write; must be empty or new.
        programs: As in `write`.
        kind: As in `write`.

    Raises:
        GllmmError: the folder, a run, its pictures or the order of the parts cannot be used.
    """
    names: list[str] = []
    for part, _ in parts:
        if part.start and part.start not in names:
            raise GllmmError(
                f"part {part.name} starts from {part.start}, which is no part before it"
            )
        if not re.fullmatch(r"[\w-]+", part.name) or part.name in [*names, "gllmm_tf"]:
            raise GllmmError(f"{part.name!r} cannot name a part; give each a word of its own")
        names.append(part.name)
    if os.path.isdir(folder) and os.listdir(folder):
        raise GllmmError(f"{folder}: is not empty; name another folder", "export_dir")
    written, done = {}, []
    for part, settings in parts:
        seen = settings.data.train_glob, settings.data.validation_images
        owner = written.setdefault(seen, part.name)
        write(
            settings,
            os.path.join(folder, part.name),
            programs,
            kind if owner == part.name else None,
        )
        done.append(part._replace(pictures=owner))
    with writing(folder):
        copy_runner(folder, SCHEDULE_MODULES)
        shutil.copyfile(schedule.__file__, os.path.join(folder, PROGRAM))
        schedule.write(folder, done)  # last: now it is whole


def write_pictures(
    paths: Sequence[str],
    folder: str,
    kind: str,
    fingerprint: dict[str, Any],
    piece_bytes: int = pictures.PIECE_BYTES,
) -> None:
    """Writes the pictures at these paths into an exported step; see `write`."""
    decode = data.decode if kind == "pixels" else _file_for_any_reader
    place = os.path.join(folder, manifest.PICTURES)
    pictures.write(place, kind, (decode(path) for path in paths), fingerprint, piece_bytes)


def _file_for_any_reader(path: str) -> np.ndarray:
    """A picture's file, uint8 [bytes]: a PNG of its pixels where Pillow alone would read it otherwise."""
    pixels = data.decode(path)
    with contextlib.suppress(Exception), Image.open(path) as image:
        if np.array_equal(np.asarray(image.convert("RGB")), pixels):
            return np.fromfile(path, np.uint8)
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    return np.frombuffer(png.getvalue(), np.uint8)


def copy_runner(folder: str, modules: Sequence[str] = MODULES) -> None:
    """Copies run.py and the modules that it needs into a folder."""
    root = os.path.dirname(os.path.dirname(importlib.import_module("gllmm_tf").__file__))
    for name in modules:
        source = importlib.import_module(name).__file__
        target = os.path.join(folder, os.path.relpath(source, root))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(source, target)
    main = importlib.import_module("gllmm_tf.training.xla.runner.__main__").__file__
    shutil.copyfile(main, os.path.join(folder, PROGRAM))
