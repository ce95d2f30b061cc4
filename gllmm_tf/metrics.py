"""Quality of a reconstruction: PSNR and MS-SSIM, as the papers of the field report them.

Both take uint8 RGB pictures, that is, what a decoder writes to a file, after rounding and clipping.

MS-SSIM: Wang, Simoncelli, Bovik, "Multiscale structural similarity for image quality assessment",
2003; the function that TensorFlow computes, which the published results for learned codecs use as
well: five scales, a Gaussian window of 11 x 11, computed per RGB channel and averaged.
"""

from __future__ import annotations

import math

import numpy as np

from gllmm_tf.errors import GllmmError

DISTORTIONS = ("mse", "ms-ssim")
"""What a model can be trained for."""

_YCBCR = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)

MS_SSIM_MIN_SIZE = 176
"""Pixels a side: the window of 11 x 11 must fit after four halvings, 11 * 2^4."""


_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
_WINDOW /= _WINDOW.sum()
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def check_distortion(metric: str) -> None:
    """Raises GllmmError unless the metric is one of `DISTORTIONS`."""
    if metric not in DISTORTIONS:
        raise GllmmError(
            f"metric {metric!r} is unknown; choose one of {', '.join(DISTORTIONS)}", "metric"
        )


def check_patch(metric: str, side: int, name: str = "patch") -> None:
    """Raises GllmmError if a patch of side x side pixels cannot be judged by the metric.

    Args:
        metric: One of `DISTORTIONS`.
        side: Pixels.
        name: What the message calls the side.
    """
    check_distortion(metric)
    if metric == "ms-ssim" and side < MS_SSIM_MIN_SIZE:
        raise GllmmError(
            f"MS-SSIM needs at least {MS_SSIM_MIN_SIZE} pixels a side, {name} is {side}; take a "
            "larger one (192 fits) or the metric mse",
            name,
        )


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the peak signal-to-noise ratio of two pictures in dB.

    psnr = 10 log10(255^2 / mse), mse = mean over i, j, c of (a[i, j, c] - b[i, j, c])^2.

    Args:
        a: uint8 [H, W, 3].
        b: uint8 [H, W, 3].

    Returns:
        dB; infinity when the pictures are equal.

    Raises:
        ValueError: when the pictures are not uint8 or not of one shape.
    """
    _check_pair(a, b)
    difference = a.astype(np.int32) - b.astype(np.int32)
    mse = float(np.mean(np.square(difference), dtype=np.float64))  # mean over all pixels, channels
    return math.inf if mse == 0.0 else 10.0 * math.log10(255.0**2 / mse)


def psnr_ycbcr(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the PSNR of two pictures in YCbCr, as standards' tests report it.

    psnr = (6 psnr_Y + psnr_Cb + psnr_Cr) / 8, each 10 log10(255^2 / mse), with the YCbCr of JPEG
    (BT.601, full range) in full resolution and not rounded.

    Args:
        a: uint8 [H, W, 3], RGB.
        b: uint8 [H, W, 3], RGB.

    Returns:
        dB; infinity when the pictures are equal.

    Raises:
        ValueError: when the pictures are not uint8 or not of one shape.
    """
    _check_pair(a, b)
    difference = a.astype(np.float32) - b.astype(np.float32)
    mse = np.mean(np.square(difference @ _YCBCR.T), axis=(0, 1), dtype=np.float64)  # [3]
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(255.0**2 / mse) @ np.array([6, 1, 1]) / 8)


def ms_ssim(a: np.ndarray, b: np.ndarray) -> float | None:
    """Returns the multiscale structural similarity of two pictures.

    Args:
        a: uint8 [H, W, 3].
        b: uint8 [H, W, 3].

    Returns:
        A number up to 1 (equal pictures), or None when the smaller side has fewer than
        `MS_SSIM_MIN_SIZE` pixels, for which the five scales are not defined.

    Raises:
        ValueError: when the pictures are not uint8 or not of one shape.
    """
    _check_pair(a, b)
    if min(a.shape[:2]) < MS_SSIM_MIN_SIZE:
        return None
    x, y = (picture.astype(np.float64) for picture in (a, b))
    product = np.ones(3)
    for scale, weight in enumerate(_SCALE_WEIGHTS):
        luminance, structure = _ssim_maps(x, y)
        if scale == len(_SCALE_WEIGHTS) - 1:
            structure = luminance * structure
        product *= np.maximum(np.mean(structure, (0, 1)), 0.0) ** weight  # mean over the pixels
        x, y = _halved(x), _halved(y)
    return float(np.mean(product))  # over R, G, B


def ms_ssim_db(value: float) -> float:
    """Returns MS-SSIM on the decibel scale, -10 log10(1 - value); infinity for equal pictures."""
    return math.inf if value >= 1.0 else -10.0 * math.log10(1.0 - value)


def _ssim_maps(x, y):
    """(luminance, contrast times structure) at every place where the window fits, float64 [h, w, 3]."""
    mean_x, mean_y = _smoothed(x), _smoothed(y)
    products, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    luminance = (2 * products + _C1) / (squares + _C1)
    covariance = _smoothed(x * y) - products
    variances = _smoothed(x**2 + y**2) - squares
    return luminance, (2 * covariance + _C2) / (variances + _C2)


def _smoothed(x):
    """Weighted mean in a window, [H, W, 3] to [H - 10, W - 10, 3]."""
    rows, columns = (size - len(_WINDOW) + 1 for size in x.shape[:2])
    x = sum(weight * x[i : i + rows] for i, weight in enumerate(_WINDOW))
    return sum(weight * x[:, i : i + columns] for i, weight in enumerate(_WINDOW))


def _halved(x):
    """Mean of 2 x 2 pixels; an odd last row or column counts twice."""
    x = np.pad(x, [(0, size % 2) for size in x.shape[:2]] + [(0, 0)], mode="symmetric")
    return (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4


def _check_pair(a: np.ndarray, b: np.ndarray) -> None:
    """Raises ValueError unless both are uint8 [H, W, 3] of one shape."""
    for picture in (a, b):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[-1] != 3:
            raise ValueError(
                "Pictures must be uint8 arrays of shape [H, W, 3], "
                f"got {picture.dtype} of shape {list(picture.shape)}."
            )
    if a.shape != b.shape:
        raise ValueError(f"Pictures must have one shape, got {list(a.shape)} and {list(b.shape)}.")
