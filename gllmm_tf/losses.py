"""Rate-distortion losses: `lambda D + R`, with R in bits per pixel.

    mse:      lambda 255^2 MSE + bpp         MSE of values in 0..1, over pixels and channels
    ms-ssim:  lambda (1 - MS-SSIM) + bpp

`rate_distortion_loss` is the one that training, validation and `fit` share. Losses are computed per
image, each with its own lambda, as a variable-rate model needs.

MS-SSIM: Z. Wang, E. Simoncelli, A. Bovik, "Multiscale structural similarity for image quality
assessment", 2003. `tf.image.ssim_multiscale` has the same values but a gradient of infinity times
zero, NaN, wherever a structure term is negative, so the loss has its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from gllmm_tf import metrics

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales, finest first."""

MS_SSIM_FLOOR = 1e-3
"""Smallest value of a scale's term: x^0.0448 has no value below 0 and no useful slope near it."""

SSIM_WINDOW = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
SSIM_WINDOW = (SSIM_WINDOW / SSIM_WINDOW.sum()).astype(np.float32)
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2


class Losses(NamedTuple):
    """Loss and its parts for each image, float32 [batch].

    Attributes:
        loss: lambda D + R.
        bpp: R, bits per pixel.
        y_bpp, z_bpp: Its two parts.
        mse: Mean squared error of values in 0..255.
        ms_ssim: Zeros unless it is the metric.
    """

    loss: tf.Tensor
    bpp: tf.Tensor
    y_bpp: tf.Tensor
    z_bpp: tf.Tensor
    mse: tf.Tensor
    ms_ssim: tf.Tensor


class Reconstruction(Protocol):
    """What a loss needs of a model's outputs, such as `gllmm_tf.model.compression.Outputs`."""

    @property
    def x_hat(self) -> tf.Tensor: ...

    @property
    def y_bits(self) -> tf.Tensor: ...

    @property
    def z_bits(self) -> tf.Tensor: ...


def lambda_of_quality(lambdas: Sequence[float], quality: tf.Tensor) -> tf.Tensor:
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


def ms_ssim(x: tf.Tensor, x_hat: tf.Tensor) -> tf.Tensor:
    """Returns the MS-SSIM of each image, float32 [batch], with a finite gradient everywhere.

    `mean_c prod_s max(m_sc, 0.001)^w_s` over colours c and scales s = 1..5, each half the size of
    the one before; m_sc is the mean over the windows of the structure term
    `(2 cov + C2) / (var + var' + C2)`, times the luminance term at the coarsest scale. Windows are
    11 x 11 Gaussians of standard deviation 1.5. Where the maximum cuts, the gradient is that at
    0.001, so that a reconstruction of opposite structure is still drawn to the right one.

    Args:
        x, x_hat: float32 [batch, height, width, 3], values in 0..1; height and width are at least
            `metrics.MS_SSIM_MIN_SIZE`. A last row or column that a halving leaves over is dropped,
            so `metrics.ms_ssim`, which repeats it, agrees for multiples of 16.

    Raises:
        GllmmError: the images are smaller.
    """
    x, x_hat = tf.convert_to_tensor(x), tf.convert_to_tensor(x_hat)
    for name, side in zip(("height", "width"), x.shape[1:3]):
        if side is not None:
            metrics.check_patch("ms-ssim", side, name)
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


def rate_distortion_loss(
    x: tf.Tensor, outputs: Reconstruction, lambdas: tf.Tensor | float, metric: str = "mse"
) -> Losses:
    """Returns the Losses of a batch.

    Args:
        x: float32 [batch, height, width, 3] in 0..1.
        outputs: What the model returned for x: `x_hat` float32 like x, clipped or not; `y_bits` and
            `z_bits` float32 [batch], bits per image.
        lambdas: float32 [batch], or one number.
        metric: "mse" or "ms-ssim" (see `ms_ssim` for the sizes that it takes).

    Raises:
        GllmmError: another metric, or images that are too small for it.
    """
    metrics.check_distortion(metric)
    shape = tf.shape(x)
    pixels = tf.cast(shape[1] * shape[2], tf.float32)
    y_bpp, z_bpp = outputs.y_bits / pixels, outputs.z_bits / pixels
    bpp = y_bpp + z_bpp
    difference = tf.math.squared_difference(x, outputs.x_hat)
    mse = 255.0**2 * tf.reduce_mean(difference, axis=(1, 2, 3))  # over pixels and channels
    if metric == "ms-ssim":
        similarity = ms_ssim(x, outputs.x_hat)
        loss = lambdas * (1.0 - similarity) + bpp
    else:
        similarity = tf.zeros_like(mse)
        loss = lambdas * mse + bpp
    return Losses(loss, bpp, y_bpp, z_bpp, mse, similarity)


def psnr(mse: tf.Tensor) -> tf.Tensor:
    """10 log10(255^2 / mse) in dB of mean squared errors of values in 0..255, of at most 138 dB."""
    return (10.0 / math.log(10.0)) * tf.math.log(255.0**2 / tf.maximum(mse, 1e-9))


def balance(lambdas: tf.Tensor, quality_lambdas: Sequence[float]) -> tf.Tensor:
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
