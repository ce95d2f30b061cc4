"""An orthonormal transform of blocks of 4 x 4 pixels as kernels of convolutions. Needs no TensorFlow."""

from __future__ import annotations

import numpy as np


def analysis_kernels(components: np.ndarray) -> list[np.ndarray]:
    """Kernels [3, 3, 3, 12] and [3, 3, 12, M] of two convolutions of stride 2.

    The first makes channels of blocks of 2 x 2 pixels, the second coefficients of 2 x 2 of those. The first
    row and column are 0: such a convolution is centred on the first pixel of its block.

    Args:
        components: float [48, M], of a block [4, 4, 3] in raster order to its coefficients.
    """
    pixels = np.zeros([3, 3, 3, 12], np.float32)
    pixels[1:, 1:] = np.eye(12).reshape(2, 2, 3, 12)
    parts = np.zeros([3, 3, 12, components.shape[1]], np.float32)
    parts[1:, 1:] = _parts(components)
    return [pixels, parts]


def synthesis_kernels(components: np.ndarray) -> list[np.ndarray]:
    """Kernels [3, 3, M, 48] and [3, 3, 12, 12] of two sub-pixel convolutions: the analysis transposed."""
    parts = np.zeros([3, 3, components.shape[1], 48], np.float32)
    parts[1, 1] = _parts(components).transpose(3, 0, 1, 2).reshape(-1, 48)
    pixels = np.zeros([3, 3, 12, 12], np.float32)
    pixels[1, 1] = np.eye(12)
    return [parts, pixels]


def _parts(components):
    """[2, 2, 12, M]: the block's pixel (2 i + a, 2 j + b) is pixel (a, b) of its part (i, j)."""
    parts = components.reshape(2, 2, 2, 2, 3, -1).transpose(0, 2, 1, 3, 4, 5)
    return parts.reshape(2, 2, 12, -1)
