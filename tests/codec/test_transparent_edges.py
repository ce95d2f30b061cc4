"""Filling what is invisible before coding: what it saves, with a trained model."""

import numpy as np
import pytest
from PIL import Image

import gllmm_tf
from gllmm_tf.files.transparency import fill_invisible

SIZE = 128


@pytest.fixture(scope="module")
def codec():
    return gllmm_tf.Codec.load("gllmm-n48")


@pytest.mark.parametrize("background", ["black", "white", "noise"])
def test_fewer_bytes_and_less_error_at_the_rim(codec, background):
    """At least a tenth of the bytes and a third of the error within eight pixels of the rim."""
    y, x = np.mgrid[:SIZE, :SIZE]
    distance = np.hypot(x - 64, y - 64)
    visible, rim = distance < 48, (distance < 48) & (distance >= 40)
    base = 120 + 50 * np.sin(y / 9) + 40 * np.cos(x / 13)
    rng = np.random.default_rng(3)
    picture = np.stack([base, 0.8 * base + 20, 230 - 0.7 * base], -1) + rng.normal(
        size=(SIZE, SIZE, 1)
    )
    values = {"black": 0, "white": 255, "noise": rng.integers(0, 256, (SIZE, SIZE, 3))}
    pixels = np.where(visible[..., None], picture, values[background]).clip(0, 255).astype(np.uint8)
    alpha = Image.fromarray(np.uint8(255 * visible))
    filled = np.array(fill_invisible(Image.fromarray(pixels), alpha))

    sizes, errors = [], []
    for image in (pixels, filled):
        data = codec.compress(image, 4)
        error = (codec.decompress(data).astype(float) - pixels) ** 2
        sizes.append(len(data))
        errors.append(error[rim].mean())
    assert sizes[1] < 0.9 * sizes[0]
    assert errors[1] < 0.67 * errors[0]
