"""The fixed-point path once more, in NumPy's int64 arithmetic, written from docs/format.md alone.

No floating point anywhere but in one place: the position in the CDF table, whose division is done with
exact rational rounding. Slow and plain on purpose.
"""

import numpy as np

from gllmm_tf.coding import tables
from gllmm_tf.config import FAMILIES

A, P = 8, 12  # bits of activations and parameters
LIMIT = 1 << 19


def half_even(value, shift):
    """Integer division by 2^shift, rounded to nearest, ties to even; negative shifts multiply."""
    if shift <= 0:
        return value << -shift
    quotient, rest = value >> shift, value & ((1 << shift) - 1)
    half = 1 << (shift - 1)
    up = (rest > half) | ((rest == half) & (quotient & 1 == 1))
    return quotient + up


def requantise(total, shift):
    return np.clip(half_even(total, shift), -LIMIT, LIMIT)


def leaky_relu(value):
    return np.maximum(value, half_even(value * 13107, 16))


def correlate(x, kernel):
    height, width = x.shape[:2]
    padded = np.pad(x, [(1, 1), (1, 1), (0, 0)])
    total = np.zeros((height, width, kernel.shape[3]), np.int64)
    for row in range(3):
        for column in range(3):
            total += padded[row : row + height, column : column + width] @ kernel[row, column]
    return total


class IntegerNetworks:
    def __init__(self, arrays):
        self.arrays = {name: np.asarray(array, np.int64) for name, array in arrays.items()}

    def _layer(self, name):
        return tuple(self.arrays[f"{name}/{part}"] for part in ("kernel", "bias", "exponent"))

    def hyper_synthesis(self, z_hat, index):
        x = np.clip(z_hat.astype(np.int64), -(1 << 15), 1 << 15)
        if "z/inverse_gain" in self.arrays:
            x = half_even(x * self.arrays["z/inverse_gain"][index], 12 - A)
        else:
            x = x << A
        x = np.clip(x, -LIMIT, LIMIT)
        for i in range(5):
            kernel, bias, exponent = self._layer(f"h_s/{i}")
            if i in (1, 3):
                stuffed = np.zeros((2 * x.shape[0], 2 * x.shape[1], x.shape[2]), np.int64)
                stuffed[::2, ::2] = x
                x = stuffed
            x = requantise(correlate(x, kernel) + bias, int(exponent))
            if i < 4:
                x = leaky_relu(x)
        if "phi/offset" in self.arrays:
            x = x + self.arrays["phi/offset"][index]
        return np.clip(x, -LIMIT, LIMIT)

    def parameters(self, y_hat, phi, row, column):
        """[groups * N] at one position."""
        neighbours = []
        for dy, dx in (
            [(-2, d) for d in range(-2, 3)]
            + [(-1, d) for d in range(-2, 3)]
            + [
                (0, -2),
                (0, -1),
            ]
        ):
            r, c = row + dy, column + dx
            inside = 0 <= r < y_hat.shape[0] and 0 <= c < y_hat.shape[1]
            neighbours.append(y_hat[r, c] if inside else np.zeros(y_hat.shape[2]))
        context = np.clip(np.concatenate(neighbours).astype(np.int64), -(1 << 15), 1 << 15)
        kernel, bias, exponent = self._layer("context")
        kernel = kernel.reshape(-1, kernel.shape[2])
        x = requantise(context @ kernel + bias, int(exponent) - A)
        x = np.concatenate([x, phi[row, column]])
        for name in ("hidden/0", "hidden/1"):
            kernel, bias, exponent = self._layer(name)
            x = leaky_relu(requantise(x @ kernel + bias, int(exponent)))
        kernel, _, exponent = self._layer("last")
        value = half_even(x @ kernel, A + int(exponent) - P)
        return np.clip(value, -(1 << 28), 1 << 28)


def _ratio_half_even(numerator, denominator):
    """round(numerator / denominator) of int arrays, ties to even, denominator > 0."""
    quotient, rest = numerator // denominator, numerator % denominator
    up = (2 * rest > denominator) | ((2 * rest == denominator) & (quotient & 1 == 1))
    return quotient + up


def softmax(logits):
    """[..., K] int64 in units of 2^-12 to about 2^16 in sum."""
    table = tables.load()["exp"].astype(np.int64)
    distance = logits.max(-1, keepdims=True) - logits
    e = table[np.minimum(half_even(distance, P - 8), len(table) - 1)]
    return _ratio_half_even(e << 16, np.broadcast_to(e.sum(-1, keepdims=True), e.shape))


def mixture(params, families, components):
    """(weights, means, scales), each [n, F K], from [groups, n]."""
    count = len(families)
    inner = params[: 3 * count * components].reshape(count, components, 3, -1)
    inner = inner.transpose(3, 0, 1, 2)
    weights = softmax(inner[..., 0])
    if count > 1:
        outer = softmax(params[3 * count * components :].T)
        weights = half_even(weights * outer[:, :, None], 16)
    flat = (params.shape[1], -1)
    return (
        weights.reshape(flat),
        inner[..., 1].reshape(flat),
        np.maximum(np.abs(inner[..., 2]), 1 << 6).reshape(flat),
    )


def below(parts, families, components, twice_x):
    """Masses below the half-integers twice_x / 2, int64 [n]."""
    weights, means, scales = parts
    table = tables.load()["cdf"].astype(np.int64)
    position = _ratio_half_even(((twice_x[:, None] << (P - 1)) - means) << 16, scales)
    position = np.clip(position, -(16 << 16), (16 << 16) - 1) + (16 << 16)
    cell, fraction = position >> 8, position & 255
    family = np.repeat([FAMILIES.index(f) for f in families], components)
    left, right = table[family, cell], table[family, cell + 1]
    return (weights * ((left << 8) + (right - left) * fraction)).sum(-1)


def flag_rows(rows, empty, frequency):
    """Rows of the decision table for flags of empty channels, where a model has a table of them.

    rows: of the table, [N]. empty: bools [N]. frequency: of the decision table. Returns ints [N].
    """
    shift, taken = 0, []
    for row, is_empty in zip(rows, empty):
        taken.append(max(512, min(2041, int(row) + shift)))
        shift += (int(is_empty) * 2**16 - int(frequency[taken[-1]])) // 2**9
    return taken


def flags_in_bytes(rows, empty, frequency):
    """Information content of such flags, in bytes."""
    probability = np.asarray(frequency)[flag_rows(rows, empty, frequency)] / 2**16
    return -np.sum(np.log2(np.where(empty, probability, 1 - probability))) / 8
