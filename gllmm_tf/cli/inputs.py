"""Which files a command line names: literal names, patterns, folders, lists, standard input."""

from __future__ import annotations

import argparse
import glob
import os
import re
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from gllmm_tf.cli.job import Abort
from gllmm_tf.files import atomic

STANDARD = "-"
"""Standard input or output in place of a file; a file of this name is `./-`."""


class Input(NamedTuple):
    """A file to read.

    Attributes:
        path: Of the file.
        kept: Where it lies below --output_dir.
    """

    path: str
    kept: str


def gather(args: argparse.Namespace, extensions: tuple[str, ...]) -> list[Input]:
    """All inputs, each once, in the order in which they are named.

    Args:
        args: With `inputs`, and with `recursive` and `files_from` where the command has them.
        extensions: What is taken from a folder, in small letters.

    Raises:
        Abort: a list cannot be read, or a folder holds nothing.
    """
    recursive = getattr(args, "recursive", False)
    found: list[Input] = []
    for name in args.inputs:
        if recursive and os.path.isdir(name):
            found += _of_folder(name, extensions, getattr(args, "output_dir", None))
        else:
            found += _of_name(name, recursive)
    for name in _listed(getattr(args, "files_from", None)):
        kept = name if recursive and _stays_below(name) else os.path.basename(name)
        found.append(Input(name, os.path.normpath(kept)))
    return _each_once(found)


def expand(names: Iterable[str]) -> list[str]:
    """The files of names and patterns, each once."""
    return [one.path for one in _each_once(one for name in names for one in _of_name(name, False))]


def _each_once(found: Iterable[Input]) -> list[Input]:
    once: dict[str, Input] = {}
    for one in found:
        once.setdefault(_identity(one.path), one)
    return list(once.values())


def _identity(path: str) -> str:
    """One text for all names of a file within its folder: `a.png`, `./a.png`; links are themselves."""
    if path == STANDARD:
        return path
    folder, name = os.path.split(os.path.normpath(path))
    return os.path.join(os.path.realpath(folder), name)


def _of_name(name: str, recursive: bool) -> list[Input]:
    """What exists is itself; of other names, those with `*` or `?` are patterns."""
    if os.path.lexists(name) or not any(sign in name for sign in "*?"):
        return [Input(name, os.path.basename(name))]
    # Brackets stand in many names of files, `photo (1)[2].png`: they are no part of patterns here.
    pattern = name.replace("[", "[[]")
    matches = [p for p in sorted(glob.glob(pattern, recursive=True)) if not os.path.isdir(p)]
    base = os.path.dirname(re.split(r"[*?]", name)[0])
    return [
        Input(path, os.path.relpath(path, base or ".") if recursive else os.path.basename(path))
        for path in matches
    ] or [Input(name, os.path.basename(name))]


def _of_folder(folder: str, extensions: tuple[str, ...], output_dir: str | None) -> list[Input]:
    found = []
    for path in _walk(folder, os.path.realpath(output_dir) if output_dir else None):
        if path.lower().endswith(extensions) and os.path.isfile(path):
            found.append(Input(path, os.path.relpath(path, folder)))
    if not found:
        raise Abort(f"{folder}: holds no files with one of the extensions {' '.join(extensions)}")
    return found


def _walk(folder: str, leave_out: str | None) -> Iterator[str]:
    def refuse(error: OSError):
        raise Abort(f"{error.filename}: {atomic.reason(error)}") from error

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(f for f in folders if os.path.realpath(f"{place}/{f}") != leave_out)
        yield from (os.path.join(place, name) for name in sorted(names))


def _listed(path: str | None) -> list[str]:
    """The names in a list: one a line, or with NUL bytes between them as `find -print0` writes them."""
    if path is None:
        return []
    try:
        if path == STANDARD:
            data = sys.stdin.buffer.read()
        else:
            with open(path, "rb") as file:
                data = file.read()
    except OSError as error:
        raise Abort(f"{path}: {atomic.reason(error)}") from error
    names = data.split(b"\0") if b"\0" in data else [n.rstrip(b"\r") for n in data.split(b"\n")]
    return [os.fsdecode(name) for name in names if name]


def _stays_below(path: str) -> bool:
    return not os.path.isabs(path) and not os.path.normpath(path).startswith(os.pardir)
