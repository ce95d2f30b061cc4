"""The state of a run outside TensorFlow: checkpoints in small pieces, each with its checksum."""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np

from gllmm_tf.training.xla.runner import pieces

FILE_NAME = "checkpoint.json"
PIECE_BYTES = 16_000_000
"""No file of a checkpoint is larger, so that each passes through what limits the size of a file."""

HEADER_BYTES = 1024
"""More than what an .npz adds to an array with a name of at most 400 bytes."""


def _pieces(arrays, piece_bytes):
    """Yields lists of (name, array name or None if it is a part, values) that fit into a file."""
    piece, room = [], piece_bytes
    for name, array in arrays.items():
        flat = array.reshape(-1)
        start = 0
        while start < max(1, flat.size):
            count = min(flat.size - start, (room - HEADER_BYTES) // flat.itemsize)
            if count <= 0 < flat.size:
                yield piece
                piece, room = [], piece_bytes
                continue
            whole = count == flat.size
            key = name if whole else f"{name}[{start}:{start + count}]"
            values = array if whole else flat[start : start + count]
            piece.append((name, key, values))
            room -= values.nbytes + HEADER_BYTES
            start += max(1, count)
    yield piece


def write(
    folder: str, arrays: dict[str, Any], facts: dict[str, Any], piece_bytes: int = PIECE_BYTES
) -> None:
    """Writes a checkpoint, which afterwards is complete or not there.

    Args:
        folder: New; replaced if it exists.
        arrays: {name: array}. Arrays keep their order over the files; a large one is cut.
        facts: What JSON can hold, beside the arrays.
        piece_bytes: Bound of a file's size.
    """
    temporary = f"{folder}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    os.makedirs(temporary)
    arrays = {name: np.asarray(value) for name, value in arrays.items()}
    index = {
        name: {"shape": list(value.shape), "dtype": value.dtype.name, "parts": []}
        for name, value in arrays.items()
    }
    digests = {}
    for number, piece in enumerate(_pieces(arrays, piece_bytes)):
        file = f"state-{number:02d}.npz"
        for name, key, _ in piece:
            index[name]["parts"].append([file, key])
        buffer = io.BytesIO()
        np.savez(buffer, **{key: values for _, key, values in piece})
        digests[file] = pieces.write_bytes(os.path.join(temporary, file), buffer.getvalue())
    content = {"facts": facts, "sha256": digests, "arrays": index}
    pieces.write_json(os.path.join(temporary, FILE_NAME), content)
    shutil.rmtree(folder, ignore_errors=True)
    os.rename(temporary, folder)


def read(
    folder: str, wanted: Callable[[str], bool] | None = None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Reads a checkpoint, as much of it as is wanted; other files of it need not be there.

    Args:
        folder: Of the checkpoint.
        wanted: Function of an array's name; None for all arrays.

    Returns:
        (facts, {name: array}).

    Raises:
        GllmmError: something is missing or damaged.
    """
    remedy = f"copy the checkpoint again, or remove {folder} to use the one before"
    content = pieces.read_json(os.path.join(folder, FILE_NAME), remedy)
    files, arrays = {}, {}
    for name, entry in content["arrays"].items():
        if wanted is not None and not wanted(name):
            continue
        parts = []
        for file, key in entry["parts"]:
            if file not in files:
                data = pieces.read_bytes(folder, file, content["sha256"][file], remedy)
                files = {file: np.load(io.BytesIO(data))}  # one at a time: the order is theirs
            parts.append(files[file][key].reshape(-1))
        arrays[name] = np.concatenate(parts).reshape(entry["shape"])
    return content["facts"], arrays


def found_in(folder: str) -> list[str]:
    """Returns the paths of the complete checkpoints in a run's folder, oldest first."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    names = [name for name in names if re.fullmatch(r"checkpoint-\d{8,}", name)]
    return [os.path.join(folder, name) for name in sorted(names, key=step_of)]


def path_of(folder: str, step: int) -> str:
    """Where the checkpoint of a step lies in a run's folder."""
    return os.path.join(folder, f"checkpoint-{step:08d}")


def step_of(path: str) -> int:
    """The step of the checkpoint at this path; the inverse of `path_of`."""
    return int(path.rsplit("-", 1)[1])
