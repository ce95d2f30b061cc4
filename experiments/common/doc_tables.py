"""Tables that a command keeps up to date inside a page written by hand.

A page has a pair of marks, each on a line of its own,

    <!-- begin NAME: made by COMMAND -->
    <!-- end NAME -->

and what stands between them is replaced by what the command measured.
"""

from __future__ import annotations

import os
import re

from experiments.common.coders import ExperimentError
from gllmm_tf.files.images import write_bytes_atomic

DOCS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs")


def _pattern(name: str) -> re.Pattern:
    name = re.escape(name)
    return re.compile(rf"(<!-- begin {name}: [^\n]*-->\n).*?(<!-- end {name} -->)", re.DOTALL)


def insert(page: str, name: str, text: str) -> None:
    """Puts `text` between the marks `name` of the file `page`.

    Raises:
        ExperimentError: there is no such page, or no such pair of marks in it.
    """
    old = _read(page)
    new, count = _pattern(name).subn(lambda m: f"{m[1]}{text.rstrip()}\n{m[2]}", old)
    if count != 1:
        raise ExperimentError(f"{page}: needs one pair of marks of {name!r}, has {count}.")
    if new != old:
        write_bytes_atomic(page, new.encode())


def extract(page: str, name: str) -> str:
    """Returns what stands between the marks `name` of the file `page`."""
    match = _pattern(name).search(_read(page))
    if match is None:
        raise ExperimentError(f"{page}: has no marks of {name!r}.")
    return match[0][len(match[1]) : -len(match[2])]


def _read(page: str) -> str:
    try:
        with open(page, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise ExperimentError(f"{page}: {error.strerror}.") from None
