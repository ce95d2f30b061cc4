"""Fills a picture up to multiples of 64, with what costs few bits: nobody sees it.

The transforms need whole blocks, so a picture is continued at the right and then at the bottom. The
continuation at distance d from the border is a mean of the border's pixels with weights

    d / (d^2 + k^2)        k = -64 .. 64, pixels along the border, mirrored at its ends

which is close to the harmonic continuation, the smoothest there is: detail fades within its own size,
large areas go on. It needs neither the bits of a reflection, which repeats all detail, nor those of the
streaks of a repeated border. `experiments/rate_distortion/padding_cost.py` has the figures.
"""

import numpy as np

from gllmm_tf.config import IMAGE_MULTIPLE

REACH = 64


def weights() -> np.ndarray:
    """float64 [63, 2 REACH + 1], a row per distance."""
    distance = np.arange(1.0, IMAGE_MULTIPLE)[:, None]
    rows = distance / (distance**2 + np.arange(-REACH, REACH + 1) ** 2)
    return rows / rows.sum(1, keepdims=True)


def strips(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is missing of a picture.

    Args:
        image: uint8 [H, W, C], at least one pixel.

    Returns:
        (right, bottom): uint8 [H, w, C] and [h, W + w, C] with W + w and H + h the next multiples of 64.
    """
    right = _continue(image[:, -1], -image.shape[1] % IMAGE_MULTIPLE)
    last = np.concatenate([image[-1], right[-1]], 0)
    bottom = _continue(last, -image.shape[0] % IMAGE_MULTIPLE)
    return right, bottom.transpose(1, 0, 2)


def _continue(line, count):
    """A border's pixels uint8 [n, C] to the `count` lines beyond it, uint8 [n, count, C]."""
    size = len(line)
    if not count:
        return np.empty([size, 0, line.shape[1]], np.uint8)
    place = (np.arange(size)[:, None] + np.arange(-REACH, REACH + 1)) % (2 * size)
    place = np.minimum(place, 2 * size - 1 - place)
    around = line.astype(np.float64)[place]  # [n, 2 REACH + 1, C]
    return np.rint(weights()[:count] @ around).astype(np.uint8)
