"""What a model file says of its training."""

from __future__ import annotations

from typing import Any

from gllmm_tf.training.revision import revision
from gllmm_tf.training.settings import Settings


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
