"""Scalar densities, one per channel, whose cumulatives are small monotonic networks.

Ballé et al., "Variational Image Compression with a Scale Hyperprior", 2018, arXiv 1802.01436, appendix
6.1 and 6.2. Variables, formulas and the search for the tails are those of tensorflow-compression's
`NoisyDeepFactorized`, so that what was trained with it goes on and gets the same frequency tables.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

TAIL_RATE = 0.1  # of the search for a tail, in units of z
TAIL_STEPS = 100  # of the search behind the step that crossed the tail
TAIL_TOLERANCE = 1e-8  # in logits


class FactorizedDensity(tf.Module):
    """The logits of the cumulatives of `channels` densities.

    With `l_0 = z` and for every layer k, whose width is `num_filters[k]` and 1 for the last one,

        u_k = softplus(matrix_k) l_k + bias_k
        l_{k+1} = u_k + tanh(factor_k) tanh(u_k)      the last layer has no factor

    which never decreases in z.

    Args:
        channels: Number of densities.
        init_scale: Width of the densities at initialisation, in units of z.
        num_filters: Widths of the hidden layers.
    """

    def __init__(self, channels: int, init_scale: float, num_filters: Sequence[int]):
        super().__init__(name="DeepFactorized")  # in the names of the variables
        self.channels = channels
        widths = (1, *num_filters, 1)
        scale = init_scale ** (1 / (len(num_filters) + 1))
        # The names of these three attributes are part of every checkpoint.
        self._matrices: list[tf.Variable] = []
        self._biases: list[tf.Variable] = []
        self._factors: list[tf.Variable] = []
        with self.name_scope:
            for i, (before, after) in enumerate(zip(widths, widths[1:])):
                inverse_softplus = tf.math.log(tf.math.expm1(tf.constant(1 / scale / after)))
                matrix = tf.fill([channels, after, before], inverse_softplus)
                self._matrices.append(tf.Variable(matrix, name=f"matrix_{i}"))
                bias = tf.random.uniform([channels, after, 1], -0.5, 0.5)
                self._biases.append(tf.Variable(bias, name=f"bias_{i}"))
                if i < len(num_filters):
                    self._factors.append(
                        tf.Variable(tf.zeros([channels, after, 1]), name=f"factor_{i}")
                    )

    def logits(self, z: tf.Tensor) -> tf.Tensor:
        """float32 of the shape of z, float32 [..., channels]."""
        shape = tf.shape(z)
        logits = tf.transpose(tf.reshape(z, [-1, 1, self.channels]), [2, 1, 0])  # [C, 1, rest]
        for i, (matrix, bias) in enumerate(zip(self._matrices, self._biases)):
            logits = tf.matmul(tf.nn.softplus(matrix), logits) + bias
            if i < len(self._factors):
                logits += tf.tanh(self._factors[i]) * tf.tanh(logits)
        return tf.reshape(tf.transpose(logits, [2, 1, 0]), shape)

    def quantile(self, logit: float) -> tf.Tensor:
        """Where the cumulatives have a logit, float32 [channels], to about a hundredth.

        Adam with both decays 1/2 walks on |logits - logit| from 0. Once the sign has changed, the
        n-th step is 1 / sqrt(n + 1) as long; the best place seen is kept.
        """
        target = tf.constant(logit, tf.float32)

        def goes_on(x, mean, square, loss, count, best, best_loss):
            del x, mean, square, best, best_loss
            return (tf.reduce_max(loss) > TAIL_TOLERANCE) & (tf.reduce_min(count) < TAIL_STEPS)

        def step(x, mean, square, loss, count, best, best_loss):
            del loss
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(x)
                loss = tf.abs(self.logits(x) - target)
            gradient = tape.gradient(loss, x)
            is_better = loss < best_loss
            best, best_loss = tf.where(is_better, x, best), tf.where(is_better, loss, best_loss)
            crossed = (count > 0) | (mean * gradient < 0)
            mean = (mean + gradient) / 2
            square = (square + tf.square(gradient)) / 2
            shorter = tf.sqrt(tf.cast(count + 1, tf.float32))
            x -= TAIL_RATE * mean / (shorter * tf.sqrt(square) + 1e-20)
            return x, mean, square, loss, tf.where(crossed, count + 1, count), best, best_loss

        zeros, ones = tf.zeros([self.channels]), tf.ones([self.channels])
        far = ones * tf.float32.max
        start = (zeros, zeros, ones, far, tf.zeros([self.channels], tf.int32), zeros, far)
        return tf.while_loop(goes_on, step, start)[-2]


class NoisyDensity(tf.Module):
    """A `FactorizedDensity` convolved with uniform noise of width 1: `p(z) = F(z + 1/2) - F(z - 1/2)`.

    At an integer that is the probability of the unit bin around it.
    """

    def __init__(self, channels: int, init_scale: float = 10, num_filters: Sequence[int] = (3, 3)):
        super().__init__()
        # The name of this attribute is part of every checkpoint.
        self._base = FactorizedDensity(channels, init_scale, num_filters)

    @property
    def base(self) -> FactorizedDensity:
        return self._base

    def prob(self, z: tf.Tensor) -> tf.Tensor:
        """float32 of the shape of z, float32 [..., channels]."""
        larger, smaller = self._logits_of_the_ends(z)
        return tf.sigmoid(larger) - tf.sigmoid(smaller)

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """Natural logarithm of `prob`, also where that would be 0 in float32."""
        larger, smaller = (tf.math.log_sigmoid(l) for l in self._logits_of_the_ends(z))
        # Behind logits of -inf a difference would be NaN.
        log_ratio = tf.math.log1p(-tf.exp(smaller - larger))
        return tf.where(tf.math.is_inf(larger), larger, log_ratio + larger)

    def variables_by_name(self) -> dict[str, tf.Variable]:
        """`{"matrix_0": variable, ...}`."""
        return {v.name.rpartition("/")[2].partition(":")[0]: v for v in self.variables}

    def table(self, tail_mass: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The probabilities of the integers that the tails leave.

        Args:
            tail_mass: What both tails hold together, about.

        Returns:
            `prob` float32 [rows, channels] of the integers `first[channel] + row`, `first` int32
            [channels], and how many rows of each channel count, int32 [channels].
        """
        logit = math.log(tail_mass / 2 / (1 - tail_mass / 2))

        @tf.function(autograph=False)  # the search for the tails is a long loop
        def build():
            first = tf.cast(tf.floor(self.base.quantile(logit)), tf.int32)
            last = tf.cast(tf.math.ceil(self.base.quantile(-logit)), tf.int32)
            rows = last - first + 1
            z = tf.range(tf.cast(tf.reduce_max(rows), tf.float32))[:, None]
            return self.prob(z + tf.cast(first, tf.float32)), first, rows

        prob, first, rows = (t.numpy() for t in build())
        return prob, first, rows

    def _logits_of_the_ends(self, z):
        """Logits (larger, smaller) of two masses whose difference is the bin's.

        Above the median they belong to the masses above the ends, which are small there and exact.
        """
        upper, lower = self.base.logits(z + 0.5), self.base.logits(z - 0.5)
        is_above = upper > 0
        return tf.where(is_above, -lower, upper), tf.where(is_above, -upper, lower)
