"""Models by name and by identity. Needs no TensorFlow.

Some ship in the package. Larger ones are files of their own, found by name in the folders that the
environment variable `GLLMM_MODELS` lists (separated as in PATH). A folder with a file `SHA256SUMS`
vouches for what stands in it: such a model is checked before it is used.

A released model is never replaced: a name of `RELEASED` means the same weights in every version, and
files that it wrote stay readable. A better model gets a new name; `DEFAULT_ALIAS` may move to it.
"""

from __future__ import annotations

import functools
import hashlib
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from gllmm_tf.config import QUALITY_STEPS
from gllmm_tf.errors import ModelError
from gllmm_tf.zoo.model_info import read_info

if TYPE_CHECKING:
    from gllmm_tf.zoo.model_file import ModelFile

RELEASED = {
    "gllmm-n144": "cbd305495f79a420",
    "gllmm-n144-fine": "75ddec4af8ecaad1",
    "gllmm-n144-high": "d89223e21956e6f8",
    "gllmm-n144-ms-ssim": "d25953bd091c464e",
    "gllmm-n48": "1e9b921049ceaaa6",
}
"""{name: identity} of every model that was ever released. Rows are added, never changed or removed."""

DEFAULT_MODEL = "gllmm-n144"
"""What `DEFAULT_ALIAS` and None stand for, a released model."""

DEFAULT_ALIAS = "default"

METRIC_MODELS = {"mse": DEFAULT_ALIAS, "ms-ssim": "gllmm-n144-ms-ssim"}
"""{metric: the name of what to take where it counts}."""


class Continuation(NamedTuple):
    """The model that has the higher qualities of a scale.

    Attributes:
        name: A released model.
        above: The last quality of the model before it, in whole sixteenths.
        highest: Its highest quality.
        former: Released models that had these qualities before, whose files stay readable.
    """

    name: str
    above: float
    highest: int
    former: tuple[str, ...] = ()

    @property
    def identity(self) -> bytes:
        """The 8 bytes that stand in every file of the model."""
        return bytes.fromhex(RELEASED[self.name])


DEFAULT_CONTINUATION: Continuation | None = Continuation(
    "gllmm-n144-fine", above=7.0, highest=12, former=("gllmm-n144-high",)
)
"""Who has the higher qualities of `DEFAULT_ALIAS`. A model that is named stands for itself alone."""

FIRST_QUALITIES = {RELEASED["gllmm-n144-fine"]: 7, RELEASED["gllmm-n144-high"]: 6}
"""{identity of a released model: its lowest quality} where that is not 1."""

FOLDER = os.path.join(os.path.dirname(__file__), "weights")
VARIABLE = "GLLMM_MODELS"
CHECKSUMS = "SHA256SUMS"  # as `sha256sum` writes and checks it


def folders() -> list[str]:
    """Folders in which models are looked for: the package's first, so that its names stay its own."""
    named = os.environ.get(VARIABLE, "").split(os.pathsep)
    return [FOLDER, *(f for f in named if f and os.path.isdir(f))]


def _paths() -> dict[str, str]:
    """`{name: path}` of all models that are found, those of the package first."""
    paths: dict[str, str] = {}
    for folder in folders():
        for file in sorted(os.listdir(folder)):
            if file.endswith(".npz"):
                paths.setdefault(file[:-4], os.path.join(folder, file))
    return paths


def names() -> list[str]:
    """Names of the models that are found, without the alias."""
    return sorted(_paths())


def shipped_names() -> list[str]:
    """Names of those that are part of the package."""
    return sorted(f[:-4] for f in os.listdir(FOLDER) if f.endswith(".npz"))


def path_of(name: str) -> str:
    """Path of the file of a model that is found; KeyError if there is none."""
    return _paths()[name]


def identity_of(name: str) -> bytes:
    """The 8 bytes that stand in every file of a model that is found.

    Raises:
        KeyError: there is none of this name. ModelError: it cannot be read.
    """
    path = path_of(name)
    if name in RELEASED and os.path.dirname(path) == FOLDER:  # which need not be read to be known
        return bytes.fromhex(RELEASED[name])
    return _read(path).identity


def models() -> dict[str, dict[str, Any]]:
    """`{name: info}` of the models: how each was trained and what was measured."""
    found = {}
    for name, path in sorted(_paths().items()):
        _verify(path)
        found[name] = read_info(path)
    return found


def read_model(name_or_path: str | os.PathLike | None = None) -> ModelFile:
    """The `ModelFile` of a name, a file or a training run's directory.

    Args:
        name_or_path: A name, "default", or a path; a name comes first. None for the default.

    Raises:
        ModelError: there is no such model, or it cannot be read.
    """
    if not isinstance(name_or_path, (str, os.PathLike, type(None))):
        raise ModelError(f"a model is a name or a path, not {name_or_path!r}", "model")
    name = os.fspath(name_or_path or DEFAULT_ALIAS)
    if name == DEFAULT_ALIAS:
        name = DEFAULT_MODEL
    paths = _paths()
    if name in paths:
        return _read(paths[name])
    if not os.path.exists(name):
        known = ", ".join([DEFAULT_ALIAS, *sorted(paths)])
        raise ModelError(
            f"{name}: no model has this name ({known}) and no file this path; a folder with more "
            f"models is named by {VARIABLE}",
            "model",
        )
    from gllmm_tf.zoo.model_file import ModelFile

    return ModelFile.read(name)


def read_scale(
    name_or_path: str | os.PathLike | None = None,
) -> tuple[ModelFile, Continuation | None]:
    """(`read_model`, who has the higher qualities): of a name, a file or a directory, or the default."""
    stored = read_model(name_or_path)
    is_default = os.fspath(name_or_path or DEFAULT_ALIAS) == DEFAULT_ALIAS
    return stored, DEFAULT_CONTINUATION if is_default else None


def default_names() -> list[str]:
    """The models of the default, the lowest qualities first; nothing is read."""
    higher = DEFAULT_CONTINUATION
    return [DEFAULT_MODEL, higher.name] if higher else [DEFAULT_MODEL]


def names_and_identities(name_or_path: str | os.PathLike | None = None) -> dict[str, str]:
    """{name: identity} of the models of `read_scale`, in hexadecimal digits, the lowest qualities first."""
    stored, higher = read_scale(name_or_path)
    name = name_of(stored.identity) or os.path.basename(os.fspath(name_or_path or DEFAULT_ALIAS))
    found = {name.removesuffix(".npz"): stored.identity.hex()}
    return {**found, higher.name: higher.identity.hex()} if higher else found


def quality_of(identity: bytes, index: int) -> float:
    """The quality of a file, as far as that is known: a model that was not released counts from 1."""
    return FIRST_QUALITIES.get(identity.hex(), 1) + index / QUALITY_STEPS


def name_of(identity: bytes) -> str | None:
    """Name of the model with this identity (8 bytes), or None."""
    paths = _paths()
    for name, released in RELEASED.items():  # which need not be read to be known
        if released == identity.hex() and os.path.dirname(paths.get(name, "")) == FOLDER:
            return name
    for name, path in paths.items():
        try:
            if _read(path).identity == identity:
                return name
        except ModelError:
            if os.path.dirname(path) == FOLDER:
                raise
            # Another's damaged file is no reason to fail; whoever names it hears of it.
    return None


def find_model(identity: bytes) -> str:
    """Like `name_of`, but a model that is not found raises ModelError."""
    name = name_of(identity)
    if name is None:
        raise ModelError(
            f"written by model {identity.hex()}, which does not ship with this version; "
            f"name its file, or its folder in {VARIABLE}",
            "model",
        )
    return name


@functools.cache
def _read(path: str) -> ModelFile:
    from gllmm_tf.zoo.model_file import ModelFile  # With NumPy, which takes time.

    _verify(path)
    return ModelFile.read(path)


def _verify(path: str) -> None:
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
