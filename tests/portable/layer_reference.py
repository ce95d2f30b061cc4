"""The layers of `gllmm_tf.portable.transforms` once more, in plain NumPy: sums over taps in float64."""

import functools

import numpy as np

from gllmm_tf.portable import transforms


def run(path, x):
    """float64 [H, W, C] through a path of layers."""
    for layer in path:
        x = apply(layer, x)
    return x


@functools.singledispatch
def apply(layer, x):
    raise TypeError(type(layer).__name__)


@apply.register(transforms.Conv)
def _(layer, x):
    size, reach = layer.kernel.shape[0], layer.kernel.shape[0] // 2
    height, width = x.shape[0], x.shape[1]
    padded = np.pad(x, [(reach, reach), (reach, reach), (0, 0)])
    total = np.zeros([height, width, layer.kernel.shape[3]])
    for row in range(size):
        for column in range(size):
            tap = layer.kernel[row, column].astype(np.float64)
            total += padded[row : row + height, column : column + width] @ tap
    total = total[:: layer.stride, :: layer.stride]
    if layer.bias is not None:
        total = total + layer.bias
    slope = {"": 1.0, "relu": 0.0, "leaky_relu": 0.2}[layer.activation]
    return np.where(total > 0, total, slope * total)


@apply.register(transforms.SubPixelConv)
def _(layer, x):
    x = apply.dispatch(transforms.Conv)(layer, x)
    height, width, channels = x.shape
    x = x.reshape(height, width, 2, 2, channels // 4).transpose(0, 2, 1, 3, 4)
    return x.reshape(2 * height, 2 * width, -1)


@apply.register(transforms.GDN)
def _(layer, x):
    norm = np.sqrt(layer.beta + np.square(x) @ layer.gamma.astype(np.float64))
    return x * norm if layer.inverse else x / norm


@apply.register(transforms.Residual)
def _(layer, x):
    return x + run(layer.path, x)


@apply.register(transforms.Attention)
def _(layer, x):
    return x + run(layer.trunk, x) / (1 + np.exp(-run(layer.gate, x)))


@apply.register(transforms.FirstChannels)
def _(layer, x):
    first = apply(layer.layer, x[..., : layer.count])
    return np.concatenate([first, x[..., layer.count :]], -1)


@apply.register(transforms.Branches)
def _(layer, x):
    return run(layer.path, x) + apply(layer.shortcut, x)
