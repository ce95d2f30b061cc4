"""The integer networks in plain Python: docs/format_symbols.md as code, nothing but the page.

Standard library only. `seen` collects names of the branches that were taken.
"""

from __future__ import annotations

import operator

from plain_model import Model

ABOVE = [(-2, j) for j in range(-2, 3)] + [(-1, j) for j in range(-2, 3)]
TAPS = [*ABOVE, (0, -2), (0, -1)]


class Arithmetic:
    """Rounding and limits, taking notes."""

    def __init__(self, seen: set[str]):
        self.seen = seen

    def shift(self, a: int, k: int) -> int:
        """a >> k of the page: to the nearest integer, ties to even."""
        if k <= 0:
            if k < 0:
                self.seen.add("networks: shift by a negative number")
            return a << -k
        floor, rest = a >> k, a & (1 << k) - 1
        if rest == 1 << k - 1:
            self.seen.add(f"networks: tie rounded {'up' if floor & 1 else 'down'}")
        return floor + (rest > 1 << k - 1 or (rest == 1 << k - 1 and floor & 1))

    def clip(self, a: int, bits: int, what: str) -> int:
        if abs(a) <= 1 << bits:
            return a
        self.seen.add(f"networks: {what} limited")
        return 1 << bits if a > 0 else -(1 << bits)

    def leaky(self, a: int) -> int:
        if a < 0:
            self.seen.add("networks: leaky ReLU of a negative number")
        return max(a, self.shift(13107 * a, 16))


def quotient(a: int, b: int) -> int:
    """round(a / b) of the page."""
    floor, rest = divmod(a, b)
    return floor + (2 * rest > b or (2 * rest == b and floor & 1))


def dot(a, b):
    return sum(map(operator.mul, a, b))


class Layer:
    """columns: Of the kernel, a list per output. biases, exponent."""

    def __init__(self, model, name):
        kernel, bias, exponent = (
            model.exact[f"{name}/{p}"] for p in ("kernel", "bias", "exponent")
        )
        values, width = kernel.values(), kernel.shape[-1]
        self.columns = [values[d::width] for d in range(width)]
        self.biases = bias.values()
        (self.exponent,) = exponent.values()


class Networks:
    """h_s and the entropy parameters of one model at one quality index."""

    def __init__(self, model: Model, index: int, seen: set[str]):
        self._model, self._index = model, index
        self._arithmetic = Arithmetic(seen)
        self._layers = {n: Layer(model, n) for n in ("context", "hidden/0", "hidden/1", "last")}

    def _row(self, name, width):
        return self._model.exact[name].values()[self._index * width :][:width]

    def phi(self, z):
        """z, rows of positions of Z integers, to [h][w] of 2 N integers."""
        do, n = self._arithmetic, self._model.filters
        if self._model.qualities:
            gain = self._row("z/inverse_gain", self._model.z_filters)
            z = [[[do.clip(v, 15, "z") for v in at] for at in row] for row in z]
            a = [[[do.shift(v * g, 4) for v, g in zip(at, gain)] for at in row] for row in z]
        else:
            a = [[[v << 8 for v in at] for at in row] for row in z]
        a = [[[do.clip(v, 19, "activation") for v in at] for at in row] for row in a]
        for i in range(5):
            a = self._correlate(
                self._stuff(a) if i in (1, 3) else a, Layer(self._model, f"h_s/{i}")
            )
            if i < 4:
                a = [[[do.leaky(v) for v in at] for at in row] for row in a]
        if not self._model.qualities:
            return a
        offset = self._row("phi/offset", 2 * n)
        return [
            [[do.clip(v + o, 19, "activation") for v, o in zip(at, offset)] for at in row]
            for row in a
        ]

    def _stuff(self, a):
        zero = [0] * len(a[0][0])
        out = []
        for row in a:
            out.append([at for v in row for at in (v, zero)])
            out.append([zero] * 2 * len(row))
        return out

    def _correlate(self, u, layer):
        do, zero = self._arithmetic, [0] * len(u[0][0])
        height, width = len(u), len(u[0])

        def at(r, c):
            return u[r][c] if 0 <= r < height and 0 <= c < width else zero

        out = []
        for r in range(height):
            out.append([])
            for c in range(width):
                patch = [v for i in (-1, 0, 1) for j in (-1, 0, 1) for v in at(r + i, c + j)]
                out[-1].append(
                    [
                        do.clip(do.shift(dot(patch, k) + b, layer.exponent), 19, "activation")
                        for k, b in zip(layer.columns, layer.biases)
                    ]
                )
        return out

    def parameters(self, y, phi, r, c, channels):
        """{channel: its parameters} at a position."""
        do, n = self._arithmetic, self._model.filters
        context = []
        for i, j in TAPS:
            inside = r + i >= 0 and 0 <= c + j < len(y[0])
            context += y[r + i][c + j] if inside else [0] * n
        x = [do.clip(v, 15, "context") for v in context]
        layer = self._layers["context"]
        x = [
            do.clip(do.shift(dot(x, k) + b, layer.exponent - 8), 19, "activation")
            for k, b in zip(layer.columns, layer.biases)
        ]
        x = x + phi[r][c]
        for name in ("hidden/0", "hidden/1"):
            layer = self._layers[name]
            x = [
                do.leaky(do.clip(do.shift(dot(x, k) + b, layer.exponent), 19, "activation"))
                for k, b in zip(layer.columns, layer.biases)
            ]
        layer = self._layers["last"]
        return {
            channel: [
                do.clip(
                    do.shift(dot(x, layer.columns[g * n + channel]), layer.exponent - 4),
                    28,
                    "parameter",
                )
                for g in range(self._model.groups)
            ]
            for channel in channels
        }
