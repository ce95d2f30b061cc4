"""The mixture of every latent element as exact integer masses.

Same layout and meaning as `gllmm_tf.mixture.Mixture`, but all values are integers in float64 and the
exponential and the CDFs are looked up in the stored tables, so every machine finds the same masses.
"""

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
    `total`; both are integers below 2^53, so masses subtract exactly.

    Attributes:
        weights: float64 integers [E, C], C = families x components; about 2^16 in sum.
        means: float64 integers [E, C], units of 2^-12.
        scales: float64 integers [E, C], units of 2^-12, at least 2^6.
        total: float64 integers [E].
    """

    def __init__(self, weights, means, scales, family_index):
        self.weights = weights
        self.means = means
        self.scales = scales
        self._family_index = family_index
        unit = 2.0 ** (tables.CDF_BITS + FRACTION_BITS)
        self.total = tf.reduce_sum(weights, -1) * unit

    @classmethod
    def from_parameters(cls, params, families, components):
        """params: float64 integers [P, groups, n] in units of 2^-12; elements are ordered [P, n]."""
        count = len(families)
        inner = params[:, : 3 * count * components]
        inner = tf.reshape(inner, [-1, count, components, 3, tf.shape(params)[2]])
        inner = tf.transpose(inner, [0, 4, 1, 2, 3])  # [P, n, F, K, 3]
        inner = tf.reshape(inner, [-1, count, components, 3])
        weights = _softmax(inner[..., 0])  # [E, F, K]
        if count > 1:
            outer = tf.transpose(params[:, 3 * count * components :], [0, 2, 1])
            outer = _softmax(tf.reshape(outer, [-1, count]))  # [E, F]
            weights = tf.round(weights * outer[:, :, None] * 2.0**-WEIGHT_BITS)
        flat = [-1, count * components]
        family_index = [FAMILIES.index(f) for f in families for _ in range(components)]
        return cls(
            tf.reshape(weights, flat),
            tf.reshape(inner[..., 1], flat),
            tf.maximum(tf.abs(tf.reshape(inner[..., 2], flat)), SCALE_MIN),
            family_index,
        )

    def gather(self, index):
        """The mixtures of the elements `index`, int32 [n]."""
        parts = (tf.gather(t, index) for t in (self.weights, self.means, self.scales))
        return IntegerMixture(*parts, self._family_index)

    def centre(self):
        """The integer nearest to the mean, float64 [E]: the first guess that the coder tests."""
        mean = tf.reduce_sum(self.weights * self.means, -1) / tf.reduce_sum(self.weights, -1)
        return tf.round(mean * 2.0**-PARAMETER_BITS)

    def below(self, x):
        """Mass below x, float64 integers [E]; x: float64 half-integers [E]."""
        table = tf.constant(tables.load()["cdf"])
        cells = table.shape[1] - 1
        limit = float(tables.CDF_RANGE << POSITION_BITS)
        # |x| reaches 2^31, so the numerator stays below 2^44; one correctly rounded division.
        distance = x[:, None] * 2.0**PARAMETER_BITS - self.means
        position = tf.round(distance * 2.0**POSITION_BITS / self.scales)
        position = tf.clip_by_value(position, -limit, limit - 1.0) + limit
        cell = tf.floor(position * 2.0**-FRACTION_BITS)
        fraction = position - cell * 2.0**FRACTION_BITS
        offset = tf.constant([f * (cells + 1) for f in self._family_index], tf.int32)
        index = tf.cast(cell, tf.int32) + offset
        flat = tf.reshape(table, [-1])
        left = tf.cast(tf.gather(flat, index), _F64)
        right = tf.cast(tf.gather(flat, index + 1), _F64)
        value = left * 2.0**FRACTION_BITS + (right - left) * fraction
        return tf.reduce_sum(self.weights * value, -1)


def _softmax(logits):
    """Integer softmax over the last axis: about 2^16 in sum. logits: units of 2^-12, integers."""
    table = tf.constant(tables.load()["exp"])
    distance = tf.reduce_max(logits, -1, keepdims=True) - logits
    step = 2.0 ** (tables.EXP_RESOLUTION_BITS - PARAMETER_BITS)
    index = tf.minimum(tf.round(distance * step), float(table.shape[0] - 1))
    e = tf.cast(tf.gather(table, tf.cast(index, tf.int32)), _F64)
    return tf.round(e * 2.0**WEIGHT_BITS / tf.reduce_sum(e, -1, keepdims=True))
