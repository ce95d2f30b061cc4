"""Rate-distortion losses: `lambda D + R`, with R in bits per pixel.

    mse:      lambda 255^2 MSE + bpp            MSE of values in 0..1, over the pixels and channels of an image
    ms-ssim:  lambda (1 - MS-SSIM) + bpp

They are computed per image, each with its own lambda, as a variable-rate model needs.
"""

import math
from typing import NamedTuple

import tensorflow as tf

from gllmm_tf import errors

METRICS = ("mse", "ms-ssim")

MS_SSIM_SMALLEST_SIDE = 161
"""Pixels: the coarsest of the five scales, a sixteenth of the side, must hold the 11 x 11 window."""


class Losses(NamedTuple):
    """float32 [batch] each."""

    loss: tf.Tensor
    bpp: tf.Tensor
    y_bpp: tf.Tensor
    z_bpp: tf.Tensor
    mse: tf.Tensor  # of values in 0..255
    ms_ssim: tf.Tensor  # zeros unless it is the metric


def check_patch(metric, patch):
    """Raises GllmmError if a patch of `patch` x `patch` pixels cannot be judged by the metric."""
    if metric not in METRICS:
        raise errors.GllmmError(f"metric {metric!r} is unknown; choose one of {', '.join(METRICS)}")
    if metric == "ms-ssim" and patch < MS_SSIM_SMALLEST_SIDE:
        raise errors.GllmmError(
            f"MS-SSIM needs patches of at least {MS_SSIM_SMALLEST_SIDE} pixels a side, not {patch}; "
            "raise --patch (192 fits) or train with --metric mse"
        )


def lambda_of_quality(lambdas, quality):
    """Interpolates lambda geometrically: `lambda(q) = lambda_i^(1-t) lambda_(i+1)^t`, `i + t = q`, `0 <= t <= 1`.

    Args:
        lambdas: lambda_1 .. lambda_Q, floats > 0.
        quality: float32 [batch] in 1..Q.

    Returns:
        float32 [batch].
    """
    logs = tf.constant([math.log(value) for value in lambdas], tf.float32)
    if len(lambdas) == 1:
        return tf.fill(tf.shape(quality), float(lambdas[0]))
    position = tf.clip_by_value(quality, 1.0, float(len(lambdas))) - 1.0
    below = tf.minimum(tf.floor(position), len(lambdas) - 2.0)
    t = position - below
    index = tf.cast(below, tf.int32)
    return tf.exp((1.0 - t) * tf.gather(logs, index) + t * tf.gather(logs, index + 1))


def rate_distortion(x, x_hat, y_bits, z_bits, lambdas, metric="mse"):
    """Returns the Losses of a batch.

    Args:
        x: float32 [batch, height, width, 3] in 0..1.
        x_hat: the same, not clipped.
        y_bits, z_bits: float32 [batch], bits per image.
        lambdas: float32 [batch], or one number.
        metric: "mse" or "ms-ssim".
    """
    shape = tf.shape(x)
    pixels = tf.cast(shape[1] * shape[2], tf.float32)
    y_bpp, z_bpp = y_bits / pixels, z_bits / pixels
    bpp = y_bpp + z_bpp
    mse = 255.0**2 * tf.reduce_mean(tf.math.squared_difference(x, x_hat), axis=(1, 2, 3))
    if metric == "ms-ssim":
        # Negative contrast terms, which the power would turn into NaN, are cut to 0 inside ssim_multiscale; it gives
        # no gradient there, but only a patch of opposite structure gets there.
        ms_ssim = tf.image.ssim_multiscale(x, x_hat, max_val=1.0)
        loss = lambdas * (1.0 - ms_ssim) + bpp
    else:
        ms_ssim = tf.zeros_like(mse)
        loss = lambdas * mse + bpp
    return Losses(loss, bpp, y_bpp, z_bpp, mse, ms_ssim)


def balance(lambdas, quality_lambdas):
    """Weights that let every quality of a variable-rate model pull about equally, float32 [batch].

    At the optimum of `lambda D + R` both terms grow about like the square root of lambda, so the mean over a batch
    would be ruled by the highest quality. The weight is (lambda / geometric mean of the lambdas)^(-1/2); 1 for a
    fixed rate.

    Args:
        lambdas: float32 [batch].
        quality_lambdas: lambda_1 .. lambda_Q of the model.
    """
    middle = math.exp(sum(math.log(value) for value in quality_lambdas) / len(quality_lambdas))
    return tf.math.rsqrt(lambdas / middle)
