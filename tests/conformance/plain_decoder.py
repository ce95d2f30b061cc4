"""The symbols of a file in plain Python: docs/format_symbols.md as code, nothing but the page.

    python tests/conformance/plain_decoder.py FILE.gllmm MODEL.npz TABLES.npz [BASE.npz]

prints z, every decision of y (what, size and offset of the range decoder before it, 2^16 p(0), outcome) and
y, for comparison with a decoder that goes astray. Standard library only, slow; integers only, but for one
quotient. `seen` collects names of the branches that were taken.
"""

from __future__ import annotations

import bisect
import functools
import os
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from plain_file import File, RangeDecoder, Refused  # noqa: E402
from plain_model import Model, read_tables  # noqa: E402
from plain_networks import Arithmetic, Networks, quotient  # noqa: E402

ROWS = {"gaussian": 0, "laplacian": 1, "logistic": 2}
CELLS = 8193


def single(value):
    """The nearest float32."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


class Mixture:
    """The masses of one element."""

    def __init__(self, p, model, tables, seen):
        self._tables, self._seen = tables, seen
        self._arithmetic = Arithmetic(set())
        count, k = len(model.families), model.components
        outer = self._softmax(p[3 * count * k :]) if count > 1 else None
        seen.add(f"mixture: families {count}")
        self.parts = []
        for f, family in enumerate(model.families):
            seen.add(f"mixture: {family}")
            inner = p[3 * f * k : 3 * (f + 1) * k]
            for v, mean, scale in zip(self._softmax(inner[::3]), inner[1::3], inner[2::3]):
                if outer:
                    v = self._arithmetic.shift(v * outer[f], 16)
                if abs(scale) < 64:
                    seen.add("mixture: scale limited")
                self.parts.append((v, mean, max(abs(scale), 64), CELLS * ROWS[family] + 4096))
        weight = sum(v for v, _, _, _ in self.parts)
        self.total = weight << 32
        self.centre = quotient(sum(v * mean for v, mean, _, _ in self.parts), weight << 12)
        self.below = functools.cache(self.below)

    def _softmax(self, logits):
        distances = [self._arithmetic.shift(max(logits) - logit, 4) for logit in logits]
        if max(distances) > 4096:
            self._seen.add("mixture: distance of logits limited")
        e = [self._tables["exp"][min(d, 4096)] for d in distances]
        return [quotient(v << 16, sum(e)) for v in e]

    def below(self, twice_x):
        """M(x); twice_x is odd."""
        total, cdf = 0, self._tables["cdf"]
        for v, mean, scale, middle in self.parts:
            position = quotient((2048 * twice_x - mean) << 16, scale)
            if not -(1 << 20) <= position < 1 << 20:
                self._seen.add(f"mixture: position limited {'below' if position < 0 else 'above'}")
            position = min(max(position, -(1 << 20)), (1 << 20) - 1)
            cell, f = position >> 8, position & 255
            left, right = cdf[middle + cell], cdf[middle + cell + 1]
            total += v * ((left << 8) + f * (right - left))
        return total


class Element:
    """One integer of y while it is decoded."""

    def __init__(self, place, mixture):
        self.place, self.mixture = place, mixture
        self.y = mixture.centre
        self.sign, self.block, self.start = 0, 0, 1

    def mass(self, first, end):
        """Mass at distances first .. end - 1 on the element's side; end None for all."""
        return self._beyond(first) - (0 if end is None else self._beyond(end))

    def _beyond(self, distance):
        mixture, m = self.mixture, self.mixture.centre
        if self.sign > 0:
            return mixture.total - mixture.below(2 * (m + distance) - 1)
        return mixture.below(2 * (m - distance) + 1)


class Decisions:
    """Decisions of the y stream."""

    def __init__(self, decoder, tables, seen, log=None):
        self._decoder, self._seen, self._log = decoder, seen, log
        self.frequency = tables["frequency"]
        self._edges = [(a + b) / (1 << 17) for a, b in zip(self.frequency, self.frequency[1:])]

    def ratio(self, part, whole, what):
        """A decision with p(0) = part / whole."""
        if whole == 0:
            self._seen.add("decisions: masses have run out")
        p = part / whole if whole else 0.5  # Python divides integers as float64 does
        i = bisect.bisect_left(self._edges, p)  # how many are less than p
        if whole and bisect.bisect_left(self._edges, single(single(part) / single(whole))) != i:
            self._seen.add("decisions: float32 would choose another row")
        return self.row(i, what)

    def row(self, i, what):
        """A decision with the entry i of `frequency`."""
        f, state = self.frequency[i], self._decoder.state
        outcome = self._decoder.decision(f)
        if self._log is not None:
            self._log.append((what, *state, f, outcome))
        return outcome

    def flags(self, model, index, positions):
        """Which channels are not empty."""
        empty, n, seen = model.exact.get("y/empty"), model.filters, self._seen
        alive = []
        if empty is None:
            seen.add("flags: no table")
            alive = [c for c in range(n) if self.row(914, f"channel {c}")]
        else:
            seen.add("flags: table")
            q = (index + 8) // 16 if model.qualities else 0
            k = min(positions.bit_length() - 1 - 4, 11)
            rows, s = empty.values()[(q * 12 + k) * n :][:n], 0
            for c, row in enumerate(rows):
                i = min(max(row + s, 512), 2041)
                if i != row + s:
                    seen.add(f"flags: row limited to {i}")
                b = self.row(i, f"channel {c}")
                s += ((1 - b) * 65536 - self.frequency[i]) // 512
                alive += [c] if b else []
        seen.add(
            f"flags: {'all' if not alive else 'some' if len(alive) < n else 'no'} channels empty"
        )
        return alive

    def step(self, elements):
        """Decodes the integers of the elements of one step."""
        for e in elements:
            m, mixture = 2 * e.y, e.mixture
            part = mixture.below(m + 1) - mixture.below(m - 1)
            e.sign = self.ratio(part, mixture.total, f"{e.place} centre {e.y}")
        rest = [e for e in elements if e.sign]
        for e in rest:
            m, mixture = 2 * e.y, e.mixture
            low, high = mixture.below(m - 1), mixture.total - mixture.below(m + 1)
            e.sign = 2 * self.ratio(low, low + high, f"{e.place} side") - 1
        self._blocks(rest)
        self._halves(rest)
        for e in rest:
            self._note(e)
            e.y += e.sign * e.start
        if len(rest) < len(elements):
            self._seen.add("decisions: y is its centre")

    def _blocks(self, rest):
        k = 0
        while rest:
            if k > 28:
                raise Refused("a block beyond 28")
            a, b = 1 << k, 2 << k
            rest = [
                e for e in rest if self.ratio(e.mass(a, b), e.mass(a, None), f"{e.place} block {k}")
            ]
            for e in rest:
                e.block = k + 1
            k += 1

    def _halves(self, rest):
        for e in rest:
            e.start = 1 << e.block
        for j in range(27, -1, -1):
            for e in rest:
                if e.block > j:
                    s, middle = e.start, e.start + (1 << j)
                    part, whole = e.mass(s, middle), e.mass(s, s + (2 << j))
                    if self.ratio(part, whole, f"{e.place} half {j}"):
                        e.start = middle

    def _note(self, e):
        self._seen.add(f"decisions: y {'above' if e.sign > 0 else 'below'} its centre")
        self._seen.add(
            "decisions: distance 1" if e.start == 1 else "decisions: distance 2 and more"
        )
        for least in (8, 32, 1 << 20):
            if e.start >= least:
                self._seen.add(f"decisions: distance {least} and more")


def z_rows(flat: list[int]) -> list[tuple[list[int], int]]:
    """`z/cdf` as (cumulative frequencies, precision) of every channel."""
    rows, at = [], 0
    while at < len(flat):
        p, end = -flat[at], flat.index(1 << -flat[at], at) + 1
        rows.append((flat[at + 1 : end], p))
        at = end
        while at < len(flat) and flat[at] == 1 << p:
            at += 1
    return rows


def read_z(file: File, model: Model, seen: set[str]):
    """z, rows of positions of Z integers."""
    rows = z_rows(model.exact["z/cdf"].values())
    offsets = model.exact["z/offset"].values()
    decoder = RangeDecoder(file.z_stream, seen)
    z = []
    for _ in range(-(-file.height // 64)):
        z.append([])
        for _ in range(-(-file.width // 64)):
            z[-1].append([read_symbol(decoder, *row, seen) + o for row, o in zip(rows, offsets)])
    decoder.finish()
    return z


def read_symbol(decoder, row, precision, seen):
    """A symbol of z, before its offset."""
    seen.add(f"z: precision {'16' if precision == 16 else 'below 16'}")
    m = len(row) - 1
    i = decoder.event(row, precision)
    if i < m - 1:
        seen.add("z: in its row")
        return i
    e, half = 0, 1 << 15
    while not decoder.decision(half):
        e += 1
        if e > 30:
            raise Refused("an escape of more than 30 bits")
    g = 1
    for _ in range(e):
        g = 2 * g + decoder.decision(half)
    seen.add(f"z: escape of {'1' if g == 1 else '2 and more'}")
    if decoder.decision(half):
        seen.add("z: escape below its row")
        return -g
    seen.add("z: escape above its row")
    return m - 2 + g


def read_y(file: File, model: Model, tables, z, seen: set[str], log=None):
    """y, rows of positions of N integers.

    log: A list for all decisions: (what, size and offset before it, 2^16 p(0), outcome).
    """
    height, width, n = 4 * len(z), 4 * len(z[0]), model.filters
    decoder = RangeDecoder(file.y_stream, seen)
    decisions = Decisions(decoder, tables, seen, log)
    alive = decisions.flags(model, file.index, height * width)
    y = [[[0] * n for _ in range(width)] for _ in range(height)]
    if alive:
        networks = Networks(model, file.index, seen)
        phi = networks.phi(z)
        for t in range(width + 3 * (height - 1)):
            elements = []
            for r in range(height):
                if 0 <= t - 3 * r < width:
                    parameters = networks.parameters(y, phi, r, t - 3 * r, alive)
                    for c in alive:
                        mixture = Mixture(parameters[c], model, tables, seen)
                        elements.append(Element((r, t - 3 * r, c), mixture))
            decisions.step(elements)
            for e in elements:
                r, c, channel = e.place
                y[r][c][channel] = e.y
    decoder.finish()
    return y


def decode(file: File, model: Model, tables, log=None, base: Model | None = None):
    """(z, y), rows of positions of N integers; the branches taken are added to `file.seen`.

    Of an enhancement layer (z, y, r).

    log: As `read_y` has it.
    base: The model below an enhancement layer.

    Raises:
        Refused: the file is of another model, or damaged.
    """
    if file.identity != model.identity():
        raise Refused("model")
    if file.index > 16 * max(model.qualities - 1, 0):
        raise Refused("quality index")
    file.seen.add(f"model: {'variable' if model.qualities else 'fixed'} rate")
    if model.base:
        file.seen.add("model: enhancement layer")
        if base is None or base.identity().hex() != model.base:
            raise Refused("model")
        below = file.below(model.base_index)
        z = read_z(below, base, file.seen)
        y = read_y(below, base, tables, z, file.seen)
        return z, y, read_y(file, model, tables, y, file.seen, log)
    z = read_z(file, model, file.seen)
    return z, read_y(file, model, tables, z, file.seen, log)


def to_bytes(latent) -> bytes:
    """Rows of positions of integers as int32, little endian."""
    flat = [v for row in latent for at in row for v in at]
    return struct.pack(f"<{len(flat)}i", *flat)


def main(path: str, model: str, tables: str, base: str = "") -> None:
    log: list = []
    below = Model(base) if base else None
    with open(path, "rb") as f:
        *first, last = decode(File(f.read()), Model(model), read_tables(tables), log, below)
    for name, latent in zip("zy", first):
        print(name, latent)
    for entry in log:
        print(*entry)
    print("zyr"[len(first)], last)


if __name__ == "__main__":
    main(*sys.argv[1:])
