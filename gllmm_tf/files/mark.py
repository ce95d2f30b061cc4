"""What a PNG file of ours carries, so that it can be replaced where others' pictures are not."""

from __future__ import annotations

import contextlib
import os
import struct

KEYWORD, TEXT = "Software", "gllmm_tf"
CONTENT = f"{KEYWORD}\0{TEXT}".encode("latin-1")
"""Of a tEXt chunk."""

_START = b"\x89PNG\r\n\x1a\n"
_MOST_CHUNKS = 64  # ahead of the pixels, that are looked at


def is_marked(path: str | os.PathLike) -> bool:
    """Whether the file is a PNG picture that was written here; False for what cannot be read."""
    with contextlib.suppress(OSError, struct.error), open(path, "rb") as file:
        if file.read(len(_START)) != _START:
            return False
        for _ in range(_MOST_CHUNKS):
            length, name = struct.unpack(">I4s", file.read(8))
            if name == b"tEXt" and length == len(CONTENT) and file.read(length) == CONTENT:
                return True
            if name == b"IDAT":
                return False
            skipped = 0 if name != b"tEXt" or length != len(CONTENT) else length
            file.seek(length - skipped + 4, os.SEEK_CUR)
    return False
