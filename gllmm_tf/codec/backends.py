"""Which library computes the networks: onnxruntime beside NumPy, or TensorFlow.

Both write and read the same files with the same symbols. Where both are installed `AUTO` takes the
portable one: it starts several times faster and is no slower afterwards (docs/results.md#backends).
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING

from gllmm_tf import memory
from gllmm_tf.errors import GllmmError

if TYPE_CHECKING:
    from gllmm_tf.codec.base import Codec

AUTO = "auto"
PORTABLE = "portable"
TENSORFLOW = "tensorflow"
BACKENDS = (AUTO, PORTABLE, TENSORFLOW)

INSTALL_TENSORFLOW = (
    "pip install 'gllmm_tf[tensorflow]', on a Python that it has wheels for (README)"
)
INSTALL_PORTABLE = "pip install onnxruntime"

_CLASSES = {
    PORTABLE: ("gllmm_tf.portable.codec", "PortableCodec"),
    TENSORFLOW: ("gllmm_tf.codec.tensorflow_codec", "TensorFlowCodec"),
}

# As measured, threads included; later on much more is needed, which depends on the picture.
_TO_LOAD = {
    PORTABLE: memory.Backend(resident=100, addresses=500),
    TENSORFLOW: memory.Backend(resident=600, addresses=1750),
}


def codec_class(backend: str = AUTO) -> type[Codec]:
    """The codec of a backend, which is loaded.

    Args:
        backend: One of `BACKENDS`.

    Raises:
        GllmmError: there is no such backend, or what it needs is not installed.
    """
    if backend not in BACKENDS:
        raise GllmmError(
            f"backend is {backend!r}, it must be one of {', '.join(BACKENDS)}", "backend"
        )
    if backend == AUTO:
        backend = _best()
    if backend == TENSORFLOW:
        need_tensorflow("this backend")
    elif "onnxruntime" not in sys.modules:
        memory.need(_TO_LOAD[PORTABLE], "the portable backend")
    module, name = _CLASSES[backend]
    return getattr(importlib.import_module(module), name)


def need_tensorflow(what: str, argument: str | None = "backend") -> None:
    """Raises GllmmError where TensorFlow is not installed or does not fit; does not load it."""
    if importlib.util.find_spec("tensorflow") is None:
        raise GllmmError(
            f"{what} needs TensorFlow, which is not installed: {INSTALL_TENSORFLOW}", argument
        )
    if "tensorflow" not in sys.modules:
        memory.need(_TO_LOAD[TENSORFLOW], "TensorFlow")


def _best() -> str:
    if importlib.util.find_spec("onnxruntime") is not None:
        return PORTABLE
    if importlib.util.find_spec("tensorflow") is not None:
        return TENSORFLOW
    raise GllmmError(
        f"neither onnxruntime nor TensorFlow is installed: {INSTALL_PORTABLE}", "backend"
    )
