"""TensorFlow's side of a training step that ran elsewhere: the way back.

import_state    checkpoint of runner.py -> run folder that train.py continues, with model.npz
import_model    checkpoint of runner.py -> model file
"""

from __future__ import annotations

import os

import tensorflow as tf

from gllmm_tf import errors
from gllmm_tf.coding import empty_channels
from gllmm_tf.training import data
from gllmm_tf.training.facts import facts_of
from gllmm_tf.training.folder import Folder
from gllmm_tf.training.learner import Learner
from gllmm_tf.training.revision import revision, versions
from gllmm_tf.training.run import spread
from gllmm_tf.training.settings import Settings
from gllmm_tf.training.xla import state
from gllmm_tf.training.xla.export import FREE_SETTINGS
from gllmm_tf.training.xla.program import variables_of
from gllmm_tf.zoo import model_file


def import_state(folder, run_dir):
    """Takes the latest checkpoint of runner.py into a run's folder.

    Afterwards `train.py --run_dir=RUN_DIR` with the settings of the export continues (or validates)
    the run, and `compress.py --model=RUN_DIR` uses its averaged weights.

    Args:
        folder: that runner.py wrote (--out), or one checkpoint in it.
        run_dir: new, or of the same run at an earlier step.

    Returns:
        (Learner with the state, number of steps done).

    Raises:
        errors.GllmmError: what is there cannot be used.
    """
    source = _latest(folder)
    facts, values = _read(source)
    settings = _settings(source, facts, run_dir)
    run = Folder(run_dir)
    _check_run(run, settings, source, facts)
    learner = Learner(settings, start=facts.get("start"))
    _assign(learner, values, source)
    learner.seconds.assign(facts["seconds"])

    commit, modified = revision()
    pictures = {"pictures": facts["all_pictures"]} if facts.get("all_pictures") else {}
    run.write_record(
        settings=settings.flat(),
        revision=commit,
        modified=modified,
        versions=versions(),
        start=learner.start,
        held_out="content",
        trained_with={name: facts.get(name) for name in ("device", "precision")},
        **pictures,
    )
    last = max((row["step"] for row in run.rows()), default=0)
    for row in Folder(folder).rows():
        if row["step"] > last:
            run.append(row)
    _export_model(learner, os.path.join(run_dir, model_file.FILE_NAME), facts)
    manager = tf.train.CheckpointManager(
        learner.checkpoint, os.path.join(run_dir, "checkpoints"), max_to_keep=3
    )
    manager.save(checkpoint_number=facts["step"])
    return learner, facts["step"]


def import_model(folder, path, train_glob=""):
    """Makes a model file of the latest checkpoint of runner.py: of the averages, if there are any.

    Needs no more of the checkpoint than checkpoint.json and the first files, which hold those
    weights.

    Args:
        folder: that runner.py wrote (--out), or one checkpoint in it.
        path: of the .npz to write.
        train_glob: the pictures of the run as they are named here: those held out tell the loss, some
            of the others how often a channel is empty. Without, the model has neither.

    Returns:
        number of steps done.

    Raises:
        errors.GllmmError: what is there cannot be used.
    """
    source = _latest(folder)
    facts, _ = _read(source, wanted=lambda name: False)
    settings = _settings(source, facts, facts["settings"]["run_dir"] or "-")
    part = "average" if settings.optimizer.ema else "model"
    _, values = _read(source, wanted=lambda name: name.split("/")[0] == part)
    # In float32: what is judged here need not be fast, and not every processor has bfloat16.
    learner = Learner(settings.replace(precision="float32"), start=facts.get("start"))
    _assign(learner, values, source)
    _export_model(learner, path, facts, data.find_pictures(train_glob) if train_glob else [])
    return facts["step"]


def _export_model(learner, path, facts, pictures=()):
    """Writes the averaged model, with what the pictures at these paths tell about it."""
    settings, empty_rows, result = learner.settings, None, None
    info = _info(learner, facts)
    with learner.averaged():
        if pictures:
            seen, held_out = data.split(pictures, settings.data.validation_images)
            empty_rows = empty_channels.fit(learner.model, (data.decode(p) for p in spread(seen)))
            some = data.centres(held_out, settings.data.validation_size)
            result = learner.judge.evaluate(some) if len(some) else None
        model_file.export_model(learner.model, path, {**info, "validation": result}, empty_rows)


def _latest(folder):
    found = state.checkpoints(folder)
    return found[-1] if found else folder


def _read(source, wanted=None):
    try:
        return state.read_checkpoint(source, wanted)
    except state.RunError as error:
        raise errors.GllmmError(str(error)) from error


def _settings(source, facts, run_dir):
    try:
        return Settings.of(**{**facts["settings"], "run_dir": run_dir})
    except errors.GllmmError as error:
        raise errors.GllmmError(
            f"{source}: has other settings than this version ({error}); import it with the "
            "version that exported it"
        ) from error


def _assign(learner, values, source):
    variables = variables_of(learner)
    for name, value in values.items():
        if name not in variables or tuple(variables[name].shape) != value.shape:
            raise errors.GllmmError(
                f"{source}: its {name} does not fit the model that its settings describe; import "
                "it with the version that exported it"
            )
        variables[name].assign(value)


def _check_run(run, settings, source, facts):
    """An existing run must be the same, on the same pictures, and not further."""
    theirs = {name: v for name, v in run.record.get("settings", {}).items()}
    if theirs:
        ours = settings.replace(**{n: theirs[n] for n in FREE_SETTINGS if n in theirs})
        run.check_settings(ours)
    then, now = run.record.get("pictures"), facts.get("all_pictures")
    if then and now and then != now:
        raise errors.GllmmError(
            f"{run.path}: its run began with other pictures than {source}; give another run_dir",
            "run_dir",
        )
    latest = tf.train.latest_checkpoint(run.file("checkpoints"))
    if latest and int(latest.rsplit("-", 1)[1]) > facts["step"]:
        raise errors.GllmmError(
            f"{run.path}: is at step {latest.rsplit('-', 1)[1]}, {source} only at step "
            f"{facts['step']}; give another run_dir",
            "run_dir",
        )


def _info(learner, facts):
    """The facts of training that travel with the model, as train.py names them."""
    settings = learner.settings
    return facts_of(
        settings,
        steps=facts["step"],
        pixels_seen=facts["step"] * settings.data.batch * settings.data.patch**2,
        seconds=round(facts["seconds"]),
        skipped_steps=facts["skipped"],
        started_from=learner.start["started_from"],
        training_pictures=facts.get("pictures"),
        precision=facts.get("precision", settings.run.precision),
        hardware=settings.run.hardware or facts.get("device", ""),
    )
