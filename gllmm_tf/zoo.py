"""The models that ship in the package, by name and by identity. Needs no TensorFlow."""

import functools
import os

from gllmm_tf.errors import ModelError
from gllmm_tf.model_file import ModelFile

DEFAULT_MODEL = "gllmm-n144"
FOLDER = os.path.join(os.path.dirname(__file__), "models")


def names():
    """Names of the shipped models."""
    return sorted(f[:-4] for f in os.listdir(FOLDER) if f.endswith(".npz"))


def models():
    """`{name: info}` of the shipped models: how each was trained and what was measured."""
    return {name: _read(name).info for name in names()}


def read_model(name_or_path=None):
    """The `ModelFile` of a shipped name, a file or a training run's directory; None: the default.

    Raises:
        ModelError: there is no such model, or it cannot be read.
    """
    name = os.fspath(name_or_path or DEFAULT_MODEL)
    if name in names():
        return _read(name)
    if not os.path.exists(name):
        known = ", ".join(names()) or "none"
        raise ModelError(f"{name}: no shipped model has this name ({known}) and no file this path")
    return ModelFile.read(name)


def name_of(identity):
    """Name of the shipped model with this identity (8 bytes), or None."""
    for name in names():
        if _read(name).identity == identity:
            return name
    return None


def find_model(identity):
    """Like `name_of`, but a model that does not ship raises ModelError."""
    name = name_of(identity)
    if name is None:
        raise ModelError(
            f"written by model {identity.hex()}, which does not ship with this version; "
            "give its file with --model"
        )
    return name


@functools.cache
def _read(name):
    return ModelFile.read(os.path.join(FOLDER, f"{name}.npz"))
