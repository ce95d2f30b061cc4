"""Transforms over a picture of any size, or a region of it, in bounded memory, whatever computes them.

A transform is a path of layers. A tile is a slab that is `tile` pixels long on the longer side of the
picture and as wide as its shorter side. Tiles go through the path one after the other, and every
layer keeps the end of its input that the next tile needs:

```
layer's input    |  tile 1  |  tile 2  |          kept of tile 1: needed by outputs not yet made
run on           |----------|
run on                   |-------------|          output up to the rows whose inputs are all there
```

So the overlap is paid layer by layer, 4 to 8 samples at the layer's own resolution, and not for the
whole path at once. `needed` derives it from the layers, exactly: a sample that it leaves out changes
nothing, the outermost ones that it names do. For the published networks (`stages` = 2), in picture
samples for g_a and in latent samples for g_s and h_a:

    g_a   y[i] depends on x[16 i - 145 .. 16 i + 145]
    h_a   z[i] depends on y[4 i - 7 .. 4 i + 7]
    g_s   x_hat[16 i .. 16 i + 15] depends on y_hat[i - 14 .. i + 14]

At the picture's border every layer sees its own zero padding, as without tiles; at a border between
tiles the padding reaches only samples that are thrown away. What is joined equals the untiled result
up to the rounding of float32 sums, whose order may depend on a convolution's size.
"""

from __future__ import annotations

import abc
import fractions
import functools
from collections.abc import Callable, Iterator
from typing import Any

from gllmm_tf.codec.regions import Span
from gllmm_tf.work import LIVE_MAPS

_FLOAT_BYTES = 4


@functools.singledispatch
def needed(layer, span: Span) -> Span:
    """The input samples on which the outputs `span` of `layer` depend, borders ignored.

    A list or tuple is a path of layers. All layers treat both axes alike. Each backend registers its
    kinds of layers.
    """
    raise TypeError(
        f"tiles do not know the layer {type(layer).__name__}; register it with `needed`"
    )


@needed.register(list)
@needed.register(tuple)
def _(path, span):
    for layer in reversed(path):
        span = needed(layer, span)
    return span


def hull(*spans: Span) -> Span:
    """The smallest span that holds all of them: of layers side by side."""
    return Span(min(span.start for span in spans), max(span.stop for span in spans))


def inputs_per_output(layer) -> fractions.Fraction:
    """A layer's (or path's) input samples per output sample along one axis."""
    far = 1 << 12
    distance = needed(layer, Span(far, far + 1)).start - needed(layer, Span(0, 1)).start
    return fractions.Fraction(distance, far)


def spans_of_path(path: list, size: int, span: Span | None = None) -> list[Span]:
    """What is computed along one axis for `span` of a path's output, None for all of it.

    Args:
        path: Layers in order of evaluation.
        size: Samples of the input, a multiple of the path's stride.
        span: Wanted of the last layer's output.

    Returns:
        `len(path) + 1` spans: of the input, then of every layer's output.
    """
    ratios = [inputs_per_output(layer) for layer in path]
    sizes = [size]
    for ratio in ratios:
        sizes.append(int(sizes[-1] / ratio))
    spans = [span or Span(0, sizes[-1])]
    for layer, ratio, length in zip(path[::-1], ratios[::-1], sizes[-2::-1]):
        wanted, step = needed(layer, spans[0]), ratio.numerator
        start, stop = wanted.start // step * step, -(-wanted.stop // step) * step
        spans.insert(0, Span(max(0, start), min(length, stop)))
    return spans


class TiledTransform(abc.ABC):
    """A transform run over tiles, by one function per layer; by one of them all for a single tile.

    For one thread at a time: see `PixelNetworks.turns`.

    Args:
        path: Layers in order of evaluation.
        channels: Of the input, then of every layer's output.

    Attributes:
        ROWS, COLUMNS: Axes of the backend's arrays [1, .., ..].
    """

    ROWS: int
    COLUMNS: int

    def __init__(self, path: list, channels: list[int]):
        self.path, self.channels = path, channels

    @abc.abstractmethod
    def whole(self) -> Callable:
        """The function of the whole path, of an input to its output."""

    @abc.abstractmethod
    def layers(self) -> list[Callable]:
        """The functions of the layers, one by one."""

    @abc.abstractmethod
    def join(self, parts: list, axis: int) -> Any:
        """One array of several that follow each other along an axis."""

    def keep(self, part: Any) -> Any:
        """An array that stays when that of which it is a part is gone."""
        return part

    def bytes_per_sample(self) -> int:
        """Working memory per sample (row x column) of the input, about."""
        area, largest = fractions.Fraction(1), fractions.Fraction(self.channels[0])
        for layer, width in zip(self.path, self.channels[1:]):
            area /= inputs_per_output(layer) ** 2
            largest = max(largest, width * area)
        return int(LIVE_MAPS * _FLOAT_BYTES * largest)

    def tile_length(self, size: tuple[int, int], memory: int, multiple: int) -> int:
        """Samples per tile along the longer side so that a tile takes about `memory` bytes.

        Args:
            size: (height, width) of the input.
            memory: Bytes.
            multiple: What the length is a multiple of, and at least.
        """
        length = int(memory // (self.bytes_per_sample() * min(size)))
        return max(multiple, length // multiple * multiple)

    def num_tiles(self, size: tuple[int, int], length: int, region=None) -> int:
        """How often `tiles` reads."""
        return -(-max(_length(plan[0]) for plan in self._plans(size, region)) // length)

    def tiles(
        self, read: Callable, size: tuple[int, int], length: int, region=None
    ) -> Iterator[tuple[Span, Span, Any]]:
        """Yields (rows, columns, output): parts of the output, side by side, and their spans.

        Args:
            read: A function of (rows, columns), two `Span`s, to the input there, a float32 array of
                the backend. It is asked for adjacent spans in order.
            size: (height, width) of the input, multiples of the transform's stride.
            length: Samples of a tile along the longer side of what has to be read.
            region: (rows, columns) wanted of the output; None for all.
        """
        heights, widths = self._plans(size, region)
        if region is None and length >= max(size):
            yield heights[-1], widths[-1], self.whole()(read(heights[0], widths[0]))
            return
        is_wide = _length(widths[0]) > _length(heights[0])
        along, across = (widths, heights) if is_wide else (heights, widths)
        axis = self.COLUMNS if is_wide else self.ROWS
        steps = [
            _Step(self, layer, run, axis, along[i : i + 2], across[i : i + 2])
            for i, (layer, run) in enumerate(zip(self.path, self.layers()))
        ]
        made = along[-1].start
        for start in range(along[0].start, along[0].stop, length):
            some = Span(start, min(start + length, along[0].stop))
            output = read(across[0], some) if is_wide else read(some, across[0])
            for step in steps:
                output = step.push(output)
                if output is None:
                    break
            else:
                some = Span(made, made + output.shape[axis])
                made = some.stop
                yield (across[-1], some, output) if is_wide else (some, across[-1], output)

    def _plans(self, size, region):
        """`spans_of_path` for rows and for columns."""
        return [spans_of_path(self.path, n, s) for n, s in zip(size, region or (None, None))]


class _Step:
    """One layer on its way along the tiles, with what it keeps of its input.

    Args:
        arrays: The transform, which knows the backend's arrays.
        layer, run: The layer and its function.
        axis: Along which tiles follow each other.
        along: Its input's and its output's span on that axis.
        across: The same on the other axis.
    """

    def __init__(self, arrays: TiledTransform, layer, run, axis, along, across):
        self._arrays, self._layer, self._run = arrays, layer, run
        self._ratio = inputs_per_output(layer)
        self._axis, self._other = axis, arrays.ROWS + arrays.COLUMNS - axis
        self._input, self._output = along
        self._across = self._inside(across[0].start, across[1])
        self._kept, self._first = None, self._input.start
        self._made = self._output.start

    def push(self, piece):
        """Takes the next piece of the input; returns the outputs that it completes, or None."""
        axis = self._axis
        kept = piece if self._kept is None else self._arrays.join([self._kept, piece], axis)
        self._kept = kept
        step = self._ratio.numerator
        stop = (self._first + kept.shape[axis]) // step * step
        ready = self._ready(stop)
        if ready <= self._made:
            return None
        y = self._run(_part(kept, axis, Span(0, stop - self._first)))
        y = _part(y, axis, self._inside(self._first, Span(self._made, ready)))
        y = _part(y, self._other, self._across)
        self._made = ready
        wanted = needed(self._layer, Span(ready, ready + 1)).start // step * step
        first = max(self._first, min(wanted, stop))
        rest = _part(kept, axis, Span(first - self._first, kept.shape[axis]))
        self._kept = self._arrays.keep(rest)
        self._first = first
        return y

    def _ready(self, stop):
        """One past the last output whose inputs all lie before `stop`."""
        if stop == self._input.stop:
            return self._output.stop
        ready = min(int(stop / self._ratio), self._output.stop)
        while ready > self._made and needed(self._layer, Span(self._made, ready)).stop > stop:
            ready -= 1
        return ready

    def _inside(self, first, span):
        """`span` of the output, counted from the output of input sample `first`."""
        origin = int(first / self._ratio)
        return Span(span.start - origin, span.stop - origin)


def _part(x, axis, span):
    """`span` of an array's axis; the array itself if that is all of it."""
    if span == (0, x.shape[axis]):
        return x
    return x[(slice(None),) * axis + (slice(*span),)]


def _length(span):
    return span.stop - span.start
