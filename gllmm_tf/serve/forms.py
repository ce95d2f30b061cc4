"""What comes with a request beside its file: query parameters, and forms as browsers and `curl -F` send.

A form (multipart/form-data, RFC 7578) has one part with a file; other parts are parameters.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterable, Sequence

from starlette.exceptions import HTTPException

LONGEST = 64  # bytes of a parameter
HEADERS = 1 << 14  # bytes of the headers of a part


def parameters(items: Iterable[tuple[str, str]], known: Sequence[str]) -> dict[str, str]:
    """Parameters by name.

    Raises:
        HTTPException: one is unknown, or given twice.
    """
    found: dict[str, str] = {}
    for name, value in items:
        if name not in known:
            raise HTTPException(
                400, f"unknown parameter {name[:LONGEST]!r}: known are {', '.join(known) or 'none'}"
            )
        if name in found:
            raise HTTPException(400, f"{name} is given twice: give it once")
        found[name] = value
    return found


def boundary_of(content_type: str) -> bytes | None:
    """What stands between the parts of a form; None if the body is no form.

    Raises:
        HTTPException: it is a form without a boundary.
    """
    kind, _, rest = content_type.partition(";")
    if kind.strip().lower() != "multipart/form-data":
        return None
    found = re.search(r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70})(?=[\s;]|$))', rest, re.I)
    if not found:
        raise HTTPException(400, "a form without a boundary: send the file itself, or curl -F")
    return (found[1] or found[2]).encode("latin-1", "replace")


def unpack(
    path: str, boundary: bytes, given: dict[str, str], known: Sequence[str]
) -> dict[str, str]:
    """Puts the file of a form in the place of the form.

    Args:
        path: Where the body lies; afterwards its file does.
        boundary: As `boundary_of` returns it.
        given: Parameters of the query.
        known: Names of all that there are.

    Returns:
        The parameters of both.

    Raises:
        HTTPException: the form is damaged, has not one file, or parameters that are not known.
    """
    fields: list[tuple[str, str]] = list(given.items())
    files = []
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as body:
        for head, start, stop in _parts(body, boundary):
            name = re.search(rb'[;\s]name="([^"]*)"', head)
            if re.search(rb"[;\s]filename\*?=", head):
                files.append((start, stop))
            elif name and stop - start <= LONGEST:
                value = body[start:stop].decode("utf-8", "replace")
                fields.append((name[1].decode("utf-8", "replace"), value))
            else:
                raise HTTPException(400, "a part of the form is no file: use curl -F file=@PATH")
        if len(files) != 1:
            raise HTTPException(
                400, f"a form with {len(files)} files: send one, curl -F file=@PATH"
            )
        found = parameters(fields, known)
        _copy(file, files[0], f"{path}.part")
    if files[0][0] == files[0][1]:
        raise HTTPException(400, "the file is empty: send the bytes of one file")
    os.replace(f"{path}.part", path)
    return found


def _parts(body, boundary):
    """Yields (headers, where the content begins, where it ends)."""
    mark = b"--" + boundary
    at = 0 if body[: len(mark)] == mark else body.find(b"\r\n" + mark)
    while at >= 0:
        at = body.find(mark, at) + len(mark)
        if body[at : at + 2] == b"--":
            return
        start = body.find(b"\r\n\r\n", at, at + HEADERS) + 4
        stop = body.find(b"\r\n" + mark, start - 2)  # the content may be empty
        if start < 4 or stop < 0:
            break
        yield body[at:start], start, max(start, stop)
        at = stop
    raise HTTPException(400, "the form is damaged or cut short: send it again")


def _copy(file, span, target):
    file.seek(span[0])
    left = span[1] - span[0]
    with open(target, "wb") as copy:
        while left > 0:
            piece = file.read(min(left, 1 << 20))
            copy.write(piece)
            left -= len(piece)
