"""The precision in which layers are made, and what the processor does fast."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
"""Of x86 processors with instructions for products of bfloat16."""


@contextlib.contextmanager
def in_policy(name: str) -> Iterator[None]:
    """Layers that are made inside have this policy of Keras, whatever the process has set."""
    policy = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(name)
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(policy)


@contextlib.contextmanager
def in_float32() -> Iterator[None]:
    """Layers that are made inside are float32, whatever the process has set."""
    with in_policy("float32"):
        yield


def processor_flags(cpuinfo: str = "/proc/cpuinfo") -> frozenset[str]:
    """What an x86 processor can do, by Linux' names; empty for others and where nothing tells."""
    try:
        with open(cpuinfo, encoding="utf-8") as f:
            return frozenset(next((line.split() for line in f if line.startswith("flags")), ()))
    except OSError:
        return frozenset()


def emulates_bfloat16(cpuinfo: str = "/proc/cpuinfo") -> bool:
    """Whether convolutions in bfloat16 are slow: no GPU, and an x86 processor without AVX-512."""
    flags = processor_flags(cpuinfo)
    return bool(flags) and "avx512f" not in flags and not _has_gpu()


def has_fast_bfloat16(cpuinfo: str = "/proc/cpuinfo") -> bool:
    """Whether convolutions in bfloat16 are faster than in float32: an x86 processor that has them."""
    return not BFLOAT16_FLAGS.isdisjoint(processor_flags(cpuinfo)) and not _has_gpu()


def _has_gpu() -> bool:
    return bool(tf.config.list_physical_devices("GPU"))
