"""Reads the Markdown pages of the repository: blocks, commands, commands in prose, links, headings."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[1]
LANGUAGES = ("bash", "python", "text", "cpp")  # of the fenced blocks
PROGRAMS = ("python", "gllmm", "pip", "make", "curl")  # what a command begins with

_FENCE = re.compile(r"^ *```(\w*)$")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_INLINE = re.compile(r"`([^`]+)`")


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        line: number of its first line, below the fence, from 1.
        language: as the fence names it, "" without.
        text: its lines.
    """

    line: int
    language: str
    text: str

    def commands(self) -> Iterator[tuple[int, str]]:
        """(line number, command) of a bash block; a command that continues over lines is one."""
        command, first = "", 0
        for number, line in enumerate(self.text.splitlines(), self.line):
            if not command:
                first = number
            command += line + "\n"
            if line.endswith("\\") or not command.strip():
                continue
            yield first, command.strip()
            command = ""
        if command.strip():
            yield first, command.strip()


def names() -> list[str]:
    """Pages that are checked, relative to the root of the repository."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "experiments" / "README.md"]
    return sorted(str(path.relative_to(ROOT)) for path in found)


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page.

    Raises:
        ValueError: a fence is not closed.
    """
    found, open_line, language, lines = [], 0, "", []
    for number, line in enumerate(text.splitlines(), 1):
        fence = _FENCE.match(line)
        if fence and open_line:
            found.append(Block(open_line + 1, language, "".join(f"{part}\n" for part in lines)))
            open_line = 0
        elif fence:
            open_line, language, lines = number, fence[1], []
        elif open_line:
            lines.append(line)
    if open_line:
        raise ValueError(f"line {open_line}: the block is not closed")
    return found


def prose(text: str) -> str:
    """A page without its fenced blocks; the line numbers stay."""
    lines, inside = [], False
    for line in text.splitlines():
        fence = bool(_FENCE.match(line))
        lines.append("" if inside or fence else line)
        inside ^= fence
    return "\n".join(lines) + "\n"


def inline_commands(text: str) -> list[str]:
    """Commands in the running text and in tables, `between backticks`."""
    found = [" ".join(code.split()) for code in _INLINE.findall(prose(text))]
    return [code for code in found if code.split()[0] in PROGRAMS and " " in code]


def indented_code(text: str) -> list[int]:
    """Numbers of lines that Markdown takes for code because they are indented."""
    lines = ["", *prose(text).splitlines()]
    return [
        number
        for number, (before, line) in enumerate(zip(lines, lines[1:]), 1)
        if line.startswith("    ") and not before.strip() and line.strip()
    ]


def links(text: str) -> list[str]:
    """Targets of all links and pictures."""
    return _LINK.findall(prose(text))


def anchors(text: str) -> set[str]:
    """What `#` links to a page may name: its headings, as GitHub writes them."""
    headings = re.findall(r"^#+ +(.+)$", prose(text), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in kept}
