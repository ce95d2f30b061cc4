"""The picture of decoded symbols in plain Python: docs/format_pixels.md as code, nothing but the page.

Standard library only, float64, and slow: pictures of a few blocks and models of few channels.
"""

from __future__ import annotations

import math
import operator

from plain_file import File
from plain_model import Model

# Pictures are rows of positions of channels.


def relu(v):
    return max(v, 0.0)


def leaky(v):
    return max(v, 0.2 * v)


def sigmoid(v):
    return 1 / (1 + math.exp(-v)) if v > -700 else 0.0


def each(function, *pictures):
    """A function of one number of each picture."""
    return [[list(map(function, *ats)) for ats in zip(*rows)] for rows in zip(*pictures)]


def add(*pictures):
    return each(operator.add, *pictures)


class Weights:
    """Takes the stored arrays in their order and makes layers of them."""

    def __init__(self, model: Model):
        self._arrays = iter(model.g_s)

    def _next(self):
        array = next(self._arrays)
        return array.shape, array.values()

    def conv(self):
        """Zero-padded correlation."""
        (size, _, _, width), values = self._next()
        _, biases = self._next()
        columns = [values[d::width] for d in range(width)]
        reach = range(-(size // 2), size // 2 + 1)

        def layer(x):
            height, length, zero = len(x), len(x[0]), [0.0] * len(x[0][0])

            def at(r, c):
                return x[r][c] if 0 <= r < height and 0 <= c < length else zero

            out = []
            for r in range(height):
                out.append([])
                for c in range(length):
                    patch = [v for i in reach for j in reach for v in at(r + i, c + j)]
                    sums = (sum(map(operator.mul, patch, k)) for k in columns)
                    out[-1].append([s + b for s, b in zip(sums, biases)])
            return out

        return layer

    def subpixel(self):
        conv = self.conv()

        def layer(x, activation=float):
            out = []
            for row in each(activation, conv(x)):
                width = len(row[0]) // 4
                for i in (0, 1):
                    out.append([at[(2 * i + j) * width :][:width] for at in row for j in (0, 1)])
            return out

        return layer

    def igdn(self):
        (width,), b = self._next()
        _, g = self._next()
        beta = [max(v, math.sqrt(1e-6 + 2.0**-36)) ** 2 - 2.0**-36 for v in b]
        gamma = [max(v, 2.0**-18) ** 2 - 2.0**-36 for v in g]
        columns = [gamma[d::width] for d in range(width)]

        def one(at):
            squares = [v * v for v in at]
            norms = (s + sum(map(operator.mul, squares, k)) for s, k in zip(beta, columns))
            return [v * math.sqrt(norm) for v, norm in zip(at, norms)]

        return lambda x: [[one(at) for at in row] for row in x]

    def unit(self):
        first, second, third = self.conv(), self.conv(), self.conv()
        return lambda x: add(x, third(each(relu, second(each(relu, first(x))))))

    def attention(self):
        trunk = [self.unit() for _ in range(3)]
        gate = [*(self.unit() for _ in range(3)), self.conv()]

        def layer(x):
            a = b = x
            for part in trunk:
                a = part(a)
            for part in gate:
                b = part(b)
            return each(lambda x, a, b: x + sigmoid(b) * a, x, a, b)

        return layer

    def module(self, stages):
        def block():
            first, second = self.conv(), self.conv()
            return lambda x: add(x, each(leaky, second(each(leaky, first(x)))))

        blocks = [block() for _ in range(stages)]

        def layer(x):
            t = x
            for one in blocks:
                t = one(t)
            return t if stages == 1 else add(x, t)

        return layer

    def up(self):
        subpixel, conv, igdn, shortcut = self.subpixel(), self.conv(), self.igdn(), self.subpixel()
        return lambda x: add(igdn(conv(subpixel(x, leaky))), shortcut(x))

    def is_used_up(self):
        return next(self._arrays, None) is None


def on_first(layer, count):
    """The layer on the first channels; the others stay."""

    def first(x):
        deep = layer([[at[:count] for at in row] for row in x])
        return [[d + at[count:] for d, at in zip(*rows)] for rows in zip(deep, x)]

    return first


def synthesise(latents, file: File, model: Model, base: Model | None = None):
    """x_hat, not rounded and cut, rows of positions of three numbers; notes branches in `file.seen`.

    latents: What `plain_decoder.decode` returned. base: The model below an enhancement layer.
    """
    if not base:
        return _synthesise(latents[1], file, model)
    x_0 = _synthesise(latents[1], file.below(model.base_index), base)
    step, weights = _gain(file, model)[0], Weights(model)
    layers = [weights.module(1) for _ in range(2)] + [weights.subpixel() for _ in range(2)]
    r = latents[2]
    for layer in layers:
        r = layer(r)
    return each(lambda below, left: min(max(below, 0.0), 1.0) + step * left, x_0, r)


def _synthesise(y, file, model):
    y = [[list(map(operator.mul, at, _gain(file, model))) for at in row] for row in y]
    weights = Weights(model)
    attention = [weights.attention() for _ in range(2)]
    module = [weights.module(model.stages) for _ in range(4)]
    up = [weights.up() for _ in range(3)]
    last = weights.subpixel()
    if not weights.is_used_up():
        raise ValueError("the model has more arrays of g_s than the page lists")
    file.seen.add(f"pixels: stages {model.stages}")
    file.seen.add("pixels: trunk " + ("of its own" if set(model.widths) - {model.filters} else "N"))
    file.seen.add("pixels: " + ("some" if model.deep < model.filters else "all") + " channels deep")
    deep = [on_first(layer, model.deep) for layer in (attention[0], module[0])]
    path = [*deep, up[0], module[1], up[1], attention[1], module[2], up[2]]
    for layer in [*path, module[3], last]:
        y = layer(y)
    return y


def _gain(file, model):
    n = model.filters
    if not model.qualities:
        return [1.0] * n
    i, t = divmod(file.index, 16)
    table = model.gains[1].values()
    low, high = table[i * n :][:n], table[(i + 1) * n :][:n] or [0.0] * n
    file.seen.add("pixels: gain " + ("between two qualities" if t else "of a whole quality"))
    return [math.exp((1 - t / 16) * a + t / 16 * b) for a, b in zip(low, high)]


def picture(x_hat, file: File) -> bytes:
    """Bytes of the picture, rows of RGB."""
    flat = [v for row in x_hat[: file.height] for at in row[: file.width] for v in at]
    if min(flat) < 0:
        file.seen.add("pixels: below 0")
    if max(flat) > 1:
        file.seen.add("pixels: above 1")
    if len(x_hat) > file.height or len(x_hat[0]) > file.width:
        file.seen.add("pixels: cut off")
    pixels = [round(255 * min(max(v, 0.0), 1.0)) for v in flat]
    if 3 in file.metadata:
        file.seen.add("pixels: grey")
        means = [(sum(pixels[i : i + 3]) + 1) // 3 for i in range(0, len(pixels), 3)]
        pixels = [mean for mean in means for _ in range(3)]
    return bytes(pixels)
