"""Models by name and by identity. Needs no TensorFlow.

Some ship in the package. Larger ones are files of their own, found by name in the folders that the
environment variable `GLLMM_MODELS` lists (separated as in PATH). A folder with a file `SHA256SUMS`
vouches for what stands in it: such a model is checked before it is used.
"""

import functools
import hashlib
import os

from gllmm_tf.errors import ModelError
from gllmm_tf.zoo.model_file import ModelFile

DEFAULT_MODEL = "gllmm-n144"
FOLDER = os.path.join(os.path.dirname(__file__), "weights")
VARIABLE = "GLLMM_MODELS"
CHECKSUMS = "SHA256SUMS"  # as `sha256sum` writes and checks it


def folders():
    """Folders in which models are looked for: the package's first, so that its names stay its own."""
    named = os.environ.get(VARIABLE, "").split(os.pathsep)
    return [FOLDER, *(f for f in named if f and os.path.isdir(f))]


def _paths():
    """`{name: path}` of all models that are found, those of the package first."""
    paths = {}
    for folder in folders():
        for file in sorted(os.listdir(folder)):
            if file.endswith(".npz"):
                paths.setdefault(file[:-4], os.path.join(folder, file))
    return paths


def names():
    """Names of the models that are found."""
    return sorted(_paths())


def shipped_names():
    """Names of those that are part of the package."""
    return sorted(f[:-4] for f in os.listdir(FOLDER) if f.endswith(".npz"))


def path_of(name):
    """Path of the file of a model that is found; KeyError if there is none."""
    return _paths()[name]


def models():
    """`{name: info}` of the models: how each was trained and what was measured."""
    return {name: _read(path).info for name, path in sorted(_paths().items())}


def read_model(name_or_path=None):
    """The `ModelFile` of a name, a file or a training run's directory; None: the default.

    Raises:
        ModelError: there is no such model, or it cannot be read.
    """
    name = os.fspath(name_or_path or DEFAULT_MODEL)
    paths = _paths()
    if name in paths:
        return _read(paths[name])
    if not os.path.exists(name):
        known = ", ".join(sorted(paths)) or "none"
        raise ModelError(
            f"{name}: no model has this name ({known}) and no file this path; a folder with more "
            f"models is named by {VARIABLE}"
        )
    return ModelFile.read(name)


def name_of(identity):
    """Name of the model with this identity (8 bytes), or None."""
    for name, path in _paths().items():
        try:
            if _read(path).identity == identity:
                return name
        except ModelError:
            if os.path.dirname(path) == FOLDER:
                raise
            # Another's damaged file is no reason to fail; whoever names it hears of it.
    return None


def find_model(identity):
    """Like `name_of`, but a model that is not found raises ModelError."""
    name = name_of(identity)
    if name is None:
        raise ModelError(
            f"written by model {identity.hex()}, which does not ship with this version; "
            f"name its file, or its folder in {VARIABLE}"
        )
    return name


@functools.cache
def _read(path):
    _verify(path)
    return ModelFile.read(path)


def _verify(path):
    """Compares a file with the checksum that its folder has of it, if there is one."""
    folder, file = os.path.split(path)
    try:
        with open(os.path.join(folder, CHECKSUMS), encoding="ascii") as f:
            lines = [line.split() for line in f]
    except OSError:
        return
    wanted = {line[1].lstrip("*"): line[0] for line in lines if len(line) == 2}.get(file)
    if wanted is None:
        return
    try:
        with open(path, "rb") as f:
            found = hashlib.sha256(f.read()).hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    if found != wanted:
        raise ModelError(
            f"{path}: is damaged, its SHA-256 is not that of {CHECKSUMS}; fetch the file again"
        )
