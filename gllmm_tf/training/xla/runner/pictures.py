"""The training pictures of an exported step: one stream of bytes, in files that travel.

pictures.json                  sizes, what they are, fingerprint, checksums
pictures-000.bin, ..           "pixels": uint8 RGB, pictures one behind the other
                               "files": picture files as they are, one behind the other
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from gllmm_tf.errors import GllmmError
from gllmm_tf.training import crops
from gllmm_tf.training.folder import writing
from gllmm_tf.training.xla.runner import pieces

INDEX = "pictures.json"
KINDS = ("pixels", "files")
PIECE_BYTES = 60_000_000
"""No file is larger, so that each passes through what limits the size of a file."""

SAMPLES = 64
"""Pictures of a .npy file whose content is part of its fingerprint."""


def write(
    folder: str,
    kind: str,
    parts: Iterable[np.ndarray],
    fingerprint: dict[str, Any],
    piece_bytes: int = PIECE_BYTES,
) -> int:
    """Writes pictures into a new folder.

    Args:
        folder: To write.
        kind: Which of `KINDS`.
        parts: Of "pixels", pictures, uint8 [height, width, 3]; of "files", their bytes, uint8 [count].
        fingerprint: {"count", "sha256"} of the pictures of the run, those held out included.
        piece_bytes: Bound of a file's size.

    Returns:
        Number of pictures.

    Raises:
        GllmmError: the folder cannot be written.
    """
    sizes: list[Any] = []

    def stream() -> Iterator[bytes]:
        for part in parts:
            sizes.append(list(part.shape[:2]) if kind == "pixels" else part.size)
            yield part.tobytes()

    with writing(folder):
        os.makedirs(folder)
        digests = pieces.write_stream(folder, "pictures", stream(), piece_bytes)
        index = {"kind": kind, "sizes": sizes, "fingerprint": fingerprint, "sha256": digests}
        pieces.write_json(os.path.join(folder, INDEX), index)
    return len(sizes)


def read(path: str) -> tuple[crops.Pictures, dict[str, Any]]:
    """Reads training pictures into memory.

    Args:
        path: Folder that `write` wrote (decoding "files" needs Pillow); or a file NAME.npy, uint8
            [count, height, width, 3], pictures or crops of one size, which is mapped.

    Returns:
        (pictures, their fingerprint).

    Raises:
        GllmmError: they cannot be read.
    """
    if path.endswith(".npy"):
        return _read_array(path)
    remedy = "copy it again, or name another"
    index = pieces.read_json(os.path.join(path, INDEX), remedy)
    stream = pieces.read_stream(path, index["sha256"], remedy)
    sizes = index["sizes"]
    if index["kind"] == "pixels":
        total = sum(3 * height * width for height, width in sizes)
        return crops.Pictures(sizes, _joined(stream, total)), index["fingerprint"]
    decoded = _decoded(path, _joined(stream, sum(sizes)), sizes)
    pixels = np.concatenate([picture.reshape(-1) for picture in decoded])
    return crops.Pictures([picture.shape[:2] for picture in decoded], pixels), index["fingerprint"]


def _read_array(path):
    try:
        array = np.load(path, mmap_mode="r")
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape[-1] != 3:
            raise ValueError(f"it is {array.dtype} {list(array.shape)}")
    except (OSError, ValueError, EOFError) as error:
        raise GllmmError(
            f"{path}: is no array of pictures ({error}); give one of uint8 [count, height, width, "
            "3], or a folder of pictures that export_step.py wrote",
            "data",
        ) from None
    digest = hashlib.sha256(str(array.shape).encode())
    for number in np.unique(np.linspace(0, len(array) - 1, SAMPLES).astype(int)):
        digest.update(array[number].tobytes())
    fingerprint = {"count": len(array), "sha256": digest.hexdigest()[:16]}
    return crops.Pictures([array.shape[1:3]] * len(array), array.reshape(-1)), fingerprint


def _joined(stream, total):
    """The bytes of all files as one array, of which there is one copy in memory."""
    joined, start = np.empty(total, np.uint8), 0
    for content in stream:
        joined[start : start + len(content)] = np.frombuffer(content, np.uint8)
        start += len(content)
    return joined


def _decoded(path, content, sizes):
    try:
        from PIL import Image
    except ImportError:
        raise GllmmError(f"{path}: holds picture files; install pillow to decode them") from None

    def decode(part):
        with Image.open(io.BytesIO(part.tobytes())) as image:
            return np.asarray(image.convert("RGB"))

    with concurrent.futures.ThreadPoolExecutor() as pool:
        return list(pool.map(decode, np.split(content, np.cumsum(sizes)[:-1])))
