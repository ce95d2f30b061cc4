"""Folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

from gllmm_tf.errors import ModelError


def check_folder(path: str | os.PathLike) -> None:
    """Raises ModelError if `path` is neither an empty folder nor free. Creates the one it lies in."""
    if os.path.lexists(path) and not (os.path.isdir(path) and not os.listdir(path)):
        raise ModelError(f"{path}: exists and is not an empty folder; name a new one")
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)


@contextlib.contextmanager
def new_folder(path: str | os.PathLike) -> Iterator[str]:
    """A temporary folder beside `path` that takes its place at the end, or is removed on an error."""
    check_folder(path)
    path = os.path.abspath(path)
    prefix = f".{os.path.basename(path)}."
    with tempfile.TemporaryDirectory(prefix=prefix, dir=os.path.dirname(path)) as scratch:
        folder = os.path.join(scratch, "new")
        os.mkdir(folder)
        yield folder
        os.replace(folder, path)
