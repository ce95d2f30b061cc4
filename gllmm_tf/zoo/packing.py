"""Arrays of two-byte numbers in fewer bytes, for model files that ship. Needs no TensorFlow.

A packed array `packed/KIND/NAME` is uint8 [2, ...]: the high bytes of 16-bit words, then the low ones,
which deflate takes to fewer bits apart than side by side. KIND says what the words are of the array NAME:

    float16   its bits.
    int16     its integers, zigzag: 0, -1, 1, -2, .. as 0, 1, 2, 3, ..
    steps     zigzag integers k of the float16 values k 2^e; e is `packed/exponent/NAME`, int8, one for
              each index of the last axis.
    change    zigzag of what differs from the array NAME of the model whose identity is the text
              `packed/base`: of integers, or of the bits of float16 in the order of the values.

All of it is exact: what comes out is what went in, so a model's identity does not change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

PREFIX = "packed/"
BASE = "packed/base"
SIGNIFICANT_BITS = 11  # of float16

Arrays = dict[str, np.ndarray]


def pack(arrays: Mapping[str, np.ndarray], base: Mapping[str, np.ndarray] | None = None) -> Arrays:
    """The arrays, those of two-byte numbers packed.

    Args:
        arrays: {name: array}.
        base: {name: array} of the model that it was trained on from, or None. The caller adds `BASE`.
    """
    packed: Arrays = {}
    for name, array in arrays.items():
        kind = {"f": "float16", "i": "int16"}.get(array.dtype.kind)
        if array.dtype.itemsize != 2 or not array.ndim or kind is None:
            packed[name] = array
        elif base is not None and name in base and base[name].shape == array.shape:
            change = _ordered(array) - _ordered(base[name])
            packed[f"{PREFIX}change/{name}"] = _planes(_zigzag(change))
        elif kind == "float16":
            _pack_floats(packed, name, array)
        else:
            packed[f"{PREFIX}int16/{name}"] = _planes(_zigzag(array))
    return packed


def unpack(arrays: Mapping[str, np.ndarray], read_base: Callable[[bytes], Arrays]) -> Arrays:
    """The inverse of `pack`.

    Args:
        arrays: What a file holds, packed or not.
        read_base: Returns {name: array} of the model of an identity.

    Raises:
        KeyError, ValueError: they are not such arrays.
    """
    base: Arrays = {}
    if BASE in arrays:
        base = read_base(bytes.fromhex(str(arrays[BASE])))
    found: Arrays = {}
    for name, array in arrays.items():
        if not name.startswith(PREFIX):
            found[name] = array
            continue
        kind, _, own = name[len(PREFIX) :].partition("/")
        if kind == "float16":
            found[own] = _words(array).view(np.float16)
        elif kind == "int16":
            found[own] = _from_zigzag(_words(array))
        elif kind == "steps":
            exponent = arrays[f"{PREFIX}exponent/{own}"].astype(np.float64)
            found[own] = (_from_zigzag(_words(array)) * 2.0**exponent).astype(np.float16)
        elif kind == "change":
            before = base[own]
            ordered = _ordered(before) + _from_zigzag(_words(array))
            found[own] = _from_ordered(ordered, before.dtype)
        elif kind not in ("base", "exponent"):
            raise ValueError(f"packed as {kind!r}, which this version does not know")
    return found


def to_steps(array: np.ndarray, bits: int) -> np.ndarray:
    """Values rounded to whole multiples of a power of two, one for each index of the last axis.

    Args:
        array: Real numbers, [..., C].
        bits: Of the largest multiple and its sign; 12 at most, which float16 holds exactly.

    Returns:
        float16, of the same shape.
    """
    rows = np.asarray(array, np.float64).reshape(-1, array.shape[-1])
    largest = np.max(np.abs(rows), 0)
    exponent = np.ceil(np.log2(np.maximum(largest, 2.0**-14))) - (bits - 1)
    step = 2.0 ** np.maximum(exponent, -24)  # the smallest of float16
    most = 2.0 ** (bits - 1) - 1
    return (np.clip(np.round(array / step), -most, most) * step + 0.0).astype(np.float16)  # no -0


def _pack_floats(packed, name, array):
    if array.ndim > 1 and np.all(np.isfinite(array)):
        exponent = _common_exponent(array)
        steps = array.astype(np.float64) * 2.0**-exponent
        has_lost_sign = np.any(np.signbit(array) & (array == 0))
        if np.max(np.abs(steps), initial=0) < 2**SIGNIFICANT_BITS and not has_lost_sign:
            packed[f"{PREFIX}steps/{name}"] = _planes(_zigzag(steps.astype(np.int16)))
            packed[f"{PREFIX}exponent/{name}"] = exponent.astype(np.int8)
            return
    packed[f"{PREFIX}float16/{name}"] = _planes(array.view(np.uint16))


def _common_exponent(array):
    """The largest e of each index of the last axis for which all values are multiples of 2^e."""
    rows = np.asarray(array, np.float64).reshape(-1, array.shape[-1])
    units = np.round(rows * 2.0**24).astype(np.int64)  # float16 has no smaller unit
    joined = np.bitwise_or.reduce(np.abs(units), 0)
    lowest = joined & -joined
    return np.where(joined > 0, np.log2(np.maximum(lowest, 1)) - 24, 0)


def _ordered(array):
    """int16 whose order is that of the values: neighbours among float16 are neighbours here."""
    if array.dtype.kind == "i":
        return array
    return _other_way_below_zero(array.view(np.int16))


def _from_ordered(ordered, dtype):
    if dtype.kind == "i":
        return ordered
    return _other_way_below_zero(ordered).view(np.float16)


def _other_way_below_zero(integers):
    """Its own inverse: sign and magnitude to an order, in which -0 is just below 0."""
    return np.where(integers < 0, integers ^ np.int16(0x7FFF), integers)


def _zigzag(integers):
    """uint16 of int16; sums that overflow come back right."""
    return ((integers << 1) ^ (integers >> 15)).view(np.uint16)


def _from_zigzag(words):
    return ((words >> 1) ^ (np.uint16(0) - (words & 1))).view(np.int16)


def _planes(words):
    words = np.ascontiguousarray(words, np.uint16)
    return np.stack([(words >> 8).astype(np.uint8), words.astype(np.uint8)])


def _words(planes):
    if planes.dtype != np.uint8 or planes.shape[:1] != (2,):
        raise ValueError("a packed array is not two planes of bytes")
    return (planes[0].astype(np.uint16) << 8) | planes[1]
