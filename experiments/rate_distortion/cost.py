"""The price of a file at a quality: what its model was trained to lower, of the real file."""

from __future__ import annotations

import tensorflow as tf

import gllmm_tf
from experiments.common.program import ExperimentError
from gllmm_tf import losses


def load_variable_rate(model: str | None) -> gllmm_tf.Codec:
    """Returns the codec of a model that has qualities.

    Raises:
        ExperimentError: its rate is fixed.
    """
    codec = gllmm_tf.Codec.load(model)
    if not codec.config.lambdas:
        raise ExperimentError(f"{model}: has a fixed rate; a model of variable rate is needed.")
    return codec


def cost_of(codec, quality: float, bpp: float, psnr: float) -> float:
    """Returns lambda 255^2 MSE + bits per pixel, with the lambda of the quality.

    Args:
        codec: of a model of variable rate.
        quality: from 1 on.
        bpp: bits per pixel of the file.
        psnr: in dB, of pixels from 0 to 255.
    """
    multiplier = losses.lambda_of_quality(codec.config.lambdas, tf.constant([quality]))[0]
    return float(multiplier) * 255.0**2 * 10 ** (-psnr / 10) + bpp


def worth(reference: dict, other: dict) -> float:
    """Returns how far the cost of a row is below a reference's, in percent of the reference's rate."""
    return 100 * (reference["cost"] - other["cost"]) / reference["bpp"]
