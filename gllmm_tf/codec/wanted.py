"""What a file shall keep in place of a quality: a size, a rate or a PSNR, as it is asked for."""

from __future__ import annotations

import dataclasses
import math
import re

from gllmm_tf.errors import GllmmError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


@dataclasses.dataclass(frozen=True)
class Target:
    """What a file shall keep.

    Attributes:
        kind: "size", bytes of the file at most; "bpp", bits per pixel of the file at most; or "psnr",
            dB of the decoded picture at least.
        value: The limit.
    """

    kind: str
    value: float

    @property
    def argument(self) -> str:
        """Name of the argument that sets it."""
        return f"target_{self.kind}"


def parse_size(size: float | str) -> int:
    """Bytes of a number, or of a text such as "200k" or "1.5M" (thousands and millions of bytes).

    Raises:
        GllmmError: it is none, or below one byte.
    """
    found = re.fullmatch(r"([0-9]*\.?[0-9]+)([kmg]?)b?", str(size).strip().lower())
    value = int(float(found[1]) * _UNITS[found[2]]) if found else 0
    if value < 1:
        raise GllmmError(
            f"target size is {size}, it must be a number of bytes, as 20000, 20k or 1.5M",
            "target_size",
        )
    return value


def chosen(
    size: float | str | None = None, bpp: float | None = None, psnr: float | None = None
) -> Target | None:
    """The target that is given, or None.

    Raises:
        GllmmError: more than one is given, or its value is no positive number.
    """
    candidates = {"size": size, "bpp": bpp, "psnr": psnr}
    given = {kind: value for kind, value in candidates.items() if value is not None}
    if not given:
        return None
    if len(given) > 1:
        names = " and ".join(f"target_{kind}" for kind in given)
        raise GllmmError(f"{names} cannot both be kept; give one of them", f"target_{[*given][-1]}")
    (kind, value), *_ = given.items()
    if kind == "size":
        return Target(kind, parse_size(value))
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise GllmmError(
            f"target {kind} is {value}, it must be a positive number", f"target_{kind}"
        )
    return Target(kind, number)


def check_beside_quality(target: Target | None, quality: float | None) -> None:
    """Raises GllmmError where both a target and a quality are given."""
    if target and quality is not None:
        raise GllmmError("the target chooses the quality; omit one of them", target.argument)
