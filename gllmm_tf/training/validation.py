"""What a trained model does to pictures once it is a codec: real files, real pixels.

    model file --> Codec --> compress, decompress --> bytes, uint8 pictures

Training judges a model by the information content that its float networks estimate. Here the same
pictures go through the exported model and the coder, header included.
"""

from typing import NamedTuple

import numpy as np

from gllmm_tf import metrics
from gllmm_tf.codec.base import Codec


class Files(NamedTuple):
    """The files of some pictures at one quality.

    Attributes:
        bpp: Mean size of the files, in bits per pixel.
        psnr: Mean PSNR of the decoded pictures in dB.
        decoded: uint8 [count, height, width, 3].
    """

    bpp: float
    psnr: float
    decoded: np.ndarray


def compress(path, pictures):
    """Compresses and decompresses pictures with a model file.

    Args:
        path: Of the model file.
        pictures: uint8 [count, height, width, 3].

    Returns:
        `Files` of every integer quality, a list; of the one rate that is fixed.
    """
    codec = Codec.load(path)
    return [_files(codec, pictures, quality) for quality in codec.qualities or [None]]


def _files(codec, pictures, quality):
    height, width = pictures.shape[1:3]
    files = [codec.compress(picture, quality) for picture in pictures]
    decoded = np.stack([codec.decompress(file) for file in files])
    return Files(
        bpp=8.0 * sum(map(len, files)) / (len(files) * height * width),
        psnr=float(np.mean([metrics.psnr(a, b) for a, b in zip(pictures, decoded)])),
        decoded=decoded,
    )


def side_by_side(pictures, decoded):
    """uint8 [count, height, 2 width, 3]: each original with what was decoded on its right."""
    return np.concatenate([pictures, decoded], axis=2)
