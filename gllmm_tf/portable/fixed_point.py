"""The networks between decoded integers and the coder, exactly, in NumPy.

The arithmetic is that of docs/format.md: kernels are int16 with an exponent B per layer, activations are
integers of at most 2^19. All values are integers, or multiples of a power of two, in float64: no sum of
products reaches 2^50, so a matrix product is exact whatever the order of its sums, and kernels divided
by 2^B give exactly the sums divided by 2^B.

    a' = clip(round(sum a (K / 2^B) + bias / 2^B))
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np

from gllmm_tf.portable import constants, workers

ACTIVATION_LIMIT = 2.0**19
SYMBOL_LIMIT = 2.0**15  # decoded integers are limited to this where they enter a network
PARAMETER_LIMIT = 2.0**28

_SLOPE = 13107 / 65536  # of the leaky ReLU, exact in float64 like its products
BAND_POSITIONS = 4096  # of one band in h_s
SHARED_PRODUCTS = 3_000_000  # products, from which on it pays to share them out: about 0.2 ms


class FixedPointNetworks:
    """h_s and the entropy parameters on integers.

    Args:
        arrays: `ModelFile.exact`.
        num_filters: N.
        num_groups: Parameters of the mixture per element of y.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], num_filters: int, num_groups: int):
        self.num_filters = num_filters
        self.num_groups = num_groups
        self._arrays = arrays

    def hyper_synthesis(self, z_hat: np.ndarray, index: int) -> np.ndarray:
        """phi, float32 integers [h, w, 2 N] in units of 2^-8.

        Args:
            z_hat: Integers [h / 4, w / 4, N].
            index: Quality index.
        """
        x = np.clip(np.asarray(z_hat, np.float64), -SYMBOL_LIMIT, SYMBOL_LIMIT)
        gain_bits = constants.GAIN_BITS - constants.ACTIVATION_BITS
        if "z/inverse_gain" in self._arrays:
            x = np.rint(x * self._arrays["z/inverse_gain"][index] * 2.0**-gain_bits)
        else:
            x = x * 2.0**constants.ACTIVATION_BITS
        x = _clip(x, ACTIVATION_LIMIT).astype(np.float32)
        for i in range(5):
            kernel, bias = self._layer(f"h_s/{i}")
            correlate = _doubling if i in (1, 3) else _correlation
            x = correlate(x, kernel, bias, leaky=i < 4)
        if "phi/offset" in self._arrays:  # at most 2^20 and so exact in float32
            x += self._arrays["phi/offset"][index].astype(np.float32)
            _clip(x, ACTIVATION_LIMIT)
        return x

    def select(self, channels: np.ndarray) -> EntropyParameters:
        """`EntropyParameters` for some channels of y, int [n], ascending: those not all zero."""
        n = self.num_filters
        context = self._layer("context", input_bits=0, pick=lambda kernel: kernel[:, channels])
        last, _ = self._layer(
            "last",
            output_bits=constants.PARAMETER_BITS,
            pick=lambda kernel: kernel.reshape(-1, self.num_groups, n)[:, :, channels],
        )
        context = context[0].reshape(-1, 2 * n), context[1]
        first, second = (self._layer(f"hidden/{i}") for i in range(2))
        return EntropyParameters(context, first, second, last)

    def _layer(
        self,
        name,
        input_bits=constants.ACTIVATION_BITS,
        output_bits=constants.ACTIVATION_BITS,
        pick=lambda kernel: kernel,
    ):
        """(kernel, bias), float64, for sums in the unit of the layer's output."""
        exponent = int(self._arrays[f"{name}/exponent"])
        unit = 2.0 ** -(input_bits + exponent - output_bits)
        kernel = pick(self._arrays[f"{name}/kernel"])
        return kernel * unit, self._arrays[f"{name}/bias"] * unit


class EntropyParameters:
    """The context model and the layers behind it, with the kernels of n channels of y.

    Args:
        context, first, second: (kernel, bias), [12 n, 2 N], [4 N, .] and [., width].
        last: Kernel [width, groups, n].
    """

    def __init__(self, context, first, second, last):
        split = context[0].shape[1]
        self._context = _Layer(context[0], context[1])
        self._first = _Layer(first[0][:split].copy(), leaky=True)
        self._first_of_phi = first[0][split:].copy(), first[1]
        self._second = _Layer(second[0], second[1], leaky=True)
        self._last = _Layer(last.reshape(len(last), -1), limit=PARAMETER_LIMIT)
        self._shape = last.shape[1:]

    def of_phi(self, phi: np.ndarray) -> np.ndarray:
        """What the first hidden layer makes of phi alone, float64 [P, width]; phi: [P, 2 N]."""
        kernel, bias = self._first_of_phi
        total = phi.astype(np.float64) @ kernel
        total += bias
        return total

    def parameters(self, context: np.ndarray, of_phi: np.ndarray) -> np.ndarray:
        """The mixture's raw parameters, float64 integers [groups, P, n] in units of 2^-12.

        Args:
            context: Integers [P, 12 n], the causal neighbours of P positions in raster order of the
                taps, n channels each.
            of_phi: `of_phi` at the positions.
        """
        x = self._context(np.clip(context, -SYMBOL_LIMIT, SYMBOL_LIMIT))
        x = self._second(self._first(x, of_phi))
        groups, channels = self._shape
        out = np.empty([groups, len(x), channels])
        self._last.into(out.transpose(1, 0, 2), x)
        return out


class _Layer:
    """round(x kernel + bias), limited, with or without leaky ReLU; side by side in groups of columns.

    kernel: float64 [C, D]. bias: float64 [D] or None.
    """

    def __init__(self, kernel, bias=None, limit=ACTIVATION_LIMIT, leaky=False):
        self._kernel, self._bias, self._limit, self._leaky = kernel, bias, limit, leaky

    def __call__(self, x, more=None):
        """float64 [P, D]; more: [P, D], added before rounding."""
        out = np.empty([len(x), self._kernel.shape[1]])
        self.into(out, x, more)
        return out

    def into(self, out, x, more=None):
        """The same into an array [P, D], or [P, groups, n] for D = groups n, of any order."""
        columns = self._kernel.shape[1]
        unit = columns // out.shape[1]
        parts = min(workers.count(), out.shape[1]) if self._is_long(len(x)) else 1
        edges = [out.shape[1] * i // parts for i in range(parts + 1)]

        def work(first, end):
            some = slice(first * unit, end * unit)
            total = x @ self._kernel[:, some]
            if self._bias is not None:
                total += self._bias[some]
            if more is not None:
                total += more[:, some]
            place = out[:, first:end]
            _round_and_clip(total.reshape(place.shape), self._limit, place)
            if self._leaky:
                _leaky_relu(place)

        workers.run([functools.partial(work, *edge) for edge in zip(edges, edges[1:])])

    def _is_long(self, rows):
        return rows * self._kernel.size > SHARED_PRODUCTS


def _clip(x, limit):
    """In place: half as long as np.clip for small arrays."""
    np.minimum(x, limit, out=x)
    return np.maximum(x, -limit, out=x)


def _round_and_clip(x, limit, out=None):
    """Rounds to integers, ties to even, into `out` or in place."""
    return _clip(np.rint(x, out=x if out is None else out), limit)


def _leaky_relu(x):
    """max(x, round(x 13107 / 2^16)), in place."""
    negative = x * _SLOPE
    np.rint(negative, out=negative)
    return np.maximum(x, negative, out=x)


def _correlation(x, kernel, bias, leaky):
    """Zero-padded 3x3 correlation and activation, rounded.

    Args:
        x: float32 integers [h, w, C].
        kernel, bias: float64 [3, 3, C, D] and [D], for sums in the unit of the output.
        leaky: Whether the activation is leaky ReLU.

    Returns:
        float32 integers [h, w, D].
    """
    taps = [((row, column), (row, column)) for row in range(3) for column in range(3)]
    return _in_bands(x, kernel, bias, leaky, taps)


def _doubling(x, kernel, bias, leaky):
    """The same after zeros were inserted between the samples: [h, w, C] to [2 h, 2 w, D].

    Output (2 r + i, 2 c + j) sees samples where 2 r + i + row - 1 is even: one or two along each axis.
    """
    height, width = x.shape[:2]
    out = np.empty([height, 2, width, 2, kernel.shape[3]], np.float32)
    for i in range(2):
        for j in range(2):
            taps = [
                ((1 + (i + row - 1) // 2, 1 + (j + column - 1) // 2), (row, column))
                for row in range(3)
                for column in range(3)
                if (i + row - 1) % 2 == 0 and (j + column - 1) % 2 == 0
            ]
            out[:, i, :, j] = _in_bands(x, kernel, bias, leaky, taps)
    return out.reshape(2 * height, 2 * width, -1)


def _in_bands(x, kernel, bias, leaky, taps):
    """Sums of products over taps, rounded; band by band of rows in bounded memory.

    A shift of the padded picture's rows, end to end, is a shift in both directions: every tap is one
    product of a contiguous block. What wraps around at the right end of a row is cut off.

    taps: ((first row, first column) in the picture padded by 1, (row, column) of the kernel).
    """
    height, width, channels = x.shape
    padded = np.pad(x, [(1, 2), (1, 1), (0, 0)])
    stride = width + 2
    out = np.empty([height, width, kernel.shape[3]], np.float32)
    rows = max(1, BAND_POSITIONS // stride)
    for top in range(0, height, rows):
        count = min(rows, height - top)
        flat = padded[top : top + count + 3].reshape(-1, channels).astype(np.float64)
        total = np.zeros([count * stride, kernel.shape[3]])
        product = np.empty_like(total)
        for (row, column), tap in taps:
            start = row * stride + column
            np.matmul(flat[start : start + len(total)], kernel[tap], out=product)
            total += product
        total += bias
        _round_and_clip(total, ACTIVATION_LIMIT)
        if leaky:
            _leaky_relu(total)
        out[top : top + count] = total.reshape(count, stride, -1)[:, :width]
    return out
