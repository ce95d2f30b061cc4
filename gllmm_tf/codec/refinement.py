"""Latents chosen for one picture: better files from the same model, for a slower encoder.

g_a guesses the latents and rounding treats each alone. Refinement goes on from there, by descent
(`descent.py`) on what the model was trained for, lambda D + R, as a function of y. z stays. The idea is
that of J. Campos et al., "Content adaptive optimization for neural image compression", 2019.

A large picture is worked on in blocks, one after the other. What a block changes is judged a few
latents beyond it; its surroundings further out are there, at their present integers, but do not count.
So memory is bounded.

Where the processor multiplies bfloat16, g_s and its gradient are computed so, which takes two thirds of the
time on two cores with AVX-512 and finds as much (experiments/results/descents.csv). The bits stay float32.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import tensorflow as tf

from gllmm_tf import losses
from gllmm_tf.codec.descent import Descent, Slopes, descend
from gllmm_tf.coding.fixed_point import ACTIVATION_BITS
from gllmm_tf.config import LATENT_STRIDE, QUALITY_STEPS
from gllmm_tf.errors import ModelError
from gllmm_tf.layers.precision import has_fast_bfloat16, in_float32, in_policy
from gllmm_tf.metrics import MS_SSIM_MIN_SIZE
from gllmm_tf.model.compression import CompressionModel

WHOLE = 48 * 48  # latents: a picture of at most so many is one block
BLOCK = 32  # latents a side of other pictures' blocks, at most
JUDGED = 3  # latents beyond a block's border whose pixels count
SURROUNDINGS = 6  # latents beyond a block's border that are there


class Refiner:
    """Refines the latents of one model.

    Args:
        model_file: `ModelFile`.
        descent: Finds the integers of a block.
        bfloat16: Whether g_s computes in it; None where the processor is faster so.

    Attributes:
        cost: lambda D + R in bits as a graph of (y_hat, phi, x, weight, inverse gain, lambda).
        slopes: The same with the other fields of `descent.Slopes`.

    Raises:
        ModelError: the file does not say for which lambda the model was trained.
    """

    def __init__(self, model_file, descent: Descent = descend, bfloat16: bool | None = None):
        self._lambdas = model_file.config.lambdas or model_file.info.get("lambdas")
        if not self._lambdas:
            raise ModelError(
                "the model does not say for which lambda it was trained; omit the refinement",
                "refine",
            )
        self._descent = descent
        self._metric = model_file.config.metric
        with in_float32():
            self._model = CompressionModel.load(model_file)
        self._g_s = self._model.g_s
        if has_fast_bfloat16() if bfloat16 is None else bfloat16:
            with in_policy("mixed_bfloat16"):
                self._g_s = CompressionModel.load(model_file).g_s
        filters = model_file.config.num_filters

        def array(channels):
            return tf.TensorSpec([1, None, None, channels], tf.float32)

        gain = tf.TensorSpec([1, 1, 1, filters], tf.float32)
        scalar = tf.TensorSpec([], tf.float32)
        signature = [array(filters), array(2 * filters), array(3), array(1), gain, scalar]
        graph = functools.partial(tf.function, input_signature=signature, autograph=False)
        self.cost = graph(self._cost_of)
        self.slopes = graph(self._slopes_of)

    def refine(self, read_x, size, y, phi, inverse_gain, index, rounds, tell=None):
        """Returns integers y_hat, float32 [h, w, N].

        Args:
            read_x: A function of (rows, columns), two slices in pixels, to the picture there, float32
                [1, rows, columns, 3] in 0..1.
            size: (height, width) of the picture without padding.
            y: float32 [h, w, N], not rounded.
            phi: float32 integers [h, w, 2 N] from the exact hyper synthesis.
            inverse_gain: float32 [1, 1, 1, N], of y.
            index: Quality index.
            rounds: Gradients per block.
            tell: Called after every round.
        """
        multiplier = losses.lambda_of_quality(
            self._lambdas, tf.constant([1.0 + index / QUALITY_STEPS])
        )[0]
        y_hat = np.round(y)
        for rows, columns in blocks(y.shape[:2]):
            (r, inner_r), (c, inner_c) = (
                window_of(span, n) for span, n in zip((rows, columns), y.shape[:2])
            )
            x = read_x(*(slice(LATENT_STRIDE * s.start, LATENT_STRIDE * s.stop) for s in (r, c)))
            if self._metric == "ms-ssim" and min(x.shape[1:3]) < MS_SSIM_MIN_SIZE:
                continue
            weight = judged_pixels((rows, columns), (r, c), size)
            fixed = (
                tf.constant(phi[None, r, c] * np.float32(2.0**-ACTIVATION_BITS)),
                x,
                tf.constant(weight[None, ..., None]),
                tf.constant(inverse_gain, tf.float32),
                multiplier,
            )
            cost = _BlockCost(self, y_hat[r, c], (inner_r, inner_c), fixed)
            y_hat[rows, columns] = self._descent(y[rows, columns], cost, rounds, tell)
        return y_hat

    def _cost_of(self, y_hat, phi, x, weight, inverse_gain, multiplier):
        """lambda D + R in bits."""
        bits = tf.reduce_sum(self._model.mixture(y_hat, phi).bits(y_hat))
        return bits + self._distortion(y_hat, x, weight, inverse_gain, multiplier)

    def _distortion(self, y_hat, x, weight, inverse_gain, multiplier):
        """lambda D in bits."""
        x_hat = tf.cast(self._g_s(y_hat * inverse_gain), tf.float32)
        if self._metric == "ms-ssim":
            pixels = tf.cast(tf.size(weight), tf.float32)
            return multiplier * (1.0 - losses.ms_ssim(x, x_hat)[0]) * pixels
        squares = tf.math.squared_difference(x, tf.clip_by_value(x_hat, 0.0, 1.0))
        mse = 255.0**2 * tf.reduce_mean(squares, -1, keepdims=True)  # per pixel
        return multiplier * tf.reduce_sum(weight * mse)

    def _slopes_of(self, y_hat, phi, *fixed):
        with tf.GradientTape() as tape:
            tape.watch(y_hat)
            mixture = self._model.mixture(y_hat, phi)
            bits = mixture.bits(tf.stop_gradient(y_hat))
            cost = tf.reduce_sum(bits) + self._distortion(y_hat, *fixed)
        others = tape.gradient(cost, y_hat)
        return cost, others, mixture.bits(y_hat + 1.0) - bits, bits - mixture.bits(y_hat - 1.0)


class _BlockCost:
    """lambda D + R as a function of one block's integers, see `descent.Cost`.

    Args:
        refiner: Whose graphs are used.
        window: float32 [rows, columns, N], the integers of the block and its surroundings.
        inner: The block's place in it, two slices.
        fixed: The graphs' other arguments.
    """

    def __init__(self, refiner, window, inner, fixed):
        self._refiner, self._inner, self._fixed = refiner, inner, fixed
        self._window = window.copy()

    def at(self, y_hat):
        return float(self._refiner.cost(self._with(y_hat), *self._fixed))

    def slopes(self, y_hat):
        cost, *slopes = self._refiner.slopes(self._with(y_hat), *self._fixed)
        return Slopes(float(cost), *(slope.numpy()[0][self._inner] for slope in slopes))

    def _with(self, y_hat):
        self._window[self._inner] = y_hat
        return self._window[None]


def blocks(size):
    """Blocks of nearly equal sizes that cover [h, w]: a list of (rows, columns), slices."""
    parts = []
    for length in size:
        count = 1 if math.prod(size) <= WHOLE else -(-length // BLOCK)
        edges = [length * i // count for i in range(count + 1)]
        parts.append([slice(*edge) for edge in zip(edges, edges[1:])])
    return [(rows, columns) for rows in parts[0] for columns in parts[1]]


def window_of(span, length):
    """(a block's span with its surroundings, the span in that window)."""
    start, stop = max(0, span.start - SURROUNDINGS), min(length, span.stop + SURROUNDINGS)
    return slice(start, stop), slice(span.start - start, span.stop - start)


def judged_pixels(block, window, size):
    """1 for the pixels of a window that count and 0 elsewhere, float32 [rows, columns]."""
    weights = []
    for inside, around, pixels in zip(block, window, size):
        i = np.arange(LATENT_STRIDE * around.start, LATENT_STRIDE * around.stop)
        low = LATENT_STRIDE * (inside.start - JUDGED)
        high = min(pixels, LATENT_STRIDE * (inside.stop + JUDGED))
        weights.append(((i >= low) & (i < high)).astype(np.float32))
    return weights[0][:, None] * weights[1]
