"""Arrays of two-byte numbers in fewer bytes, for model files that ship. Needs no TensorFlow.

A packed array `packed/KIND/NAME` is uint8 [2, ...]: the high bytes of 16-bit words, then the low ones,
which deflate takes to fewer bits apart than side by side. KIND says what the words are of the array NAME:

    float16   its bits.
    int16     its integers, zigzag: 0, -1, 1, -2, .. as 0, 1, 2, 3, ..
    change    zigzag of what differs from the array NAME of the model whose identity is the text
              `packed/base`: of integers, or of the bits of float16 in the order of the values.

All of it is exact: what comes out is what went in, so a model's identity does not change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

PREFIX = "packed/"
BASE = "packed/base"

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
            packed[f"{PREFIX}float16/{name}"] = _planes(array.view(np.uint16))
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
        elif kind == "change":
            before = base[own]
            ordered = _ordered(before) + _from_zigzag(_words(array))
            found[own] = _from_ordered(ordered, before.dtype)
        elif name != BASE:
            raise ValueError(f"packed as {kind!r}, which this version does not know")
    return found


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
