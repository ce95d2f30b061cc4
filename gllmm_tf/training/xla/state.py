"""Files of a run outside TensorFlow: checkpoints in small pieces, each with its checksum.

Needs NumPy and nothing else: it travels with runner.py.
"""

import hashlib
import io
import json
import os
import re
import shutil

import numpy as np

FORMAT = 1
CHECKPOINT = "checkpoint.json"
PIECE_BYTES = 16_000_000
"""No file of a checkpoint is larger, so that each passes through what limits the size of a file."""

HEADER_BYTES = 1024
"""More than what an .npz adds to an array with a name of at most 400 bytes."""


class RunError(Exception):
    """One line for the user: what, what is wrong with it, what to do."""


def read_json(path, remedy):
    """Reads a JSON file of this format."""
    try:
        with open(path, encoding="utf-8") as f:
            value = json.load(f)
        if value["format"] == FORMAT:
            return value
    except FileNotFoundError:
        raise RunError(f"{path}: is missing; {remedy}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: cannot be read ({error}); {remedy}") from None
    raise RunError(f"{path}: has format {value['format']}, not {FORMAT}; {remedy}")


def read_bytes(folder, name, digest, remedy):
    """Reads a file whose SHA-256 must be `digest`."""
    path = os.path.join(folder, name)
    try:
        with open(path, "rb") as f:
            content = f.read()
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise RunError(f"{path}: is damaged, its checksum is wrong; {remedy}")
    return content


def write_bytes(path, content):
    """Writes a file and waits until the disk has it; returns its SHA-256."""
    with open(path, "wb") as f:
        f.write(content)
        f.flush()
        os.fsync(f.fileno())
    return hashlib.sha256(content).hexdigest()


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


def write_checkpoint(folder, arrays, facts, piece_bytes=PIECE_BYTES):
    """Writes a checkpoint, which afterwards is complete or not there.

    Args:
        folder: new; replaced if it exists.
        arrays: {name: array}. Arrays keep their order over the files; a large one is cut.
        facts: what JSON can hold, beside the arrays.
        piece_bytes: bound of a file's size.
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
        digests[file] = write_bytes(os.path.join(temporary, file), buffer.getvalue())
    content = {"format": FORMAT, "facts": facts, "sha256": digests, "arrays": index}
    write_bytes(os.path.join(temporary, CHECKPOINT), json.dumps(content, indent=1).encode())
    shutil.rmtree(folder, ignore_errors=True)
    os.rename(temporary, folder)


def read_checkpoint(folder, wanted=None):
    """Reads a checkpoint, as much of it as is wanted; other files of it need not be there.

    Args:
        folder: of the checkpoint.
        wanted: function of an array's name; None for all arrays.

    Returns:
        (facts, {name: array}).

    Raises:
        RunError: something is missing or damaged.
    """
    remedy = f"copy the checkpoint again, or remove {folder} to use the one before"
    content = read_json(os.path.join(folder, CHECKPOINT), remedy)
    files, arrays = {}, {}
    for name, entry in content["arrays"].items():
        if wanted is not None and not wanted(name):
            continue
        parts = []
        for file, key in entry["parts"]:
            if file not in files:
                data = read_bytes(folder, file, content["sha256"][file], remedy)
                files = {file: np.load(io.BytesIO(data))}  # one at a time: the order is theirs
            parts.append(files[file][key].reshape(-1))
        arrays[name] = np.concatenate(parts).reshape(entry["shape"])
    return content["facts"], arrays


def checkpoints(folder):
    """Returns the paths of the complete checkpoints in a run's folder, oldest first."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    names = sorted(name for name in names if re.fullmatch(r"checkpoint-\d{8,}", name))
    return [os.path.join(folder, name) for name in sorted(names, key=lambda n: int(n[11:]))]
