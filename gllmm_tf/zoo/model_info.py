"""The record of a model file alone, read without NumPy, whose import would take longer than all else.

A text in an `.npz` is the member NAME.npy of a zip: a magic of 6 bytes, a version of 2, the length of the
header (2 bytes, from version 2 on 4), the header, a Python literal, and the characters as UTF-32.
Source: numpy.lib.format.
"""

from __future__ import annotations

import ast
import json
import os
import re
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

from gllmm_tf.errors import ModelError

_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 1000  # of a text: 128 bytes


def read_info(path: str | os.PathLike) -> dict[str, Any]:
    """The facts about a model's training.

    Args:
        path: A model file.

    Raises:
        ModelError: it is none.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(_text_of(archive.read("info.npy")))
    except (
        OSError,
        EOFError,
        KeyError,
        ValueError,
        SyntaxError,
        zipfile.BadZipFile,
        zlib.error,
    ) as e:
        raise ModelError(f"{path}: not a gllmm_tf model ({e}); export it again") from None


def pixels_of(info: Mapping[str, Any]) -> int:
    """The pixels that a model and all the models it started from were trained on, by its record."""
    pixels, part = 0, info
    while part:
        pixels += part.get("pixels_seen", 0)
        part = part.get("started_from") or {}
    return pixels


def _text_of(array: bytes) -> str:
    """The text in an `.npy` file of one."""
    if array[:6] != _MAGIC or len(array) < 12:
        raise ValueError("info is no array")
    start = 8 + (2 if array[6] == 1 else 4)
    stop = start + int.from_bytes(array[8:start], "little")
    if stop - start > _LONGEST_HEADER:
        raise ValueError("info has no header")
    header = ast.literal_eval(array[start:stop].decode("latin-1"))
    kind = re.fullmatch(r"([<>])U(\d+)", str(header["descr"]))
    if kind is None or header["shape"] != ():
        raise ValueError("info is no text")
    return array[stop:].decode("utf-32-le" if kind[1] == "<" else "utf-32-be").rstrip("\0")
