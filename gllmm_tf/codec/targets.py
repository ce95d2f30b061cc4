"""Files of at most a size, or of at least a PSNR: the quality that meets it, in few attempts.

Bytes and PSNR grow with the quality, so the border between the qualities that meet a target and those
that do not is found by bisection over sixteenths of a quality. The next guess is interpolated between
what is known, which takes about four attempts of 113 qualities. Only what was measured counts: a file
that was made is never larger than the target, a picture that was decoded never worse.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from gllmm_tf.codec.encoding import Encoded, Encoding
from gllmm_tf.codec.wanted import Target
from gllmm_tf.errors import ImageError, ModelError

PSNR_TOLERANCE = 0.02  # dB above the target, closer than which no finer attempt is made

_DOUBLING = (
    28  # sixteenths of a quality in which a file's size doubles, about: for the second guess
)
_DB = 0.09  # dB for a sixteenth, about
_TRIM = 1 / 512  # the step of `Encoding.latents`' trim
_TRIMS = 64  # steps of it, far more than a sixteenth of a quality is worth
_GUESSES = 6  # that are interpolated; plain halving comes after them
_DB_OF_TRIM = 0.02  # dB for such a step, about


def encode(work: Encoding, target: Target, highest: int | None) -> Encoded:
    """The best file of a picture that keeps a target.

    Args:
        work: The picture.
        target: What is to be kept.
        highest: The highest step of the codec's scale; None for a fixed rate.

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
