"""Markdown tables, and pages written by hand in which a command keeps its table up to date.

A page has a pair of marks, each on a line of its own,

    <!-- begin NAME: made by COMMAND -->
    <!-- end NAME -->

and what stands between them is replaced by what the command measured.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from experiments.common import records
from experiments.common.program import ExperimentError


def markdown(head: Sequence[str], align: str, rows: Iterable[Sequence[object]]) -> list[str]:
    """Returns the lines of a table.

    Args:
        head: titles of the columns.
        align: a letter per column, "l" or "r"; the last letter stands for all that follow.
        rows: cells.
    """
    align = align.ljust(len(head), align[-1])
    lines = [_line(head), "|" + "|".join("---" if a == "l" else "---:" for a in align) + "|"]
    return lines + [_line(row) for row in rows]


def _line(cells: Iterable[object]) -> str:
    return "|" + "|".join(f" {cell} " if cell != "" else " " for cell in cells) + "|"


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
        records.write_text(page, new)


def extract(page: str, name: str) -> str:
    """Returns what stands between the marks `name` of the file `page`."""
    match = _pattern(name).search(_read(page))
    if match is None:
        raise ExperimentError(f"{page}: has no marks of {name!r}.")
    return match[0][len(match[1]) : -len(match[2])]


def _pattern(name: str) -> re.Pattern:
    name = re.escape(name)
    return re.compile(rf"(<!-- begin {name}: [^\n]*-->\n).*?(<!-- end {name} -->)", re.DOTALL)


def _read(page: str) -> str:
    try:
        with open(page, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise ExperimentError(f"{page}: {error.strerror}.") from None
