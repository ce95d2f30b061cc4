"""The transforms as TensorFlow graphs, run over tiles (`tiling.py`)."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from gllmm_tf import layers
from gllmm_tf.codec.regions import Span
from gllmm_tf.codec.tiling import TiledTransform, hull, needed


class TensorFlowTransform(TiledTransform):
    """Keras layers as graphs of [1, rows, columns, C].

    Args:
        path: Layers in order of evaluation. They are called once on `example`, which builds them.
        example: float32 [1, H, W, C], any valid input.
    """

    ROWS, COLUMNS = 1, 2

    def __init__(self, path: list, example: tf.Tensor):
        super().__init__(list(path), [example.shape[-1]])
        self._whole = self._graph(self._apply)
        self._graphs = []
        for layer in self.path:
            self._graphs.append(self._graph(layer))
            example = layer(example)
            self.channels.append(example.shape[-1])

    def whole(self) -> Callable:
        return self._whole

    def layers(self) -> list[Callable]:
        return self._graphs

    def join(self, parts: list, axis: int) -> tf.Tensor:
        return tf.concat(parts, axis)

    @property
    def tracing_count(self) -> int:
        """How often any graph has been traced."""
        graphs = (self._whole, *self._graphs)
        return sum(graph.experimental_get_tracing_count() for graph in graphs)

    def _graph(self, function):
        """A graph whose input has as many channels as the last of `channels`."""
        spec = tf.TensorSpec([1, None, None, self.channels[-1]], tf.float32)
        return tf.function(function, input_signature=[spec], autograph=False)

    def _apply(self, x):
        for layer in self.path:
            x = layer(x)
        return x


@needed.register(layers.CausalConv2D)
@needed.register(layers.TransposedConv2D)
def _(layer, span):
    """No transform that is tiled has them; `Conv2D`, their parent, does something else."""
    return needed.dispatch(object)(layer, span)


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
    return hull(span, needed(list(layer.convs), span))


@needed.register(layers.ConcatenatedResidualModule)
def _(layer, span):
    return hull(span, needed(list(layer.blocks), span))


@needed.register(layers.FirstChannels)
def _(layer, span):
    return needed(layer.layer, span)


@needed.register(layers.AttentionBlock)
def _(layer, span):
    return hull(span, needed(list(layer.trunk), span), needed([*layer.attention, layer.conv], span))


@needed.register(layers.ResidualDownsampling)
def _(layer, span):
    return hull(needed([layer.down, layer.conv, layer.gdn], span), needed(layer.shortcut, span))


@needed.register(layers.ResidualUpsampling)
def _(layer, span):
    return hull(needed([layer.up, layer.conv, layer.igdn], span), needed(layer.shortcut, span))
