"""Model files and the three tables in plain Python: docs/format_model.md as code, nothing but the page.

Standard library only. Arrays are flat lists of numbers with a shape.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import struct
import zipfile

TABLES = {
    "cdf": "10c34bae0bfa9bb3a15dfb52ab85394539a9542a7b18a2c0fdb268b6281f2f47",
    "exp": "54539d601142f22717e3d2c8b01e128069312322426fb9655c134b5aa9ece3c2",
    "frequency": "aa9c46af4e675d901e0d87c32cb9c8989051a2742ad63f0e845f70b911912cab",
}
TABLES_DIGEST = "7ddddb50b0d527a9051e997fd6a50ab4c3707ef7432aad44b3a351bb485abe04"
LETTERS = {
    "|i1": "b",
    "|u1": "B",
    "<i2": "h",
    "<i4": "i",
    "<i8": "q",
    "<u2": "H",
    "<f2": "e",
    "<f4": "f",
}


class Array:
    """A member of an archive, from its file.

    Attributes:
        descr, shape: As its header has them.
        raw: Bytes of the values.
    """

    def __init__(self, data: bytes):
        if data[:8] != b"\x93NUMPY\x01\x00":
            raise ValueError("not an array in NumPy's format 1.0")
        (length,) = struct.unpack_from("<H", data, 8)
        header = ast.literal_eval(data[10 : 10 + length].decode("ascii"))
        if header["fortran_order"]:
            raise ValueError("the last index has to be the fastest one")
        self.descr, self.shape = header["descr"], header["shape"]
        self.raw = data[10 + length :]

    def values(self) -> list:
        """All numbers, last index fastest."""
        count = math.prod(self.shape)
        return list(struct.unpack(f"<{count}{LETTERS[self.descr]}", self.raw))

    def text(self) -> str:
        return self.raw.decode("utf-32-le").rstrip("\0")

    def fed(self, name: str) -> bytes:
        """What the array feeds to an identity."""
        return f"{name} {self.descr} {self.shape} ".encode("ascii") + self.raw


def made(descr: str, shape: tuple, values: list) -> Array:
    """An array of values."""
    array = Array.__new__(Array)
    array.descr, array.shape = descr, shape
    array.raw = struct.pack(f"<{len(values)}{LETTERS[descr]}", *values)
    return array


def unpacked(arrays: dict[str, Array], base: dict[str, Array]) -> dict[str, Array]:
    """The arrays with those that are packed as they were; base: those of the file's base, unpacked."""
    found = {}
    for name, array in arrays.items():
        if not name.startswith("packed/"):
            found[name] = array
            continue
        kind, _, own = name[len("packed/") :].partition("/")
        if kind == "base":
            continue
        shape, half = array.shape[1:], len(array.raw) // 2
        words = [high << 8 | low for high, low in zip(array.raw[:half], array.raw[half:])]
        if kind == "float16":
            found[own] = made("<u2", shape, words)
            found[own].descr = "<f2"
            continue
        values = [(w >> 1) ^ -(w & 1) for w in words]
        if kind == "int16":
            found[own] = made("<i2", shape, values)
        elif kind == "change":
            before = base[own]
            signed = [other_way_below_zero(v, before) for v in made_signed(before)]
            sums = [(a + b + 2**15) % 2**16 - 2**15 for a, b in zip(signed, values)]
            found[own] = made("<i2", shape, [other_way_below_zero(v, before) for v in sums])
            found[own].descr = before.descr
        else:
            raise ValueError(f"packed as {kind}, which the page does not know")
    return found


def made_signed(array: Array) -> list[int]:
    """The two-byte numbers of an array, or their bits, as signed integers."""
    return list(struct.unpack(f"<{len(array.raw) // 2}h", array.raw))


def other_way_below_zero(word: int, array: Array) -> int:
    """Of binary16 the place in the order of values, and back: its own inverse. Integers stay."""
    return word ^ 0x7FFF if array.descr == "<f2" and word < 0 else word


def read_arrays(path: str) -> dict[str, Array]:
    """All members of an `.npz` archive by name."""
    with zipfile.ZipFile(path) as archive:
        return {
            name[: -len(".npy")]: Array(archive.read(name))
            for name in archive.namelist()
            if name.endswith(".npy")
        }


def read_tables(path: str) -> dict[str, list[int]]:
    """`{cdf, exp, frequency: numbers}`; the checksums of the page have to fit."""
    arrays = read_arrays(path)
    state = hashlib.sha256()
    for name, digest in TABLES.items():
        raw = arrays[name].raw
        if hashlib.sha256(raw).hexdigest() != digest:
            raise ValueError(f"the table {name} is not that of format version 1")
        state.update(f"{name} {arrays[name].shape} ".encode("ascii") + raw)
    if state.hexdigest() != TABLES_DIGEST:
        raise ValueError("the tables' common checksum is another one")
    return {name: arrays[name].values() for name in TABLES}


class Model:
    """What a decoder needs of a model file.

    Attributes:
        filters, z_filters, deep: N, Z, D.
        families, components, qualities: Names, K, Q (0 for a fixed rate).
        stages, widths: Of g_s; three trunk widths.
        exact: `{name: Array}` without the prefix.
        g_s, gains: Lists of `Array`.
        base, base_index: Of an enhancement layer: identity of the model below in hexadecimal digits, and
            the quality index of its picture; "" for a model of pictures.
    """

    def __init__(self, path: str, base: str = ""):
        arrays = unpacked(read_arrays(path), read_arrays(base) if base else {})
        self._config = arrays["config"].text()
        config = json.loads(self._config)
        self.filters = config["num_filters"]
        self.z_filters = config.get("hyper_filters") or self.filters
        self.deep = config.get("deep_filters") or self.filters
        self.families = config["families"]
        self.components = config["components"]
        self.qualities = len(config["lambdas"])
        self.stages = config["stages"]
        self.base, self.base_index = config.get("base", ""), config.get("base_index", 0)
        self.widths = config.get("trunk_widths") or 3 * [self.filters]
        self.exact = {n[len("exact/") :]: a for n, a in arrays.items() if n.startswith("exact/")}
        self.g_s = [arrays[n] for n in sorted(arrays) if n.startswith("g_s/")]
        self.gains = [arrays[n] for n in sorted(arrays) if n.startswith("gains/")]

    @property
    def groups(self) -> int:
        """Parameters per element of y."""
        count = len(self.families)
        return 3 * count * self.components + (count if count > 1 else 0)

    def identity(self) -> bytes:
        """The 8 bytes that stand in the model's files."""
        state = hashlib.sha256(self._config.encode("utf-8"))
        state.update(bytes.fromhex(TABLES_DIGEST))
        for name in sorted(self.exact):
            state.update(self.exact[name].fed(name))
        for part, arrays in (("g_s", self.g_s), ("gains", self.gains)):
            for i, array in enumerate(arrays):
                state.update(array.fed(f"{part}/{i}"))
        return state.digest()[:8]
