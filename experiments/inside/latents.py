"""One picture at one quality, seen from inside: its latents and what the float model thinks of them."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import tensorflow as tf
from absl import flags

import gllmm_tf
from experiments.common import places, program
from gllmm_tf.config import LATENT_STRIDE
from gllmm_tf.model.compression import CompressionModel
from gllmm_tf.model.mixture import Mixture
from gllmm_tf.zoo import registry


@dataclasses.dataclass(frozen=True)
class Latents:
    """A coded picture seen from inside.

    Attributes:
        y_hat: float32 [h, w, N].
        mixture: of y_hat, `Mixture` with leading axes [h, w].
        y_bits: float32 [h, w, N].
        z_bits: float32 [h / 4, w / 4, N].
        size: bytes of the file.
        quality: or None for a fixed rate.
    """

    y_hat: np.ndarray
    mixture: Mixture
    y_bits: np.ndarray
    z_bits: np.ndarray
    size: int
    quality: float | None


def look_inside(model_name: str | None, image: np.ndarray, quality: float | None) -> Latents:
    """Codes uint8 [H, W, 3] and returns what the float model thinks of its latents."""
    stored = registry.read_model(model_name)
    codec, model = gllmm_tf.Codec.of(stored), CompressionModel.load(stored)
    encoded = codec.encode(image, quality)
    y_hat, z_hat = (tf.cast(latent, tf.float32)[None] for latent in encoded.latents)
    inverse_z, phi_offset = 1.0, 0.0
    if model.gains is not None:
        quality = codec.decode(encoded.data).quality
        own = tf.constant([quality - stored.config.first_quality + 1], tf.float32)
        _, _, _, inverse_z, phi_offset = model.gains(own)
    phi = tf.cast(model.h_s(z_hat * inverse_z), tf.float32) + phi_offset
    mixture = model.mixture(y_hat, phi)
    return Latents(
        y_hat=y_hat[0].numpy(),
        mixture=mixture,
        y_bits=mixture.bits(y_hat)[0].numpy(),
        z_bits=model.z_bottleneck(z_hat)[0].numpy(),
        size=len(encoded.data),
        quality=quality,
    )


def per_position(y_bits: np.ndarray) -> np.ndarray:
    """Returns bits per pixel of every position, [h, w]."""
    return y_bits.sum(-1) / LATENT_STRIDE**2


def per_channel(y_bits: np.ndarray) -> np.ndarray:
    """Returns bits of every channel, [N]."""
    return y_bits.sum((0, 1), dtype=np.float64)


def title_of(model: str | None, image_path: str, latents: Latents) -> str:
    """Returns the title of a figure of one picture at one quality."""
    name = os.path.basename(model or registry.DEFAULT_MODEL)
    at = "" if latents.quality is None else f", quality {latents.quality:g}"
    return f"{os.path.basename(image_path)}, {name}{at}, {latents.size:,} bytes"


def define_flags(name: str) -> None:
    """Defines the flags of a program that looks into one picture and writes NAME.png and NAME.csv."""
    flags.DEFINE_string("image", places.SAMPLES[0], "Picture.")
    program.define_model()
    flags.DEFINE_float("quality", None, "Of a variable-rate model; default: its default.")
    flags.DEFINE_string("output", f"{places.RESULTS}/{name}", "Beginning of the files' paths.")
