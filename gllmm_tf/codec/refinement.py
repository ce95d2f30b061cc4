"""Latents chosen for one picture: better files from the same model, for a slower encoder.

g_a guesses the latents and rounding treats each alone. Refinement goes on from there, by descent
(`descent.py`) on what the model was trained for, lambda D + R, as a function of y, and then on R alone as a
function of z, which needs no g_s and takes a quarter of a round's time. The idea is that of J. Campos et
al., "Content adaptive optimization for neural image compression", 2019.

A large picture is worked on in blocks, one after the other. What a block changes is judged a few
latents beyond it; its surroundings further out are there, at their present integers, but do not count.
So memory is bounded. A block of z counts with all that its surroundings hold, which reach as far as h_s.

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
from gllmm_tf.config import HYPER_STRIDE, LATENT_STRIDE, QUALITY_STEPS
from gllmm_tf.errors import ModelError
from gllmm_tf.layers.precision import has_fast_bfloat16, in_float32, in_policy
from gllmm_tf.metrics import MS_SSIM_MIN_SIZE
from gllmm_tf.model.compression import CompressionModel

WHOLE = 48 * 48  # latents: a picture of at most so many is one block
BLOCK = 32  # latents a side of other pictures' blocks, at most
JUDGED = 3  # latents beyond a block's border whose pixels count
SURROUNDINGS = 6  # latents beyond a block's border that are there
HYPER_BLOCK = (
    6  # positions of z a side of other pictures' blocks: with surroundings as large as WHOLE
)
HYPER_SURROUNDINGS = 3  # positions of z beyond a block's border, as far as h_s looks
ROUNDS_PER_HYPER_ROUND = 3  # of y; what more rounds of z find is worth less than those of y


class Refiner:
    """Refines the latents of one model.

    Args:
        model_file: `ModelFile`.
        descent: Finds the integers of a block.
        bfloat16: Whether g_s computes in it; None where the processor is faster so.

    Attributes:
        cost: lambda D + R in bits as a graph of (y_hat, phi, x, weight, inverse gain, lambda).
        slopes: The same with the other fields of `descent.Slopes`.
        hyper_cost: R in bits as a graph of (z_hat, y_hat, inverse gain of z, offset of phi).
        hyper_slopes: The same with the other fields.

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
        hyper = model_file.config.z_filters
        small = [tf.TensorSpec([1, 1, 1, c], tf.float32) for c in (hyper, 2 * filters)]
        signature = [array(hyper), array(filters), *small]
        graph = functools.partial(tf.function, input_signature=signature, autograph=False)
        self.hyper_cost = graph(self._hyper_cost_of)
        self.hyper_slopes = graph(self._hyper_slopes_of)

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
            cost = _BlockCost(self.cost, self.slopes, y_hat[r, c], (inner_r, inner_c), fixed)
            y_hat[rows, columns] = self._descent(y[rows, columns], cost, rounds, tell)
        return y_hat

    def refine_hyper(self, y_hat, z, index, rounds, tell=None):
        """Returns integers z_hat, float32 [h/4, w/4, Z], for which y_hat and z_hat take few bits.

        Args:
            y_hat: float32 integers [h, w, N].
            z: float32 [h/4, w/4, Z], not rounded.
            index: Quality index.
            rounds: Gradients per block.
            tell: Called after every round.
        """
        z_hat, small = np.round(z), self.hyper_gains(index)
        for block in hyper_blocks(z.shape[:2]):
            (r, inner_r), (c, inner_c) = (
                window_of(span, n, HYPER_SURROUNDINGS) for span, n in zip(block, z.shape[:2])
            )
            seen = [slice(HYPER_STRIDE * s.start, HYPER_STRIDE * s.stop) for s in (r, c)]
            fixed = (tf.constant(y_hat[None, seen[0], seen[1]]), *small)
            graphs = self.hyper_cost, self.hyper_slopes
            cost = _BlockCost(*graphs, z_hat[r, c], (inner_r, inner_c), fixed)
            z_hat[block] = self._descent(z[block], cost, rounds, tell)
        return z_hat

    def hyper_gains(self, index):
        """(inverse gain of z, offset of phi), [1, 1, 1, Z] and [1, 1, 1, 2 N]."""
        config, gains = self._model.config, self._model.gains
        if gains is None:
            n = config.num_filters
            return tf.ones([1, 1, 1, config.z_filters]), tf.zeros([1, 1, 1, 2 * n])
        return gains(tf.constant([1.0 + index / QUALITY_STEPS]))[3:]

    def _bits_of_y(self, z_hat, y_hat, inverse_gain, offset):
        phi = self._model.h_s(z_hat * inverse_gain) + offset
        return tf.reduce_sum(self._model.mixture(y_hat, phi).bits(y_hat))

    def _hyper_cost_of(self, z_hat, *fixed):
        return self._bits_of_y(z_hat, *fixed) + tf.reduce_sum(self._model.z_bottleneck(z_hat))

    def _hyper_slopes_of(self, z_hat, *fixed):
        prior = self._model.z_bottleneck
        with tf.GradientTape() as tape:
            tape.watch(z_hat)
            y_bits = self._bits_of_y(z_hat, *fixed)
        bits, others = prior(z_hat), tape.gradient(y_bits, z_hat)
        above, below = prior(z_hat + 1.0) - bits, bits - prior(z_hat - 1.0)
        return y_bits + tf.reduce_sum(bits), others, above, below

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
    """A cost as a function of one block's integers, see `descent.Cost`.

    Args:
        cost: Graph of the cost.
        slopes: Graph of the fields of `descent.Slopes`.
        window: float32 [rows, columns, channels], the integers of the block and its surroundings.
        inner: The block's place in it, two slices.
        fixed: The graphs' other arguments.
    """

    def __init__(self, cost, slopes, window, inner, fixed):
        self._cost, self._slopes, self._inner, self._fixed = cost, slopes, inner, fixed
        self._window = window.copy()

    def at(self, integers):
        return float(self._cost(self._with(integers), *self._fixed))

    def slopes(self, integers):
        cost, *slopes = self._slopes(self._with(integers), *self._fixed)
        return Slopes(float(cost), *(slope.numpy()[0][self._inner] for slope in slopes))

    def _with(self, integers):
        self._window[self._inner] = integers
        return self._window[None]


def hyper_rounds(rounds):
    """How many rounds of z follow so many of y."""
    return max(1, rounds // ROUNDS_PER_HYPER_ROUND)


def hyper_blocks(size):
    """The same for z, [h/4, w/4]; smaller ones, since h_s looks further than y's context."""
    whole = math.prod(size) * HYPER_STRIDE**2 <= WHOLE
    parts = [split(length, 1 if whole else -(-length // HYPER_BLOCK)) for length in size]
    return [(rows, columns) for rows in parts[0] for columns in parts[1]]


def blocks(size):
    """Blocks of nearly equal sizes that cover [h, w]: a list of (rows, columns), slices."""
    whole = math.prod(size) <= WHOLE
    parts = [split(length, 1 if whole else -(-length // BLOCK)) for length in size]
    return [(rows, columns) for rows in parts[0] for columns in parts[1]]


def split(length, count):
    """0..length in so many slices of nearly equal sizes."""
    edges = [length * i // count for i in range(count + 1)]
    return [slice(*edge) for edge in zip(edges, edges[1:])]


def window_of(span, length, beyond=SURROUNDINGS):
    """(a block's span with its surroundings, the span in that window)."""
    start, stop = max(0, span.start - beyond), min(length, span.stop + beyond)
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
