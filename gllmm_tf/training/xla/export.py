"""TensorFlow's side of a training step that runs elsewhere: the way there.

export_step       settings -> folder: manifest.json, step-*.hlo.gz, initial/, schedule.npy, and the
                  program that runs it: runner.py, device.py, state.py, crops.py
write_pictures    the training pictures in one file
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil

import numpy as np
import tensorflow as tf

from gllmm_tf import errors
from gllmm_tf.files.atomic import replacing
from gllmm_tf.training import crops, data
from gllmm_tf.training.folder import Folder, write_json
from gllmm_tf.training.learner import Learner
from gllmm_tf.training.meter import METRICS
from gllmm_tf.training.revision import revision, versions
from gllmm_tf.training.run import SKIPS_UNTIL_STOP
from gllmm_tf.training.settings import FREE, Settings
from gllmm_tf.training.xla import device, runner, state
from gllmm_tf.training.xla.program import ARGUMENTS, compile_step, variables_of

FREE_SETTINGS = tuple(sorted({*FREE, "run_dir", "train_glob", "precision", "jit"}))
"""A checkpoint of runner.py may be continued with a step of other values of these."""


def export_step(settings: Settings, folder: str, programs=("float32", "bfloat16")):
    """Writes what runner.py needs for a training run, but for the pictures.

    The run starts from the latest checkpoint in settings.run_dir, or, if there is none, from the
    initial weights of its seed.

    Args:
        settings: Settings.
        folder: to write; must be empty or new.
        programs: precisions of which the step is exported; all have the same variables.

    Raises:
        errors.GllmmError: the folder cannot be used.
    """
    if os.path.isdir(folder) and os.listdir(folder):
        raise errors.GllmmError(f"{folder}: is not empty; name another folder")
    os.makedirs(folder, exist_ok=True)
    folder_of_run = settings.run.run_dir and Folder(settings.run.run_dir)
    learner = _learner_of(settings, folder_of_run)
    manifest = {
        "format": state.FORMAT,
        "settings": settings.flat(),
        "free_settings": list(FREE_SETTINGS),
        "num_qualities": learner.config.num_qualities,
        "metrics": list(METRICS),
        "skips_until_stop": SKIPS_UNTIL_STOP,
        "revision": revision()[0],
        "versions": versions(),
        "start": learner.start,
        "pictures": _pictures(settings),
        "arguments": {
            name: {"shape": spec.shape.as_list(), "dtype": spec.dtype.name}
            for name, spec in zip(ARGUMENTS, learner.train_step.input_signature)
        },
        "programs": {},
    }
    values = _add_programs(manifest, folder, learner, programs)
    rates = [settings.learning_rate_at(s) for s in range(settings.schedule.steps)]
    path = os.path.join(folder, "schedule.npy")
    np.save(path, np.array(rates, np.float32))
    manifest["schedule"] = {"file": "schedule.npy", "sha256": _digest(path)}
    facts = {
        "step": int(learner.step),
        "skipped": int(learner.skipped),
        "seconds": float(learner.seconds),
        "settings": manifest["settings"],
        "start": learner.start,
    }
    state.write_checkpoint(os.path.join(folder, "initial"), values, facts)
    for module in (runner, device, state, crops):
        shutil.copy(module.__file__, folder)
    write_json(os.path.join(folder, runner.MANIFEST), manifest)  # last: now it is whole


def _learner_of(settings, folder):
    """A learner at the latest checkpoint of the run's folder, or at its start."""
    latest = folder and tf.train.latest_checkpoint(folder.file("checkpoints"))
    if not latest:
        return Learner(settings)
    learner = Learner(settings, start=folder.record.get("start"))
    learner.checkpoint.restore(latest).assert_existing_objects_matched()
    return learner


def _pictures(settings):
    """Number and fingerprint of the pictures of the run, those held out included; None without any."""
    if not settings.data.train_glob:
        return None
    paths = data.find_pictures(settings.data.train_glob)
    return {"count": len(paths), "sha256": data.fingerprint(paths)}


def _add_programs(manifest, folder, learner, precisions):
    """Writes the step at each precision; returns the state that all of them take."""
    settings, values = learner.settings, None
    for precision in precisions:
        one = learner
        if precision != settings.run.precision:
            one = Learner(settings.replace(precision=precision), start=learner.start)
        program = compile_step(one)
        manifest["programs"][precision] = _write_program(folder, precision, program)
        taken = program.parameters[len(ARGUMENTS) :]
        if values is None:
            values = _ordered({name: variables_of(learner)[name].numpy() for name in taken})
            manifest["variables"] = {
                name: {"shape": list(value.shape), "dtype": value.dtype.name}
                for name, value in values.items()
            }
        elif set(taken) != set(values):
            raise RuntimeError(f"the {precision} step has other variables than {precisions[0]}'s")
    return values


def _ordered(values):
    """Puts what a model file needs into the first pieces: averages, then weights, then the rest."""
    rank = {"average": 0, "model": 1}
    return dict(sorted(values.items(), key=lambda item: rank.get(item[0].split("/")[0], 2)))


def _write_program(folder, precision, program):
    file = f"step-{precision}.hlo.gz"
    path = os.path.join(folder, file)
    with open(path, "wb") as f:
        f.write(gzip.compress(program.hlo, 6, mtime=0))
    return {
        "file": file,
        "sha256": _digest(path),
        "parameters": program.parameters,
        "results": program.results,
    }


def _digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def write_pictures(settings, path, encoded=False):
    """Writes the training pictures of a run, without those held out, into one file for runner.py.

    Args:
        settings: Settings.
        path: of the .npz to write.
        encoded: write the picture files as they are: smaller, but runner.py then needs Pillow.

    Returns:
        number of pictures.
    """
    found = data.find_pictures(settings.data.train_glob)
    paths, _ = data.split(found, settings.data.validation_images)
    if encoded:
        parts = [np.fromfile(p, np.uint8) for p in paths]
        arrays = {"sizes": np.array([len(p) for p in parts]), "files": np.concatenate(parts)}
    else:
        parts = [data.decode(p) for p in paths]
        shapes = np.array([p.shape[:2] for p in parts])
        arrays = {"shapes": shapes, "pixels": np.concatenate([p.reshape(-1) for p in parts])}
    arrays["fingerprint"] = np.array(data.fingerprint(found))
    try:
        with replacing(path) as temporary, open(temporary, "xb") as f:
            np.savez(f, **arrays)
    except OSError as error:
        raise errors.GllmmError(
            f"{path}: cannot be written ({error.strerror}); make room or name another file"
        ) from error
    return len(paths)
