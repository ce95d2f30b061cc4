"""A picture, an alpha channel and a profile."""

import numpy as np
import pytest
from files.pictures import SIZE
from PIL import Image, ImageCms

from gllmm_tf.files.colour import make_profile


@pytest.fixture(scope="module")
def rgb():
    """A picture with gradients and noise, so that a swapped axis or channel shows."""
    x, y = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    pixels = np.stack([8 * x, 12 * y, 4 * (x + y)], axis=-1)
    noise = np.random.default_rng(7).integers(0, 16, pixels.shape)
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def alpha():
    values = np.random.default_rng(8).integers(0, 256, SIZE[::-1], dtype=np.uint8)
    return Image.fromarray(values)


@pytest.fixture(scope="module")
def srgb_profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(scope="module")
def wide_profile():
    """Adobe RGB, by its numbers."""
    return make_profile((0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06), (2.2,))
