"""The transforms as onnxruntime sessions, run over tiles (`gllmm_tf/codec/tiling.py`)."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable

import numpy as np

from gllmm_tf.codec.regions import Span
from gllmm_tf.codec.tiling import TiledTransform, hull, needed
from gllmm_tf.portable import graphs, runtime, transforms


class PortableTransform(TiledTransform):
    """Layers of `transforms.py` as sessions of [1, C, rows, columns], which are built on first use.

    Args:
        path: Layers in order of evaluation.
        before: Channels of the input.
    """

    ROWS, COLUMNS = 2, 3

    def __init__(self, path: list, before: int):
        super().__init__(path, [before])
        for layer in path:
            self.channels.append(channels(layer, self.channels[-1]))
        self._building = threading.Lock()
        self._whole: Callable | None = None
        self._layers: list[Callable] = []

    def whole(self) -> Callable:
        with self._building:
            if self._whole is None:
                ends = self.channels[0], self.channels[-1]
                self._whole = runtime.session(graphs.path_model(self.path, ends))
            return self._whole

    def layers(self) -> list[Callable]:
        with self._building:
            if not self._layers:
                ends = zip(self.channels, self.channels[1:])
                models = (graphs.path_model([layer], e) for layer, e in zip(self.path, ends))
                self._layers = [runtime.session(model) for model in models]
            return self._layers

    def join(self, parts: list, axis: int) -> np.ndarray:
        return np.concatenate(parts, axis)

    def keep(self, part: np.ndarray) -> np.ndarray:
        return part.copy()


@needed.register(transforms.Conv)
def _(layer, span):
    first, last = layer.stride * span.start, layer.stride * (span.stop - 1)
    return Span(first - layer.reach, last + layer.reach + 1)


@needed.register(transforms.SubPixelConv)
def _(layer, span):
    return Span(span.start // 2 - layer.reach, -(-span.stop // 2) + layer.reach)


@needed.register(transforms.GDN)
def _(layer, span):
    del layer
    return span


@needed.register(transforms.Residual)
def _(layer, span):
    return hull(span, needed(layer.path, span))


@needed.register(transforms.FirstChannels)
def _(layer, span):
    return needed(layer.layer, span)


@needed.register(transforms.Attention)
def _(layer, span):
    return hull(span, needed(layer.trunk, span), needed(layer.gate, span))


@needed.register(transforms.Branches)
def _(layer, span):
    return hull(needed(layer.path, span), needed(layer.shortcut, span))


@functools.singledispatch
def channels(layer, before: int) -> int:
    """Channels of a layer's output; before: of its input."""
    del layer
    return before


@channels.register(list)
@channels.register(tuple)
def _(path, before):
    for layer in path:
        before = channels(layer, before)
    return before


@channels.register(transforms.Conv)
def _(layer, before):
    del before
    return layer.kernel.shape[3]


@channels.register(transforms.SubPixelConv)
def _(layer, before):
    del before
    return layer.kernel.shape[3] // 4


@channels.register(transforms.Branches)
def _(layer, before):
    return channels(layer.shortcut, before)
