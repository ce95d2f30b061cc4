"""The mixture of every latent element as exact integer masses.

Same layout and meaning as `gllmm_tf.mixture.Mixture`, but all values are integers in float64 and the
exponential and the CDFs are looked up in the stored tables, so every machine finds the same masses.
"""

import numpy as np
import tensorflow as tf

from gllmm_tf.coding import tables
from gllmm_tf.coding.fixed_point import PARAMETER_BITS
from gllmm_tf.config import FAMILIES

SCALE_MIN = 2.0 ** (PARAMETER_BITS - 6)  # 2^-6 in units of the parameters
WEIGHT_BITS = 16
# A standardised position is a multiple of 2^-16: 8 bits select the table's cell, 8 interpolate.
FRACTION_BITS = 8
POSITION_BITS = tables.CDF_RESOLUTION_BITS + FRACTION_BITS

_F64 = tf.float64


class IntegerMixture:
    """One discretised mixture per element, for E elements.

    `below(x)` is the mass below a half-integer x, in units where the whole distribution weighs
    `total`; both are integers below 2^53, so masses subtract exactly. Components come first in all
    tensors: operations run along the many elements, not along the few components.

    Attributes:
        parts: float64 integers [3, C, E], C = families x components: weights, about 2^16 in sum;
            means in units of 2^-12; scales in units of 2^-12, at least 2^6.
        total: float64 integers [E].
    """

    def __init__(self, parts, family_index):
        self.parts = parts
        self._family_index = family_index
        self._weights, self._means, self._scales = tf.unstack(parts)
        unit = 2.0 ** (tables.CDF_BITS + FRACTION_BITS)
        self.total = tf.reduce_sum(self._weights, 0) * unit

    @classmethod
    def from_parameters(cls, params, families, components):
        """params: float64 integers [P, groups, n] in units of 2^-12; elements are ordered [P, n]."""
        count = len(families)
        params = tf.transpose(params, [1, 0, 2])
        params = tf.reshape(params, [tf.shape(params)[0], -1])  # [groups, E]
        inner = tf.reshape(params[: 3 * count * components], [count, components, 3, -1])
        weights = _softmax(inner[:, :, 0], 1)  # [F, K, E]
        if count > 1:
            outer = _softmax(params[3 * count * components :], 0)  # [F, E]
            weights = tf.round(weights * outer[:, None] * 2.0**-WEIGHT_BITS)
        scales = tf.maximum(tf.abs(inner[:, :, 2]), SCALE_MIN)
        parts = tf.stack([weights, inner[:, :, 1], scales])
        family_index = [FAMILIES.index(f) for f in families for _ in range(components)]
        return cls(tf.reshape(parts, [3, count * components, -1]), family_index)

    def gather(self, index):
        """The mixtures of the elements `index`, int32 [n]."""
        return IntegerMixture(tf.gather(self.parts, index, axis=2), self._family_index)

    def centre(self):
        """The integer nearest to the mean, float64 [E]: the first guess that the coder tests."""
        mean = tf.reduce_sum(self._weights * self._means, 0) / tf.reduce_sum(self._weights, 0)
        return tf.round(mean * 2.0**-PARAMETER_BITS)

    def below(self, x):
        """Mass below x, float64 integers [..., E]; x: float64 half-integers [..., E]."""
        limit = float(tables.CDF_RANGE << POSITION_BITS)
        # |x| reaches 2^31: the distance in units of 2^-12 stays below 2^44, its multiple by a power
        # of two is exact. One correctly rounded division.
        distance = x[..., None, :] * 2.0 ** (PARAMETER_BITS + POSITION_BITS)
        distance -= self._means * 2.0**POSITION_BITS
        position = tf.round(distance / self._scales)
        position = tf.clip_by_value(position, -limit, limit - 1.0)
        cell = tf.floor(position * 2.0**-FRACTION_BITS)
        fraction = position - cell * 2.0**FRACTION_BITS
        lines = _lines()
        middle = lines.shape[1] // 2
        start = [[f * lines.shape[1] + middle] for f in self._family_index]
        index = tf.cast(cell, tf.int32) + tf.constant(start, tf.int32)
        left, rise = tf.unstack(tf.gather(tf.reshape(lines, [-1, 2]), index), axis=-1)
        return tf.reduce_sum(self._weights * (left + rise * fraction), -2)


def _lines():
    """The CDFs piece by piece, float64 [families, cells, 2]: 2^8 times the left end, and the rise."""
    table = tables.load()["cdf"].astype(np.float64)
    left = table[:, :-1] * 2.0**FRACTION_BITS
    return tf.constant(np.stack([left, np.diff(table)], -1))


def _softmax(logits, axis):
    """Integer softmax over an axis: about 2^16 in sum. logits: units of 2^-12, integers."""
    table = tf.constant(tables.load()["exp"], _F64)
    distance = tf.reduce_max(logits, axis, keepdims=True) - logits
    step = 2.0 ** (tables.EXP_RESOLUTION_BITS - PARAMETER_BITS)
    index = tf.minimum(tf.round(distance * step), float(table.shape[0] - 1))
    e = tf.gather(table, tf.cast(index, tf.int32))
    return tf.round(e * 2.0**WEIGHT_BITS / tf.reduce_sum(e, axis, keepdims=True))
