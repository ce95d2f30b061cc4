"""Which Keras `tf.keras` is: version 2, also where TensorFlow comes with version 3.

Keras 3 keeps variables in other places, so that checkpoints of runs would not fit, and does not look
into modules that hold variables. From TensorFlow 2.16 on the package tf-keras is Keras 2, and the
environment variable TF_USE_LEGACY_KERAS makes `tf.keras` that one for the whole process. Importing
gllmm_tf sets it; nothing happens where tf-keras is not installed or the variable has a value.
"""

from __future__ import annotations

import importlib.util
import os

from gllmm_tf.errors import GllmmError

VARIABLE = "TF_USE_LEGACY_KERAS"


def prefer() -> None:
    """Chooses Keras 2 for whatever uses `tf.keras` later."""
    if importlib.util.find_spec("tf_keras") is not None:
        os.environ.setdefault(VARIABLE, "1")


def check() -> None:
    """Makes sure that `tf.keras` is Keras 2.

    Raises:
        GllmmError: it is another version, and what to do.
    """
    import tensorflow as tf

    version = getattr(tf.keras, "__version__", "2.")  # which Keras 2 does not tell here
    if version.startswith("2."):
        return
    if importlib.util.find_spec("tf_keras") is None:
        remedy = "pip install tf-keras=={}.{}.*".format(*tf.__version__.split("."))
    else:
        remedy = f"import gllmm_tf before anything uses tf.keras, or set {VARIABLE}=1"
    raise GllmmError(f"tf.keras is Keras {version}, and gllmm_tf needs Keras 2: {remedy}")
