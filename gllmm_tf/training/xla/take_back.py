"""TensorFlow's side of a training step that ran elsewhere: the way back.

import_state    checkpoint of the runner -> run folder that train.py continues, with model.npz
import_model    checkpoint of the runner -> model file
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from gllmm_tf.coding import empty_channels
from gllmm_tf.errors import GllmmError
from gllmm_tf.training import data
from gllmm_tf.training.facts import facts_of
from gllmm_tf.training.folder import Folder, writing
from gllmm_tf.training.learner import Learner
from gllmm_tf.training.revision import revision
from gllmm_tf.training.run import spread
from gllmm_tf.training.settings import Settings
from gllmm_tf.training.xla.program import variables_of
from gllmm_tf.training.xla.runner import checkpoints, manifest
from gllmm_tf.zoo import model_file


def import_state(folder: str, run_dir: str) -> tuple[Learner, int]:
    """Takes the latest checkpoint of the runner into a run's folder.

    Afterwards `train.py --run_dir=RUN_DIR` with the settings of the export continues (or validates)
    the run, and `compress.py --model=RUN_DIR` uses its averaged weights.

    Args:
        folder: That the runner wrote (--out), or one checkpoint in it.
        run_dir: New, or of the same run at an earlier step.

    Returns:
        (Learner with the state, number of steps done).

    Raises:
        GllmmError: what is there cannot be used, or belongs to another run.
    """
    source = _latest(folder)
    facts, values = checkpoints.read(source)
    record = facts["record"]
    settings = _settings(source, record, run_dir)
    run = Folder(run_dir)
    run.check_name()
    run.lock()
    run.check_settings(settings, manifest.FREE)
    run.check_pictures(record["pictures"], "state")
    _check_step(run, source, facts)
    learner = Learner(settings, start=record["start"])
    _assign(learner, values, source)
    learner.seconds.assign(facts["seconds"])

    trained_with = {name: facts.get(name) for name in ("device", "precision")}
    run.write_record(**{**record, "settings": settings.flat()}, trained_with=trained_with)
    last = max((row["step"] for row in run.rows()), default=0)
    for row in Folder(folder).rows():
        if row["step"] > last:
            run.append(row)
    _export_model(learner, run.file(model_file.FILE_NAME), facts)
    manager = tf.train.CheckpointManager(learner.checkpoint, run.file("checkpoints"), max_to_keep=3)
    with writing(run.file("checkpoints")):
        manager.save(checkpoint_number=facts["step"])
    run.unlock()
    return learner, facts["step"]


def import_model(folder: str, path: str, train_glob: Sequence[str] | str = "") -> int:
    """Makes a model file of the latest checkpoint of the runner: of the averages, if there are any.

    Needs no more of the checkpoint than checkpoint.json and the first files, which hold those
    weights.

    Args:
        folder: That the runner wrote (--out), or one checkpoint in it.
        path: Of the .npz to write.
        train_glob: The pictures of the run as they are named here: those held out tell the loss, some
            of the others how often a channel is empty. Without, the model has neither.

    Returns:
        Number of steps done.

    Raises:
        GllmmError: what is there cannot be used, or the pictures are others.
    """
    source = _latest(folder)
    facts, _ = checkpoints.read(source, wanted=lambda name: False)
    record = facts["record"]
    settings = _settings(source, record, record["settings"]["run_dir"])
    pictures = data.find_pictures(train_glob) if train_glob else []
    if settings.data.skip_unreadable:
        pictures = data.readable(pictures)
    if pictures:
        now = data.facts_of(pictures)
        if now != record["pictures"]:
            raise GllmmError(
                f"{source}: its run saw {record['pictures']['count']} pictures, train_glob names "
                f"{now['count']}, or others; name the same ones, or none",
                "train_glob",
            )
    part = "average" if settings.optimizer.ema else "model"
    _, values = checkpoints.read(source, wanted=lambda name: name.split("/")[0] == part)
    # In float32: what is judged here need not be fast, and not every processor has bfloat16.
    learner = Learner(settings.replace(precision="float32"), start=record["start"])
    _assign(learner, values, source)
    _export_model(learner, path, facts, pictures)
    return facts["step"]


def _export_model(learner, path, facts, pictures=()):
    """Writes the averaged model, with what the pictures at these paths tell about it."""
    settings, empty_rows, result = learner.settings, None, None
    info = _info(learner, facts)
    with learner.averaged():
        if pictures:
            rule = facts["record"]["held_out"]
            seen, held_out = data.split(pictures, settings.data.validation_images, rule)
            empty_rows = empty_channels.fit(learner.model, (data.decode(p) for p in spread(seen)))
            some = data.centres(held_out, settings.data.validation_size)
            result = learner.judge.evaluate(some) if len(some) else None
        with writing(path):
            model_file.export_model(learner.model, path, {**info, "validation": result}, empty_rows)


def _latest(folder):
    found = checkpoints.found_in(folder)
    return found[-1] if found else folder


def _settings(source, record, run_dir):
    try:
        return Settings.of(**{**record["settings"], "run_dir": run_dir})
    except GllmmError as error:
        raise GllmmError(
            f"{source}: has other settings than this version ({error}); import it with the "
            "version that exported it"
        ) from error


def _assign(learner, values, source):
    variables = variables_of(learner)
    for name, value in values.items():
        if name not in variables or tuple(variables[name].shape) != value.shape:
            raise GllmmError(
                f"{source}: its {name} does not fit the model that its settings describe; import "
                "it with the version that exported it"
            )
        variables[name].assign(value)


def _check_step(run, source, facts):
    """An existing run must not be further."""
    latest = tf.train.latest_checkpoint(run.file("checkpoints"))
    if latest and int(latest.rsplit("-", 1)[1]) > facts["step"]:
        raise GllmmError(
            f"{run.path}: is at step {latest.rsplit('-', 1)[1]}, {source} only at step "
            f"{facts['step']}; give another run_dir",
            "run_dir",
        )


def _info(learner, facts):
    """The facts of training that travel with the model, as train.py names them."""
    settings, record = learner.settings, facts["record"]
    return facts_of(
        settings,
        steps=facts["step"],
        pixels_seen=facts["pixels"],
        seconds=round(facts["seconds"]),
        skipped_steps=facts["skipped"],
        started_from=learner.start["started_from"],
        training_pictures=facts.get("training_pictures"),
        precision=facts.get("precision", settings.run.precision),
        hardware=settings.run.hardware or facts.get("device", ""),
        revision=record["revision"],
        modified=record["modified"] or revision()[1],
    )
