"""Learned image compression with Gaussian-Laplacian-logistic mixtures (Fu et al., arXiv 2107.06463).

    import gllmm_tf
    codec = gllmm_tf.Codec.load()              # the default model, weights inside the package
    data = codec.compress(pixels, quality=4)   # uint8 [H, W, 3] -> bytes of a .gllmm file
    pixels = codec.decompress(data)

Importing the package is cheap; TensorFlow is loaded with the first use of what needs it.
"""

__version__ = "0.1.0"

_LAZY = {
    "Codec": "gllmm_tf.codec.codec",
    "models": "gllmm_tf.zoo.registry",
    "CompressionModel": "gllmm_tf.model.compression",
    "ModelConfig": "gllmm_tf.config",
}

__all__ = [*_LAZY, "__version__"]


def __getattr__(name):
    if name not in _LAZY:
        raise AttributeError(f"module 'gllmm_tf' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
