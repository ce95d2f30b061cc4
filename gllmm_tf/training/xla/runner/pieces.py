"""Files with checksums, and streams of bytes in several of them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

from gllmm_tf.errors import GllmmError

FORMAT = 2
"""Version of all JSON files of an exported step and of its checkpoints."""


def read_json(path: str, remedy: str) -> dict[str, Any]:
    """Reads a JSON file of this format; `remedy` says what to do if that cannot be done."""
    try:
        with open(path, encoding="utf-8") as f:
            value = json.load(f)
        if value["format"] == FORMAT:
            return value
    except FileNotFoundError:
        raise GllmmError(f"{path}: is missing; {remedy}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GllmmError(f"{path}: cannot be read ({error}); {remedy}") from None
    raise GllmmError(
        f"{path}: has format {value['format']}, not {FORMAT}; use the version that wrote it"
    )


def write_json(path: str, value: dict[str, Any]) -> None:
    """Writes a JSON file of this format."""
    write_bytes(path, (json.dumps({"format": FORMAT, **value}, indent=1) + "\n").encode())


def read_bytes(folder: str, name: str, digest: str, remedy: str) -> bytes:
    """Reads a file whose SHA-256 must be `digest`."""
    path = os.path.join(folder, name)
    try:
        with open(path, "rb") as f:
            content = f.read()
    except OSError as error:
        raise GllmmError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise GllmmError(f"{path}: is damaged, its checksum is wrong; {remedy}")
    return content


def write_bytes(path: str, content: bytes) -> str:
    """Writes a file and waits until the disk has it; returns its SHA-256."""
    with open(path, "wb") as f:
        f.write(content)
        f.flush()
        os.fsync(f.fileno())
    return hashlib.sha256(content).hexdigest()


def write_stream(
    folder: str, name: str, parts: Iterable[bytes], piece_bytes: int
) -> dict[str, str]:
    """Writes bytes into files of at most `piece_bytes`, NAME-000.bin and so on.

    Args:
        folder: Where.
        name: Beginning of the files' names.
        parts: The bytes; the files are cut without regard to them.
        piece_bytes: Bound of a file's size.

    Returns:
        {name of a file: its SHA-256}, in order.
    """
    digests: dict[str, str] = {}

    def write(content):
        file = f"{name}-{len(digests):03d}.bin"
        digests[file] = write_bytes(os.path.join(folder, file), bytes(content))

    rest = bytearray()
    for part in parts:
        rest += part
        while len(rest) >= piece_bytes:
            write(rest[:piece_bytes])
            del rest[:piece_bytes]
    if rest:
        write(rest)
    return digests


def read_stream(folder: str, digests: dict[str, str], remedy: str) -> Iterator[bytes]:
    """Yields the contents of the files that `write_stream` wrote."""
    for file, digest in digests.items():
        yield read_bytes(folder, file, digest, remedy)
