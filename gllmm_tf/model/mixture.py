"""Discretised mixtures of Gaussian, Laplacian and logistic distributions.

The entropy model of "Learned Image Compression with Gaussian-Laplacian-Logistic Mixture Model and
Concatenated Residual Modules" (Fu et al., arXiv 2107.06463); with Gaussians alone it is that of
"Learned Image Compression with Discretized Gaussian Mixture Likelihoods and Attention Modules"
(Cheng et al., 2020, arXiv 2001.01568). A latent value is Y with the CDF

    F(x) = sum_f v_f sum_k w_fk F_f((x - m_fk) / s_fk),      sum_f v_f = 1,  sum_k w_fk = 1,

with families f and components k, independent for each channel and position, and

    gaussian   F(z) = (1 + erf(z / sqrt 2)) / 2
    laplacian  F(z) = exp(z) / 2 for z < 0, else 1 - exp(-z) / 2
    logistic   F(z) = 1 / (1 + exp(-z)).

What differs from the paper: probabilities of bins are computed as logarithms, per component, and
on the tail that holds the bin, so neither they nor their gradients ever vanish or need a bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf

FAMILIES = ("gaussian", "laplacian", "logistic")


def num_parameters(families: Sequence[str], components: int) -> int:
    """Number of parameters per channel: 30 for three families of three, 9 for one.

    Args:
      families: sequence of distinct names from `FAMILIES`.
      components: number K >= 1 of components in each family.

    Returns:
      3 F K, and F more if there are several families (F > 1).

    Raises:
      ValueError: unknown, repeated or no families, or no components.
    """
    families = tuple(families)
    unknown = [f for f in families if f not in FAMILIES]
    if unknown or not families or len(set(families)) < len(families):
        raise ValueError(f"families are distinct names from {FAMILIES}, not {families}")
    if components < 1:
        raise ValueError(f"a family needs 1 component or more, not {components}")
    count = len(families)
    return 3 * count * components + (count if count > 1 else 0)


class Mixture:
    """A mixture distribution for each position and channel, and for each bin of width 1.

    Everything is float32. `...` are any leading axes, N channels, F families, K components.

    Attributes:
      families: tuple of F names.
      components: K.
      means, scales: [..., F, K, N].
      weights: [..., F, K, N], joint weights v_f w_fk, which sum to 1 over F and K.
      family_weights: [..., F, N], the v_f.
      component_weights: [..., F, K, N], the w_fk, which sum to 1 over K.
    """

    def __init__(
        self,
        families: Sequence[str],
        components: int,
        logits: tf.Tensor,
        means: tf.Tensor,
        scales: tf.Tensor,
        family_logits: tf.Tensor | None = None,
    ):
        """Builds the mixture from its parts.

        Args:
          families: sequence of F distinct names from `FAMILIES`.
          components: K.
          logits: [..., F K, N], family by family; w_fk is their softmax inside a family.
          means: [..., F K, N].
          scales: [..., F K, N], positive.
          family_logits: [..., F, N]; v_f is their softmax. None if F = 1.
        """
        num_parameters(families, components)  # raises on wrong arguments
        self.families = tuple(families)
        self.components = components
        self._means = tf.cast(means, tf.float32)
        self._scales = tf.cast(scales, tf.float32)
        parts = tf.split(tf.cast(logits, tf.float32), len(self.families), axis=-2)
        parts = [_log_softmax(part) for part in parts]
        self._log_component_weights = tf.concat(parts, axis=-2)
        self._log_family_weights = None
        if len(self.families) > 1:
            self._log_family_weights = _log_softmax(tf.cast(family_logits, tf.float32))
            by_family = tf.split(self._log_family_weights, len(self.families), axis=-2)
            parts = [part + family for part, family in zip(parts, by_family)]
        self._log_weights = tf.concat(parts, axis=-2)  # [..., F K, N]

    @classmethod
    def from_parameters(
        cls,
        params: tf.Tensor,
        families: Sequence[str],
        components: int,
        scale_min: float = 1e-6,
    ) -> Mixture:
        """Reads a mixture from the last layer of the entropy-parameter network.

        The channels are groups of N: family by family and component by component the three groups
        (weight logit, mean, scale); then, if F > 1, F groups of family logits. This is the order
        of the published networks. A scale is max(|raw|, scale_min).

        Args:
          params: [..., num_parameters(families, components) * N], any float dtype.
          families: sequence of F distinct names from `FAMILIES`.
          components: K.
          scale_min: positive lower bound of the scales.

        Returns:
          A `Mixture`.

        Raises:
          ValueError: wrong families or components, or channels that do not divide into groups.
        """
        families = tuple(families)
        groups = num_parameters(families, components)
        params = tf.cast(params, tf.float32)
        channels = params.shape[-1]
        if channels is None or channels % groups:
            raise ValueError(f"params need a multiple of {groups} channels, not {channels}")
        num = channels // groups
        count = len(families) * components
        lead = tf.shape(params)[:-1]
        body, rest = tf.split(params, [3 * count * num, channels - 3 * count * num], axis=-1)
        body = tf.reshape(body, tf.concat([lead, [count, 3, num]], axis=0))
        logits, means, raw = tf.unstack(body, axis=-2)  # each [..., F K, N]
        family_logits = None
        if len(families) > 1:
            family_logits = tf.reshape(rest, tf.concat([lead, [len(families), num]], axis=0))
        scales = tf.maximum(tf.abs(raw), scale_min)
        return cls(families, components, logits, means, scales, family_logits)

    @property
    def means(self) -> tf.Tensor:
        return self._by_family(self._means)

    @property
    def scales(self) -> tf.Tensor:
        return self._by_family(self._scales)

    @property
    def weights(self) -> tf.Tensor:
        return self._by_family(tf.exp(self._log_weights))

    @property
    def component_weights(self) -> tf.Tensor:
        return self._by_family(tf.exp(self._log_component_weights))

    @property
    def family_weights(self) -> tf.Tensor:
        if self._log_family_weights is None:
            return tf.ones_like(self._means[..., :1, :])
        return tf.exp(self._log_family_weights)

    def cdf(self, x: tf.Tensor) -> tf.Tensor:
        """P(Y <= x), in [0, 1].

        Args:
          x: [..., N], or any shape that broadcasts against it.

        Returns:
          [..., N] float32.
        """
        z = (tf.cast(x, tf.float32)[..., tf.newaxis, :] - self._means) / self._scales
        functions = [_CDFS[family] for family in self.families]
        parts = tf.split(z, len(functions), axis=-2)
        values = tf.concat([fn(part) for fn, part in zip(functions, parts)], axis=-2)
        total = tf.reduce_sum(tf.exp(self._log_weights) * values, axis=-2)
        return tf.minimum(total, 1.0)  # weights sum to 1 only up to rounding

    def log_likelihood(self, y: tf.Tensor) -> tf.Tensor:
        """Natural logarithm of P(y - 1/2 < Y <= y + 1/2) = F(y + 1/2) - F(y - 1/2).

        Finite, with finite gradients, for |y| and |mean| up to 1e4 and scales from 1e-6 to 1e4;
        far from every mean the gradients still point from the means to y.

        Args:
          y: [..., N], or any shape that broadcasts against it; need not be integers.

        Returns:
          [..., N] float32, in nats.
        """
        y = tf.cast(y, tf.float32)[..., tf.newaxis, :]
        # All three densities are even: mirror each component such that its mean is left of the
        # centre of the bin. The half is taken off y first, which is exact for integers, because
        # a distance to the edge that is rounded matters when the scale is small.
        right = y >= self._means
        lower = tf.where(right, (y - 0.5) - self._means, self._means - (y + 0.5))
        # The gradients of the bins are written for two arguments of one shape.
        inverse = tf.broadcast_to(1.0 / self._scales, tf.shape(lower))
        count = len(self.families)
        parts = zip(
            self.families,
            tf.split(lower, count, axis=-2),
            tf.split(inverse, count, axis=-2),
        )
        logs = tf.concat([_LOG_BINS[family](low, inv) for family, low, inv in parts], axis=-2)
        return _log_sum_exp(logs + self._log_weights)

    def likelihood(self, y: tf.Tensor) -> tf.Tensor:
        """P(y - 1/2 < Y <= y + 1/2), in [0, 1]; arguments as for `log_likelihood`."""
        return tf.minimum(tf.exp(self.log_likelihood(y)), 1.0)

    def bits(self, y: tf.Tensor) -> tf.Tensor:
        """Information of the bin around y, -log2 of its likelihood, in bits per value."""
        return self.log_likelihood(y) * (-1.0 / math.log(2.0))

    def _by_family(self, tensor):
        """[..., F K, N] to [..., F, K, N]."""
        shape = tf.shape(tensor)
        split = [len(self.families), self.components]
        return tf.reshape(tensor, tf.concat([shape[:-2], split, shape[-1:]], axis=0))


def _log_sum_exp(x):
    """ln sum_i exp(x_i) along axis -2, for finite x."""
    top = tf.stop_gradient(tf.reduce_max(x, axis=-2, keepdims=True))
    return tf.math.log(tf.reduce_sum(tf.exp(x - top), axis=-2)) + tf.squeeze(top, axis=-2)


def _log_softmax(x):
    """ln softmax along axis -2; `tf.nn.log_softmax` would transpose, and has a rank limit."""
    x -= tf.stop_gradient(tf.reduce_max(x, axis=-2, keepdims=True))
    return x - tf.math.log(tf.reduce_sum(tf.exp(x), axis=-2, keepdims=True))


# Logarithm of the probability P of a bin of width 1, for a component whose mean is at 0 and whose
# bin is [lower, lower + 1] with lower >= -1/2; inverse = 1 / scale. With a = lower * inverse and
# b = (lower + 1) * inverse the bin is [a, b] in units of the scale, and p is the density there.


def _bin_gradients(hazard, drop, lower, inverse):
    """Gradients of ln P to lower and inverse, free of cancellation.

    d ln P / d lower   = inverse (p(b) - p(a)) / P
    d ln P / d inverse = ((lower + 1) p(b) - lower p(a)) / P

    Args:
      hazard: p(a) / P, times the gradient from upstream.
      drop: p(b) / p(a) - 1, computed as such.
      lower, inverse: as above.
    """
    return hazard * drop * inverse, hazard * ((1.0 + drop) + lower * drop)


@tf.custom_gradient
def _laplacian_log_bin(lower, inverse):
    """-max(a, 0) + ln(1 - e^min(a, 0) + 1 - e^(max(a, 0) - b)) - ln 2.

    Both differences are positive, so nothing cancels, whether the bin holds the mean or not.
    """
    inside = tf.minimum(lower, 0.0)
    outside = tf.maximum(lower, 0.0)
    left = -tf.math.expm1(inside * inverse)
    right = -tf.math.expm1(-(1.0 + inside) * inverse)

    def gradient(upstream):
        hazard = tf.exp(inside * inverse) / (left + right) * upstream
        drop = tf.math.expm1(-(1.0 + 2.0 * inside) * inverse)  # e^(|a| - b) - 1
        return _bin_gradients(hazard, drop, lower, inverse)

    return tf.math.log(left + right) - outside * inverse - math.log(2.0), gradient


def _logistic_log_bin(lower, inverse):
    """sigmoid(b) - sigmoid(a) = (1 - e^(a-b)) sigmoid(-a) sigmoid(b), b - a = inverse."""
    width = tf.math.log(-tf.math.expm1(-inverse))
    return width - tf.math.softplus(lower * inverse) - tf.math.softplus(-(lower + 1.0) * inverse)


@tf.custom_gradient
def _gaussian_log_bin(lower, inverse):
    """ln(Q(a) - Q(b)), Q(z) = erfc(z / sqrt 2) / 2, as -e^2 / 2 + ln r in one of three forms.

    With the centre m = (a + b) / 2, the width d = b - a and K(z) = Q(z) exp(z^2 / 2):

      smooth,  d max(1, m) < 1/2:  e = m,  r = the density's Taylor series, integrated
      central, a < 0:              e = 0,  r = (erf(-a / sqrt 2) + erf(b / sqrt 2)) / 2
      tail,    otherwise:          e = a,  r = K(a) - exp(-d m) K(b)

    None of them cancels by more than a factor of 3. The gradient has a closed form in the same
    quantities, p(b) / p(a) = exp(-d m), which automatic differentiation would not find.
    """
    a, b = lower * inverse, (lower + 1.0) * inverse
    m, d = (lower + 0.5) * inverse, inverse
    smooth = d * tf.maximum(m, 1.0) < 0.5
    central = tf.logical_and(lower < 0.0, tf.logical_not(smooth))
    decay = tf.exp(-d * m)

    # In the smooth form (m d)^2 / 4 and d^2 / 4 are at most 1/16: the next term is below 1e-7.
    q = tf.minimum(tf.square(0.5 * m * d), 1.0 / 16.0)
    r = tf.minimum(tf.square(0.5 * d), 1.0 / 16.0)
    series = 1.0 + (q - r) / 6.0
    series += (q * (q - 6.0 * r) + 3.0 * r * r) / 120.0
    series += (q * (q * (q - 15.0 * r) + 45.0 * r * r) - 15.0 * r * r * r) / 5040.0
    root = math.sqrt(0.5)
    middle = 0.5 * (tf.math.erf(-root * a) + tf.math.erf(root * b))
    tail = _scaled_survival(tf.nn.relu(a)) - decay * _scaled_survival(b)
    rest = tf.where(smooth, _DENSITY_AT_0 * d * series, tf.where(central, middle, tail))
    edge = tf.where(smooth, m, tf.where(central, 0.0, a))

    def gradient(upstream):
        # (e^2 - a^2) / 2: d (a + m) / 4 where smooth.
        excess = tf.where(smooth, 0.25 * d * (a + m), tf.where(central, -0.5 * a * a, 0.0))
        hazard = _DENSITY_AT_0 * tf.exp(excess) / rest * upstream
        return _bin_gradients(hazard, tf.math.expm1(-d * m), lower, inverse)

    return tf.math.log(rest) - 0.5 * edge * edge, gradient


_DENSITY_AT_0 = 1.0 / math.sqrt(2.0 * math.pi)

# K(z) = t * (c0 + c1 t + ...), t = 1 / (1 + z / 4): minimax in relative error (3.4e-8) over
# z >= 0, fitted with iteratively reweighted least squares to SciPy's erfcx(z / sqrt 2) / 2.
_SCALED_SURVIVAL = (
    0.0997355667,
    0.0997364316,
    0.0934663553,
    0.08160311,
    0.0589751364,
    0.0636991704,
    -0.0317176553,
    0.0955972424,
    -0.0808774067,
    0.0197820321,
)


def _scaled_survival(z):
    """K(z) = exp(z^2 / 2) erfc(z / sqrt 2) / 2 for z >= 0, relative error below 5e-7."""
    t = 1.0 / (1.0 + 0.25 * z)
    value = tf.zeros_like(t)
    for coefficient in reversed(_SCALED_SURVIVAL):
        value = value * t + coefficient
    return value * t


_LOG_BINS = {
    "gaussian": _gaussian_log_bin,
    "laplacian": _laplacian_log_bin,
    "logistic": _logistic_log_bin,
}


def _gaussian_cdf(z):
    return 0.5 * tf.math.erfc(-math.sqrt(0.5) * z)


def _laplacian_cdf(z):
    tail = 0.5 * tf.exp(-tf.abs(z))
    return tf.where(z < 0.0, tail, 1.0 - tail)


_CDFS = {"gaussian": _gaussian_cdf, "laplacian": _laplacian_cdf, "logistic": tf.math.sigmoid}
