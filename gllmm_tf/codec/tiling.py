"""Transforms over a picture of any size, or a region of it, in bounded memory.

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

import fractions
import functools

import tensorflow as tf

from gllmm_tf import layers
from gllmm_tf.codec.regions import Span
from gllmm_tf.work import LIVE_MAPS

_FLOAT_BYTES = 4


@functools.singledispatch
def needed(layer, span):
    """The input samples on which the outputs `span` of `layer` depend: a `Span`, borders ignored.

    A list is a path of layers. All layers treat both axes alike.
    """
    raise TypeError(
        f"tiles do not know the layer {type(layer).__name__}; register it with `needed`"
    )


@needed.register(layers.CausalConv2D)
@needed.register(layers.TransposedConv2D)
def _(layer, span):
    """No transform that is tiled has them; `Conv2D`, their parent, does something else."""
    return needed.dispatch(object)(layer, span)


@needed.register(list)
def _(path, span):
    for layer in reversed(path):
        span = needed(layer, span)
    return span


@needed.register(layers.Conv2D)
def _(layer, span):
    reach = layer.kernel_size // 2
    return Span(layer.strides * span.start - reach, layer.strides * (span.stop - 1) + reach + 1)


@needed.register(layers.SubPixelConv2D)
def _(layer, span):
    reach = layer.kernel_size // 2
    return Span(span.start // 2 - reach, -(-span.stop // 2) + reach)


@needed.register(layers.GDN)
def _(layer, span):
    del layer
    return span


@needed.register(layers.BottleneckResidualUnit)
@needed.register(layers.ResidualBlock)
def _(layer, span):
    return _hull(span, needed(list(layer.convs), span))


@needed.register(layers.ConcatenatedResidualModule)
def _(layer, span):
    return _hull(span, needed(list(layer.blocks), span))


@needed.register(layers.AttentionBlock)
def _(layer, span):
    return _hull(
        span, needed(list(layer.trunk), span), needed([*layer.attention, layer.conv], span)
    )


@needed.register(layers.ResidualDownsampling)
def _(layer, span):
    return _hull(needed([layer.down, layer.conv, layer.gdn], span), needed(layer.shortcut, span))


@needed.register(layers.ResidualUpsampling)
def _(layer, span):
    return _hull(needed([layer.up, layer.conv, layer.igdn], span), needed(layer.shortcut, span))


def _hull(*spans):
    return Span(min(span.start for span in spans), max(span.stop for span in spans))


def inputs_per_output(layer):
    """A layer's (or path's) input samples per output sample along one axis, a Fraction."""
    far = 1 << 12
    distance = needed(layer, Span(far, far + 1)).start - needed(layer, Span(0, 1)).start
    return fractions.Fraction(distance, far)


def spans_of_path(path, size, span=None):
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
    for layer, ratio, size in zip(path[::-1], ratios[::-1], sizes[-2::-1]):
        wanted, step = needed(layer, spans[0]), ratio.numerator
        start, stop = wanted.start // step * step, -(-wanted.stop // step) * step
        spans.insert(0, Span(max(0, start), min(size, stop)))
    return spans


class TiledTransform:
    """The layers of a transform as graphs, run over tiles; one graph of them all for a single tile.

    Args:
        path: Layers in order of evaluation. They are called once on `example`, which builds them.
        example: float32 [1, H, W, C], any valid input.

    For one thread at a time: see `Codec`.
    """

    def __init__(self, path, example):
        self._path = list(path)
        self._channels = [example.shape[-1]]
        self._graphs = []
        spec = tf.TensorSpec([1, None, None, example.shape[-1]], tf.float32)
        self._whole = tf.function(self._apply, input_signature=[spec], autograph=False)
        for layer in self._path:
            spec = tf.TensorSpec([1, None, None, example.shape[-1]], tf.float32)
            example = layer(example)
            self._graphs.append(tf.function(layer, input_signature=[spec], autograph=False))
            self._channels.append(example.shape[-1])

    @property
    def tracing_count(self):
        """How often any graph has been traced."""
        graphs = (self._whole, *self._graphs)
        return sum(graph.experimental_get_tracing_count() for graph in graphs)

    def bytes_per_sample(self):
        """Working memory per sample (row x column) of the input, in bytes, about."""
        area, largest = fractions.Fraction(1), self._channels[0]
        for layer, channels in zip(self._path, self._channels[1:]):
            area /= inputs_per_output(layer) ** 2
            largest = max(largest, channels * area)
        return int(LIVE_MAPS * _FLOAT_BYTES * largest)

    def tile_length(self, size, memory, multiple):
        """Samples per tile along the longer side so that a tile takes about `memory` bytes.

        Args:
            size: (height, width) of the input.
            memory: Bytes.
            multiple: What the length is a multiple of, and at least.
        """
        length = int(memory // (self.bytes_per_sample() * min(size)))
        return max(multiple, length // multiple * multiple)

    def _apply(self, x):
        for layer in self._path:
            x = layer(x)
        return x

    def num_tiles(self, size, length, region=None):
        """How often `tiles` reads."""
        return -(-max(_size(plan[0]) for plan in self._plans(size, region)) // length)

    def _plans(self, size, region):
        """`spans_of_path` for rows and for columns."""
        return [spans_of_path(self._path, n, s) for n, s in zip(size, region or (None, None))]

    def tiles(self, read, size, length, region=None):
        """Yields (rows, columns, output): parts of the output, side by side, and their spans.

        Args:
            read: A function of (rows, columns), two `Span`s, to the input there, float32
                [1, rows, columns, C]. It is asked for adjacent spans in order.
            size: (height, width) of the input, multiples of the transform's stride.
            length: Samples of a tile along the longer side of what has to be read.
            region: (rows, columns) wanted of the output; None for all.
        """
        plans = self._plans(size, region)
        heights, widths = plans
        if region is None and length >= max(size):
            yield heights[-1], widths[-1], self._whole(read(heights[0], widths[0]))
            return
        axis = int(_size(widths[0]) > _size(heights[0]))
        steps = [
            _Step(layer, graph, axis, plans[axis][i : i + 2], plans[1 - axis][i : i + 2])
            for i, (layer, graph) in enumerate(zip(self._path, self._graphs))
        ]
        source, made = plans[axis][0], plans[axis][-1].start
        for start in range(source.start, source.stop, length):
            spans = [heights[0], widths[0]]
            spans[axis] = Span(start, min(start + length, source.stop))
            output = _through(steps, read(*spans))
            if output is not None:
                spans = [heights[-1], widths[-1]]
                spans[axis] = Span(made, made + output.shape[1 + axis])
                made = spans[axis].stop
                yield (*spans, output)


class _Step:
    """One layer on its way along the tiles, with what it keeps of its input.

    Args:
        layer, graph: The layer and its graph.
        axis: 0 if tiles follow each other by rows, 1 by columns.
        along: Its input's and its output's span on that axis.
        across: The same on the other axis.
    """

    def __init__(self, layer, graph, axis, along, across):
        self._layer, self._graph = layer, graph
        self._ratio = inputs_per_output(layer)
        self._axis = axis
        self._input, self._output = along
        self._across = self._inside(across[0].start, across[1])
        self._kept, self._first = None, self._input.start
        self._made = self._output.start

    def push(self, piece):
        """Takes the next piece of the input; returns the outputs that it completes, or None."""
        axis = 1 + self._axis
        kept = piece if self._kept is None else tf.concat([self._kept, piece], axis)
        self._kept = kept
        step = self._ratio.numerator
        stop = (self._first + kept.shape[axis]) // step * step
        ready = self._ready(stop)
        if ready <= self._made:
            return None
        y = self._graph(_part(kept, axis, Span(0, stop - self._first)))
        y = _part(y, axis, self._inside(self._first, Span(self._made, ready)))
        y = _part(y, 3 - axis, self._across)
        self._made = ready
        wanted = needed(self._layer, Span(ready, ready + 1)).start // step * step
        first = max(self._first, min(wanted, stop))
        self._kept = _part(kept, axis, Span(first - self._first, kept.shape[axis]))
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


def _through(steps, piece):
    for step in steps:
        piece = step.push(piece)
        if piece is None:
            return None
    return piece


def _part(x, axis, span):
    """`span` of a tensor's axis 1 or 2; the tensor itself if that is all of it."""
    if span == (0, x.shape[axis]):
        return x
    return x[:, span.start : span.stop] if axis == 1 else x[:, :, span.start : span.stop]


def _size(span):
    return span.stop - span.start
