"""Files of at most a size, or of at least a PSNR: the quality that meets it, in few attempts.

Bytes and PSNR grow with the quality, so the border between the qualities that meet a target and those
that do not is found by bisection over sixteenths of a quality. The next guess is interpolated between
what is known, which takes about four attempts of 113 qualities. Only what was measured counts: a file
that was made is never larger than the target, a picture that was decoded never worse.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable

from gllmm_tf.codec.encoding import Encoded, Encoding
from gllmm_tf.errors import GllmmError, ImageError, ModelError

PSNR_TOLERANCE = 0.02  # dB above the target, closer than which no finer attempt is made

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_DOUBLING = (
    28  # sixteenths of a quality in which a file's size doubles, about: for the second guess
)
_DB = 0.09  # dB for a sixteenth, about
_TRIM = 1 / 512  # the step of `Encoding.latents`' trim
_TRIMS = 64  # steps of it, far more than a sixteenth of a quality is worth
_GUESSES = 6  # that are interpolated; plain halving comes after them
_DB_OF_TRIM = 0.02  # dB for such a step, about


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


def encode(work: Encoding, target: Target, highest: int | None) -> Encoded:
    """The best file of a picture that keeps a target.

    Args:
        work: The picture.
        target: What is to be kept.
        highest: The model's highest quality index; None for a fixed rate.

    Raises:
        ModelError: the rate is fixed. ImageError: no quality of the model keeps the target.
    """
    if highest is None:
        raise ModelError("this model has one fixed rate; omit the target", target.argument)
    work.keep_features()
    if target.kind == "psnr":
        return _of_psnr(work, target.value, highest)
    height, width = work.size
    limit = target.value if target.kind == "size" else target.value * height * width / 8
    return _of_size(work, math.floor(limit), highest, target)


def _of_size(work: Encoding, limit: int, highest: int, target: Target) -> Encoded:
    best: list[Encoded] = []
    smallest = math.inf

    def measure(index):
        nonlocal smallest
        encoded = work.at(index)
        smallest = min(smallest, len(encoded.data))
        if len(encoded.data) <= limit:
            best[:] = [encoded]
        return math.log2(len(encoded.data))

    largest_within(measure, math.log2(max(limit, 0.5)), highest, 1 / _DOUBLING)
    if not best:
        held = sum(map(len, work.metadata.values()))
        metadata = f", {held} of them metadata," if held else ""
        raise ImageError(
            f"cannot be held in {limit} bytes: at the lowest quality it takes {smallest}{metadata}; "
            "raise the target or make the picture smaller",
            target.argument,
        )
    return best[0]


def _of_psnr(work: Encoding, target: float, highest: int) -> Encoded:
    psnr_of: dict[int, float] = {}
    below = math.nextafter(target, 0)

    def measure(index):
        psnr_of[index] = work.psnr(work.latents(index), index)
        return psnr_of[index]

    index = largest_within(measure, below, highest, _DB) + 1
    if index > highest:
        raise ImageError(
            f"cannot be held at {target:g} dB: at the highest quality it has "
            f"{psnr_of[highest]:.2f} dB; lower the target",
            "target_psnr",
        )
    trim = 0
    if not work.refined and psnr_of[index] > target + PSNR_TOLERANCE:

        def loss(steps):
            return -work.psnr(work.latents(index, _TRIM * steps), index)

        known = {0: -psnr_of[index]}
        trim = largest_within(loss, -target, _TRIMS, _DB_OF_TRIM, known, PSNR_TOLERANCE)
    return work.file_of(work.latents(index, _TRIM * trim), index)


def largest_within(
    measure: Callable[[int], float],
    limit: float,
    top: int,
    growth: float,
    known: dict[int, float] | None = None,
    tolerance: float = 0.0,
) -> int:
    """The largest of 0..top whose measure is at most `limit`; -1 if there is none.

    Args:
        measure: A function that grows, apart from little exceptions: then the result is one of the
            places where it passes the limit.
        limit: Of the measure.
        top: The largest number to try.
        growth: Of the measure from a number to the next, about.
        known: {number: measure} that is known already.
        tolerance: Distance below the limit that is near enough to end the search.
    """
    known = dict(known or {})
    low, high = -1, top + 1  # measure(low) <= limit < measure(high)
    for index in sorted(known):
        low, high = (index, high) if known[index] <= limit else (low, min(index, high))
    attempts = 0
    while high - low > 1 and not (tolerance and known.get(low, -math.inf) >= limit - tolerance):
        index = (low + high) // 2
        if known and attempts < _GUESSES:
            index = min(max(_guess(known, limit, growth), low + 1), high - 1)
        known[index] = measure(index)
        low, high = (index, high) if known[index] <= limit else (low, index)
        attempts += 1
    return low


def _guess(known: dict[int, float], limit: float, growth: float) -> int:
    """Where a line through the two nearest measures passes the limit."""
    nearest, *others = sorted(known, key=lambda index: abs(known[index] - limit))[:2]
    for other in others:
        slope = (known[other] - known[nearest]) / (other - nearest)
        growth = slope if slope > 0 else growth
    return math.floor(nearest + (limit - known[nearest]) / growth)
