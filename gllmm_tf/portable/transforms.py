"""g_a, h_a and g_s as paths of layers that hold their weights, read from a model file.

The layers are those of `gllmm_tf.layers` and the paths those of `gllmm_tf.model.transforms`, as plain
data: `tiling.py` plans with them, `graphs.py` writes them down for onnxruntime. A model file holds the
weights in the order in which the Keras layers create them, which is not that of the paths.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from gllmm_tf.config import LAYER_BLOCKS, ModelConfig
from gllmm_tf.errors import ModelError

# tfc.GDN stores sqrt(value + offset^2), not below the square root of the value's minimum + offset^2.
_GDN_OFFSET = 2.0**-18
_BETA_MINIMUM = 1e-6


@dataclasses.dataclass(frozen=True, eq=False)
class Conv:
    """Zero-padded correlation, centred on input `stride` i, and an activation.

    Attributes:
        kernel: float32 [size, size, C, D], size odd.
        bias: float32 [D] or None.
        stride: 1 or 2.
        activation: "", "relu" or "leaky_relu" (slope 0.2).
    """

    kernel: np.ndarray
    bias: np.ndarray | None
    stride: int = 1
    activation: str = ""

    @property
    def reach(self) -> int:
        return self.kernel.shape[0] // 2


@dataclasses.dataclass(frozen=True, eq=False)
class SubPixelConv(Conv):
    """`Conv` to 4 D channels, then depth to space: twice the rows and columns."""


@dataclasses.dataclass(frozen=True, eq=False)
class GDN:
    """`x_i / sqrt(beta_i + sum_j gamma_ji x_j^2)`; the inverse multiplies.

    Attributes:
        beta: float32 [C].
        gamma: float32 [C, C], from j to i.
    """

    beta: np.ndarray
    gamma: np.ndarray
    inverse: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Residual:
    """`x + path(x)`."""

    path: tuple


@dataclasses.dataclass(frozen=True, eq=False)
class Attention:
    """`x + sigmoid(gate(x)) trunk(x)`."""

    trunk: tuple
    gate: tuple


@dataclasses.dataclass(frozen=True, eq=False)
class FirstChannels:
    """`layer` on the first `count` channels; the others stay as they are."""

    layer: object
    count: int


@dataclasses.dataclass(frozen=True, eq=False)
class Branches:
    """`path(x) + shortcut(x)`."""

    path: tuple
    shortcut: Conv


def analysis(config: ModelConfig, weights: Iterable[np.ndarray]) -> list:
    """The path of g_a: x [H, W, 3] to y [H / 16, W / 16, N]. weights: `ModelFile.weights["g_a"]`."""
    stored = _Stored("g_a", weights)
    n = config.num_filters
    widths = config.trunk_widths or 3 * (n,)
    downs = [stored.down(*pair) for pair in zip((3, *widths), widths)]
    modules = [stored.module(width, config.stages) for width in widths]
    last = stored.conv(widths[2], n, stride=2, has_bias=False)
    deep = config.deep_filters or n
    attentions = [stored.attention(width) for width in (widths[1], deep)]
    stored.finish()
    return [
        downs[0],
        modules[0],
        downs[1],
        attentions[0],
        modules[1],
        downs[2],
        modules[2],
        last,
        _deep(attentions[1], config),
    ]


def hyper_analysis(config: ModelConfig, weights: Iterable[np.ndarray]) -> list:
    """The path of h_a: y [h, w, N] to z [h / 4, w / 4, Z]. weights: `ModelFile.weights["h_a"]`."""
    stored = _Stored("h_a", weights)
    n = config.z_filters
    path = [
        stored.conv(before, n, stride=stride, activation="leaky_relu" if i < 4 else "")
        for i, (before, stride) in enumerate(zip((config.num_filters, n, n, n, n), (1, 1, 2, 1, 2)))
    ]
    stored.finish()
    return path


def synthesis(config: ModelConfig, weights: Iterable[np.ndarray]) -> list:
    """The path of g_s: y_hat [h, w, N] to x_hat [16 h, 16 w, 3]. weights: `ModelFile.weights["g_s"]`."""
    stored = _Stored("g_s", weights)
    n = config.num_filters
    widths = (config.trunk_widths or 3 * (n,))[::-1]
    deep = config.deep_filters or n
    attentions = [stored.attention(width) for width in (deep, widths[1])]
    modules = [stored.module(width, config.stages) for width in (deep, *widths)]
    ups = [stored.up(*pair) for pair in zip((n, *widths), widths)]
    last = stored.subpixel(widths[2], 3)
    stored.finish()
    return [
        _deep(attentions[0], config),
        _deep(modules[0], config),
        ups[0],
        modules[1],
        ups[1],
        attentions[1],
        modules[2],
        ups[2],
        modules[3],
        last,
    ]


def layer_analysis(config: ModelConfig, weights: Iterable[np.ndarray]) -> list:
    """The path of an enhancement layer's g_a: [H, W, 3] to [H / 4, W / 4, N]."""
    stored = _Stored("g_a", weights)
    path = [
        stored.conv(before, width, stride=2, has_bias=False)
        for before, width in ((3, 12), (12, config.num_filters))
    ]
    stored.finish()
    return path


def layer_synthesis(config: ModelConfig, weights: Iterable[np.ndarray]) -> list:
    """The path of an enhancement layer's g_s: r_hat [h, w, N] to [4 h, 4 w, 3]."""
    stored = _Stored("g_s", weights)
    path = [stored.module(config.num_filters, 1) for _ in range(LAYER_BLOCKS)]
    path += [stored.subpixel(config.num_filters, 12), stored.subpixel(12, 3)]
    stored.finish()
    return path


def _deep(layer, config):
    """The layer on the channels of y that go through it."""
    return FirstChannels(layer, config.deep_filters) if config.deep_filters else layer


class _Stored:
    """Makes layers of the stored arrays of one transform, in order; each must have its shape."""

    def __init__(self, part, weights):
        self._part = part
        self._weights = iter(weights)

    def finish(self):
        """Checks that nothing is left."""
        if next(self._weights, None) is not None:
            raise self._error()

    def conv(self, before, width, size=3, stride=1, activation="", has_bias=True):
        kernel = self._take(size, size, before, width)
        return Conv(kernel, self._take(width) if has_bias else None, stride, activation)

    def subpixel(self, before, width, size=3, activation=""):
        conv = self.conv(before, 4 * width, size, activation=activation)
        return SubPixelConv(conv.kernel, conv.bias, 1, activation)

    def gdn(self, width, inverse=False):
        beta, gamma = self._take(width), self._take(width, width)
        pedestal = np.float32(_GDN_OFFSET**2)
        bounds = [np.float32((m + _GDN_OFFSET**2) ** 0.5) for m in (_BETA_MINIMUM, 0.0)]
        beta, gamma = (np.maximum(v, b) ** 2 - pedestal for v, b in zip((beta, gamma), bounds))
        return GDN(beta, gamma, inverse)

    def module(self, width, stages):
        blocks = []
        for _ in range(stages):
            convs = [self.conv(width, width, activation="leaky_relu") for _ in range(2)]
            blocks.append(Residual(tuple(convs)))
        return blocks[0] if stages == 1 else Residual(tuple(blocks))

    def down(self, before, width):
        down = self.conv(before, width, stride=2, activation="leaky_relu")
        path = down, self.conv(width, width), self.gdn(width)
        return Branches(path, self.conv(before, width, size=1, stride=2))

    def up(self, before, width):
        up = self.subpixel(before, width, activation="leaky_relu")
        path = up, self.conv(width, width), self.gdn(width, inverse=True)
        return Branches(path, self.subpixel(before, width, size=1))

    def attention(self, width):
        trunk, gate = (tuple(self._unit(width) for _ in range(3)) for _ in range(2))
        return Attention(trunk, (*gate, self.conv(width, width, size=1)))

    def _unit(self, width):
        narrow = self.conv(width, width // 2, size=1, activation="relu")
        inner = self.conv(width // 2, width // 2, activation="relu")
        return Residual((narrow, inner, self.conv(width // 2, width, size=1)))

    def _take(self, *shape):
        array = next(self._weights, None)
        if array is None or array.shape != shape:
            raise self._error()
        return array.astype(np.float32)

    def _error(self):
        return ModelError(
            f"the stored weights of {self._part} do not fit the model's configuration"
        )
