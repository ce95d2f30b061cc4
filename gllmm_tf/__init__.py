"""Learned image compression with Gaussian-Laplacian-logistic mixtures (Fu et al., arXiv 2107.06463).

    import gllmm_tf
    codec = gllmm_tf.Codec.load()              # the default model, weights inside the package
    data = codec.compress(pixels, quality=4)   # uint8 [H, W, 3] -> bytes of a .gllmm file
    pixels = codec.decompress(data)

    model = gllmm_tf.CompressionModel.load()   # the same networks with gradients
    out = model(x, quality=4)                  # float32 [B, H, W, 3] in 0..1
    gllmm_tf.losses.rate_distortion_loss(x, out, lambdas=0.01)

    gllmm_tf.register_pillow()                 # then PIL.Image opens and saves .gllmm files

`dir(gllmm_tf)` lists what there is. Importing the package is cheap; TensorFlow is loaded with the first
use of what needs it, which the codec does not where onnxruntime is installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gllmm_tf import legacy_keras

if TYPE_CHECKING:  # what `__getattr__` finds, for type checkers and editors
    from gllmm_tf import config, errors, layers, losses, metrics
    from gllmm_tf.codec.base import Codec
    from gllmm_tf.config import ModelConfig
    from gllmm_tf.files.images import read_image, write_image
    from gllmm_tf.model.compression import CompressionModel
    from gllmm_tf.pillow_plugin import register_pillow
    from gllmm_tf.zoo.registry import models

__version__ = "0.1.0"

__all__ = [
    "Codec",
    "CompressionModel",
    "ModelConfig",
    "__version__",
    "config",
    "errors",
    "layers",
    "losses",
    "metrics",
    "models",
    "read_image",
    "register_pillow",
    "write_image",
]

_HOMES = {
    "Codec": "gllmm_tf.codec.base",
    "CompressionModel": "gllmm_tf.model.compression",
    "ModelConfig": "gllmm_tf.config",
    "models": "gllmm_tf.zoo.registry",
    "read_image": "gllmm_tf.files.images",
    "write_image": "gllmm_tf.files.images",
    "register_pillow": "gllmm_tf.pillow_plugin",
}
_MODULES = ("config", "errors", "layers", "losses", "metrics")

legacy_keras.prefer()  # before anything imports TensorFlow


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"gllmm_tf.{name}")
    raise AttributeError(f"module 'gllmm_tf' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
