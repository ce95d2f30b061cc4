"""Latents chosen for one picture: better files from the same model, for a slower encoder.

g_a guesses the latents and rounding treats each alone. Refinement goes on from there, by descent on
what the model was trained for, lambda D + R, as a function of y. Round t of T takes

    y <- y - step_t g_c / h_c        step_t = STEP (1 + cos(pi t / T)) / 2

with the gradient g at round(y), passed straight through the rounding, and a curvature h_c per channel,
the root mean square of the first gradient over that of the rounding error: near g_a's guess, which is
about the best y that need not be integer, the gradient is the curvature times that error. Early steps
are long enough to try other integers in many places at once, late ones settle. The best round counts,
plain rounding included. z stays. The idea is that of J. Campos et al., "Content adaptive optimization
for neural image compression", 2019.

A large picture is worked on in blocks, one after the other. What a block changes is judged a few
latents beyond it; its surroundings further out are there, at their present integers, but do not count.
So memory is bounded.
"""

import functools
import math

import numpy as np
import tensorflow as tf

from gllmm_tf import losses
from gllmm_tf.coding.fixed_point import ACTIVATION_BITS
from gllmm_tf.config import LATENT_STRIDE, QUALITY_STEPS
from gllmm_tf.errors import ModelError
from gllmm_tf.layers.precision import in_float32
from gllmm_tf.metrics import MS_SSIM_MIN_SIZE
from gllmm_tf.model.compression import CompressionModel

STEP = 0.06  # in quantisation steps where gradient and curvature are of their usual ratio
WHOLE = 48 * 48  # latents: a picture of at most so many is one block
BLOCK = 32  # latents a side of other pictures' blocks, at most
JUDGED = 3  # latents beyond a block's border whose pixels count
SURROUNDINGS = 6  # latents beyond a block's border that are there
_SMALLEST_ERROR = 1e-3  # mean square of the rounding error of a channel that is always zero


class Refiner:
    """Refines the latents of one model.

    Args:
        model_file: `ModelFile`.

    Attributes:
        cost: lambda D + R in bits as a graph of (y_hat, phi, x, weight, inverse gain, lambda).

    Raises:
        ModelError: the file does not say for which lambda the model was trained.
    """

    def __init__(self, model_file):
        self._lambdas = model_file.config.lambdas or model_file.info.get("lambdas")
        if not self._lambdas:
            raise ModelError(
                "the model does not say for which lambda it was trained; omit the refinement",
                "refine",
            )
        self._metric = model_file.config.metric
        with in_float32():
            self._model = CompressionModel.load(model_file)
        filters = model_file.config.num_filters

        def array(channels):
            return tf.TensorSpec([1, None, None, channels], tf.float32)

        gain = tf.TensorSpec([1, 1, 1, filters], tf.float32)
        scalar = tf.TensorSpec([], tf.float32)
        signature = [array(filters), array(2 * filters), array(3), array(1), gain, scalar]
        graph = functools.partial(tf.function, input_signature=signature, autograph=False)
        self.cost = graph(self._cost_of)
        self._cost_and_gradient = graph(self._differentiate)

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
            window = y_hat[r, c].copy()
            window[inner_r, inner_c] = y[rows, columns]
            best = self._descend(window, (inner_r, inner_c), fixed, rounds, tell)
            y_hat[rows, columns] = best
        return y_hat

    def _descend(self, y, inner, fixed, rounds, tell):
        """Returns the block's integers of the best round; y is changed."""
        best, best_cost, curvature = np.round(y)[inner], math.inf, None
        for t in range(rounds):
            rounded = np.round(y)
            cost, gradient = self._cost_and_gradient(rounded[None], *fixed)
            gradient = gradient.numpy()[0][inner]
            if cost < best_cost:
                best, best_cost = rounded[inner], float(cost)
            if curvature is None:
                error = np.mean((rounded - y)[inner] ** 2, (0, 1)) + _SMALLEST_ERROR
                curvature = np.sqrt(np.mean(gradient**2, (0, 1)) / error) + 1e-30
            step = STEP * (1 + math.cos(math.pi * t / rounds)) / 2
            y[inner] -= step * gradient / curvature
            if tell is not None:
                tell()
        last = np.round(y)
        return last[inner] if self.cost(last[None], *fixed) < best_cost else best

    def _cost_of(self, y_hat, phi, x, weight, inverse_gain, multiplier):
        """lambda D + R in bits."""
        bits = tf.reduce_sum(self._model.mixture(y_hat, phi).bits(y_hat))
        x_hat = tf.cast(self._model.g_s(y_hat * inverse_gain), tf.float32)
        if self._metric == "ms-ssim":
            pixels = tf.cast(tf.size(weight), tf.float32)
            return multiplier * (1.0 - losses.ms_ssim(x, x_hat)[0]) * pixels + bits
        squares = tf.math.squared_difference(x, tf.clip_by_value(x_hat, 0.0, 1.0))
        mse = 255.0**2 * tf.reduce_mean(squares, -1, keepdims=True)  # per pixel
        return multiplier * tf.reduce_sum(weight * mse) + bits

    def _differentiate(self, y_hat, *fixed):
        with tf.GradientTape() as tape:
            tape.watch(y_hat)
            cost = self._cost_of(y_hat, *fixed)
        return cost, tape.gradient(cost, y_hat)


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
