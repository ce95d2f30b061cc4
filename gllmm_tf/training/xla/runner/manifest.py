"""What an exported step says of itself: manifest.json, and the names of what lies beside it."""

from __future__ import annotations

import os
from typing import Any

from gllmm_tf.training import settings
from gllmm_tf.training.xla.runner import pieces

FILE_NAME = "manifest.json"
INITIAL = "initial"
"""Folder of the state that a new run begins with."""

PICTURES = "pictures"
"""Folder of the training pictures, if they travel with the step."""

FREE = settings.FREE | {"train_glob", "precision", "jit"}
"""A run may be continued elsewhere with other values of these; its pictures are compared themselves."""


def read(folder: str) -> dict[str, Any]:
    """Reads the manifest of an exported step.

    Returns:
        {"record": what config.json of the run says (settings, pictures, start, ..),
         "arguments", "variables": {name: {"shape", "dtype"}},
         "programs": {precision: {"file", "sha256", "parameters": names, "results": names}}}.

    Raises:
        GllmmError: there is none, or it cannot be read.
    """
    remedy = "name the folder that export_step.py wrote (--step)"
    return pieces.read_json(os.path.join(folder, FILE_NAME), remedy)
