"""What a run and its model file say of the training."""

from __future__ import annotations

from typing import Any

from gllmm_tf.training.revision import revision, versions
from gllmm_tf.training.settings import Settings


def record_of(
    settings: Settings, pictures: dict[str, Any], held_out: str, start: dict[str, Any]
) -> dict[str, Any]:
    """What config.json says of a run.

    Args:
        settings: Of the run.
        pictures: {"count", "sha256"}: its pictures, those held out included.
        held_out: By which rule of `data.split` these are held out.
        start: The `start` of its learner.

    Returns:
        {name: JSON value}, with the revision of the code, whether that was changed since, and the
        versions of the libraries.
    """
    commit, modified = revision()
    return {
        "settings": settings.flat(),
        "revision": commit,
        "modified": modified,
        "versions": versions(),
        "pictures": pictures,
        "held_out": held_out,
        "start": start,
    }


def facts_of(settings: Settings, **measured: Any) -> dict[str, Any]:
    """The facts that travel with a model.

    Args:
        settings: Of its run.
        **measured: What the run found: steps, pixels_seen, seconds, skipped_steps, started_from,
            training_pictures, validation, and whatever else, or replaces a setting.

    Returns:
        {name: JSON value}. `revision` is the code's, `modified` whether it was changed since.
    """
    commit, modified = revision()
    return {
        "lambdas": list(settings.model.lambdas),
        "first_quality": settings.model.first_quality,
        "metric": settings.model.metric,
        "batch": settings.data.batch,
        "patch": settings.data.patch,
        "optimizer": settings.optimizer.optimizer,
        "learning_rate": settings.optimizer.learning_rate,
        "precision": settings.run.precision,
        "ema": settings.optimizer.ema,
        "seed": settings.run.seed,
        "hardware": settings.run.hardware,
        "revision": commit,
        "modified": modified,
        **measured,
    }
