"""Puts the annotated file into docs/format_example.md, and the tables into tests/conformance/README.md.

    python -m experiments.tools.format_pages

What it writes is read from the conformance files by the decoder in plain Python: the pages say what is
true. Seconds.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator

from absl import flags

from experiments.common import doc_tables, places, program

SUITE = os.path.join(places.ROOT, "tests", "conformance")
TABLES = os.path.join(places.ROOT, "gllmm_tf", "coding", "tables_v1.npz")
sys.path[:0] = [SUITE] * (SUITE not in sys.path)  # the suite is no package

import plain_decoder  # noqa: E402
import plain_pixels  # noqa: E402
from plain_file import File, RangeDecoder  # noqa: E402
from plain_networks import Networks  # noqa: E402

EXAMPLE = "one_pixel"
SHOWN = 24  # decisions, from the first on


def listed() -> dict:
    """The list of the conformance files."""
    with open(os.path.join(SUITE, "manifest.json"), encoding="utf-8") as file:
        return json.load(file)


def files_table(rows: Iterable[dict]) -> str:
    """A line per file."""
    head = "file", "bytes", "pixels", "model", "what it is for"
    lines = [
        (
            f"`{row['name']}`",
            row["bytes"],
            f"{row['width']} x {row['height']}",
            f"`{os.path.basename(row['model'])[:-4]}`",
            row["about"],
        )
        for row in rows
    ]
    return "\n".join(doc_tables.markdown(head, "lrrll", lines))


def branches_table(rows: Iterable[dict]) -> str:
    """A line per branch."""
    reached: dict[str, list[str]] = {}
    for row in rows:
        for branch in row["reaches"]:
            reached.setdefault(branch, []).append(row["name"])
    lines = [
        (branch, len(names), ", ".join(f"`{name}`" for name in names[:3]))
        for branch, names in sorted(reached.items())
    ]
    return "\n".join(doc_tables.markdown(("branch", "files", "the first"), "lrl", lines))


def refused_table(rows: Iterable[dict]) -> str:
    """A line per file that has to be refused."""
    lines = [(f"`{row['name']}`", row["for"]) for row in rows]
    return "\n".join(doc_tables.markdown(("file", "what is wrong"), "ll", lines))


class Example:
    """The annotated file, section by section; each a text for a fenced block."""

    def __init__(self, row: dict):
        path = os.path.join(SUITE, row["file"])
        with open(path, "rb") as file:
            self._data = file.read()
        self._file = File(self._data)
        self._model = plain_decoder.Model(os.path.join(SUITE, row["model"]))
        self._tables = plain_decoder.read_tables(TABLES)
        self._log: list[tuple] = []
        self._z, self._y, *_ = plain_decoder.decode(
            self._file, self._model, self._tables, self._log
        )

    def fields(self) -> Iterator[str]:
        """The bytes, field by field."""
        file, at = self._file, 0
        names = [
            (4, "magic"),
            (1, "format version"),
            (1, "flags: no metadata"),
            (1, f"quality index {file.index}: quality 1 + {file.index} / 16"),
            (8, "model identity"),
            (1, f"width {file.width}"),
            (1, f"height {file.height}"),
            (1, f"length of the z stream, {len(file.z_stream)}"),
            (len(file.z_stream), "z stream"),
            (len(file.y_stream), "y stream"),
            (4, "CRC-32 of all bytes before"),
        ]
        for length, name in names:
            for first in range(at, at + length, 16):
                part = self._data[first : min(first + 16, at + length)].hex(" ")
                yield f"{part:47}  {name if first == at else ''}".rstrip()
            at += length

    def hyper(self) -> Iterator[str]:
        """The events of the z stream."""
        cdf, offset = (self._model.exact[f"z/{name}"].values() for name in ("cdf", "offset"))
        yield f"z/cdf = {cdf}, z/offset = {offset}"
        decoder = RangeDecoder(self._file.z_stream, set())
        steps = _Steps(decoder)
        for channel, o in enumerate(offset):
            row = plain_decoder.z_rows(cdf)[channel]
            symbol = plain_decoder.read_symbol(steps, *row, set())
            yield f"channel {channel}: events {' '.join(steps.taken())}  symbol {symbol}, z = {symbol + o}"
        yield f"at the end size = {decoder.state[0]}, offset = {decoder.state[1]}"

    def networks(self) -> Iterator[str]:
        """phi, parameters, mixture and masses of the first elements."""
        networks = Networks(self._model, self._file.index, set())
        phi = networks.phi(self._z)
        yield f"phi[0, 0] = {phi[0][0]}"
        yield f"phi[3, 3] = {phi[3][3]}"
        for r, c in ((0, 0), (1, 1)):
            found = networks.parameters(self._y, phi, r, c, range(self._model.filters))
            for channel, p in found.items():
                yield f"({r}, {c}, {channel})  p = {p}"
                mixture = plain_decoder.Mixture(p, self._model, self._tables, set())
                parts = [part[:3] for part in mixture.parts]
                yield f"           (v, mean, scale) = {parts}"
                m = mixture.centre
                below = [mixture.below(2 * m + side) for side in (-1, 1)]
                yield f"           m = {m}, T = {mixture.total}, M(m - 1/2), M(m + 1/2) = {below}"

    def decisions(self) -> Iterator[str]:
        """The first decisions of the y stream."""
        yield "      size     offset      f  outcome  what (row, column, channel)"
        for what, size, offset, f, outcome in self._log[:SHOWN]:
            yield f"{size:10d} {offset:10d}  {f:5d}  {('no', 'yes')[outcome]:7}  {what}"
        what, size, offset, f, outcome = self._log[-1]
        yield f"... {len(self._log)} decisions in all, of which the last is"
        yield f"{size:10d} {offset:10d}  {f:5d}  {('no', 'yes')[outcome]:7}  {what}"

    def results(self) -> Iterator[str]:
        """y and the pixels."""
        for channel in range(self._model.filters):
            rows = [" ".join(f"{at[channel]:3d}" for at in row) for row in self._y]
            for r, row in enumerate(rows):
                yield f"{f'y[{r}, :, {channel}]':12} {row}"
        x_hat = plain_pixels.synthesise((self._z, self._y), self._file, self._model)
        yield f"x_hat[0, 0] = {[round(v, 5) for v in x_hat[0][0]]}"
        yield f"pixel       = {list(plain_pixels.picture(x_hat, self._file))}"


class _Steps:
    """A range decoder that remembers the outcomes of its events."""

    def __init__(self, decoder):
        self._decoder, self._outcomes = decoder, []

    def event(self, row, precision):
        self._outcomes.append(str(self._decoder.event(row, precision)))
        return int(self._outcomes[-1])

    def decision(self, frequency):
        return self.event([0, frequency, 1 << 16], 16)

    def taken(self):
        outcomes, self._outcomes = self._outcomes, []
        return outcomes


def pages() -> Iterator[tuple[str, str, str]]:
    """(page, mark, text) of all that is made."""
    rows = listed()
    readme = os.path.join(SUITE, "README.md")
    yield readme, "files", files_table(rows["files"])
    yield readme, "branches", branches_table(rows["files"])
    yield readme, "refused", refused_table(rows["refused"])
    example = Example(next(row for row in rows["files"] if row["name"] == EXAMPLE))
    page = os.path.join(places.DOCS, "format_example.md")
    for name in ("fields", "hyper", "networks", "decisions", "results"):
        lines = "\n".join(getattr(example, name)())
        yield page, name, f"\n```text\n{lines}\n```\n\n"


def main(f: flags.FlagValues) -> None:
    del f
    for page, name, text in pages():
        doc_tables.insert(page, name, text)


if __name__ == "__main__":
    program.run(main)
