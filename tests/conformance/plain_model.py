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
LETTERS = {"<i2": "h", "<i4": "i", "<i8": "q", "<u2": "H", "<f2": "e", "<f4": "f"}


class Array:
    """A member of an archive.

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
        filters, families, components, qualities: N, names, K, Q (0 for a fixed rate).
        stages, widths: Of g_s; three trunk widths.
        exact: `{name: Array}` without the prefix.
        g_s, gains: Lists of `Array`.
    """

    def __init__(self, path: str):
        arrays = read_arrays(path)
        self._config = arrays["config"].text()
        config = json.loads(self._config)
        self.filters = config["num_filters"]
        self.families = config["families"]
        self.components = config["components"]
        self.qualities = len(config["lambdas"])
        self.stages = config["stages"]
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
