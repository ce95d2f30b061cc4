"""onnxruntime: the sessions that run ONNX models on the processor."""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
import re
import weakref
from collections.abc import Callable
from types import ModuleType

import numpy as np

from gllmm_tf.errors import GllmmError
from gllmm_tf.portable import workers

NEEDED = (
    1,
    16,
)  # the first version for NumPy arrays of any supported Python; opset 17 came with 1.12
_NO_MEMORY = "Failed to allocate memory", "bad allocation", "bad_alloc"
_INSTALL = "pip install 'onnxruntime>={}.{}'".format(*NEEDED)

_sessions: weakref.WeakSet = weakref.WeakSet()


@functools.cache
def onnxruntime() -> ModuleType:
    """The module onnxruntime.

    Raises:
        GllmmError: it is missing, broken or too old.
    """
    try:
        module = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise GllmmError(
            f"the portable backend needs onnxruntime, which cannot be imported ({error}): {_INSTALL}"
        ) from None
    found = tuple(int(part) for part in re.findall(r"\d+", module.__version__)[:2])
    if found < NEEDED:
        raise GllmmError(
            f"the portable backend needs onnxruntime {NEEDED[0]}.{NEEDED[1]} or later, "
            f"not {module.__version__}: {_INSTALL}"
        )
    return module


def session(model: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """A function from the ONNX model's only input to its only output, NumPy arrays.

    Threads do not spin while they wait, and memory is not kept between runs: both belong to whoever
    else is working.
    """
    runtime = onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = workers.cores()
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4  # an exception says it all
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    made = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    _sessions.add(made)
    (name,) = (i.name for i in made.get_inputs())

    def run(x):
        try:
            return made.run(None, {name: x})[0]
        except Exception as error:  # onnxruntime's own classes differ between versions
            if any(text in str(error) for text in _NO_MEMORY):
                raise MemoryError(str(error)) from error
            raise

    return run


def keep_sessions() -> None:
    """In a forked child no session ever ends: it would wait for its threads, which only the parent has."""
    for made in list(_sessions):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(made))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=keep_sessions)
