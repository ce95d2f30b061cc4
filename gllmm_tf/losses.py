"""Rate-distortion losses: `lambda D + R`, with R in bits per pixel.

    mse:      lambda 255^2 MSE + bpp         MSE of values in 0..1, over pixels and channels
    ms-ssim:  lambda (1 - MS-SSIM) + bpp

They are computed per image, each with its own lambda, as a variable-rate model needs.

MS-SSIM: Z. Wang, E. Simoncelli, A. Bovik, "Multiscale structural similarity for image quality
assessment", 2003. `tf.image.ssim_multiscale` has the same values but a gradient of infinity times
zero, NaN, wherever a structure term is negative, so the loss has its own.
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from gllmm_tf import errors

METRICS = ("mse", "ms-ssim")

MS_SSIM_SMALLEST_SIDE = 161
"""Pixels: the coarsest of five scales, a sixteenth of the side, must hold the 11 x 11 window."""

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales, finest first."""

MS_SSIM_FLOOR = 1e-3
"""Smallest value of a scale's term: x^0.0448 has no value below 0 and no useful slope near it."""

SSIM_WINDOW = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
SSIM_WINDOW = (SSIM_WINDOW / SSIM_WINDOW.sum()).astype(np.float32)
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2


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
            f"MS-SSIM needs patches of at least {MS_SSIM_SMALLEST_SIDE} pixels a side, "
            f"not {patch}; take a larger patch (192 fits) or the metric mse",
            "patch",
        )


def lambda_of_quality(lambdas, quality):
    """Interpolates lambda geometrically between the integer qualities.

    `lambda(q) = lambda_i^(1-t) lambda_(i+1)^t` with `i + t = q`, `0 <= t <= 1`.

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


def ms_ssim(x, x_hat):
    """Returns the MS-SSIM of each image, float32 [batch], with a finite gradient everywhere.

    `mean_c prod_s max(m_sc, 0.001)^w_s` over colours c and scales s = 1..5, each half the size of
    the one before; m_sc is the mean over the windows of the structure term
    `(2 cov + C2) / (var + var' + C2)`, times the luminance term at the coarsest scale. Windows are
    11 x 11 Gaussians of standard deviation 1.5. Where the maximum cuts, the gradient is that at
    0.001, so that a reconstruction of opposite structure is still drawn to the right one.

    Args:
        x, x_hat: float32 [batch, height, width, 3], values in 0..1; height and width are multiples
            of 16 and at least 176.
    """
    product = 1.0
    for scale, weight in enumerate(MS_SSIM_WEIGHTS):
        if scale:
            x, x_hat = (tf.nn.avg_pool2d(v, 2, 2, "VALID") for v in (x, x_hat))
        luminance, structure = _ssim_terms(x, x_hat)
        last = scale == len(MS_SSIM_WEIGHTS) - 1
        term = luminance * structure if last else structure
        term = tf.reduce_mean(term, axis=(1, 2))  # over the windows: [batch, 3]
        term += tf.stop_gradient(tf.maximum(term, MS_SSIM_FLOOR) - term)
        product *= term**weight
    return tf.reduce_mean(product, axis=-1)  # over the colours


def _ssim_terms(x, x_hat):
    """Returns (luminance, structure) of every window, [batch, height - 10, width - 10, 3] each."""
    moments = tf.concat([x, x_hat, x * x + x_hat * x_hat, x * x_hat], axis=-1)
    for shape in ((-1, 1), (1, -1)):  # the Gaussian window is a column times a row
        taps = tf.tile(SSIM_WINDOW.reshape(*shape, 1, 1), (1, 1, moments.shape[-1], 1))
        moments = tf.nn.depthwise_conv2d(moments, taps, (1, 1, 1, 1), "VALID")
    mean, mean_hat, squares, products = tf.split(moments, 4, axis=-1)
    mean_products, mean_squares = mean * mean_hat, mean * mean + mean_hat * mean_hat
    luminance = (2.0 * mean_products + SSIM_C1) / (mean_squares + SSIM_C1)
    structure = 2.0 * (products - mean_products) + SSIM_C2
    return luminance, structure / (squares - mean_squares + SSIM_C2)


def rate_distortion(x, x_hat, y_bits, z_bits, lambdas, metric="mse"):
    """Returns the Losses of a batch.

    Args:
        x: float32 [batch, height, width, 3] in 0..1.
        x_hat: the same, not clipped.
        y_bits, z_bits: float32 [batch], bits per image.
        lambdas: float32 [batch], or one number.
        metric: "mse" or "ms-ssim" (see `ms_ssim` for the sizes that it takes).
    """
    shape = tf.shape(x)
    pixels = tf.cast(shape[1] * shape[2], tf.float32)
    y_bpp, z_bpp = y_bits / pixels, z_bits / pixels
    bpp = y_bpp + z_bpp
    mse = 255.0**2 * tf.reduce_mean(tf.math.squared_difference(x, x_hat), axis=(1, 2, 3))
    if metric == "ms-ssim":
        similarity = ms_ssim(x, x_hat)
        loss = lambdas * (1.0 - similarity) + bpp
    else:
        similarity = tf.zeros_like(mse)
        loss = lambdas * mse + bpp
    return Losses(loss, bpp, y_bpp, z_bpp, mse, similarity)


def balance(lambdas, quality_lambdas):
    """Weights that let every quality of a variable-rate model pull about equally, float32 [batch].

    At the optimum of `lambda D + R` both terms grow about like the square root of lambda, so the
    mean over a batch would be ruled by the highest quality. The weight is (lambda / geometric mean
    of the lambdas)^(-1/2); 1 for a fixed rate.

    Args:
        lambdas: float32 [batch].
        quality_lambdas: lambda_1 .. lambda_Q of the model.
    """
    middle = math.exp(sum(math.log(value) for value in quality_lambdas) / len(quality_lambdas))
    return tf.math.rsqrt(lambdas / middle)
