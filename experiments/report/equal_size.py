"""Pictures of several codecs at equal size: the largest quality whose file is not larger than ours."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from experiments.common.coders import Coder, learned_coder
from experiments.common.pictures import find_images
from experiments.common.program import ExperimentError
from gllmm_tf.config import DEFAULT_QUALITY

LADDERS = {  # settings that the search for an equal size tries, smallest file first
    "jpeg": [str(quality) for quality in range(1, 101)],
    "jpeg2000": [f"{ratio:.1f}" for ratio in np.geomspace(1000, 3, 200)],
    "jpeg2000-pillow": [f"{ratio:.1f}" for ratio in np.geomspace(1000, 3, 200)],
    "webp": [str(quality) for quality in range(101)],
    "avif": [str(quality) for quality in range(101)],
    "jpegxl": [f"{distance:.2f}" for distance in np.geomspace(25, 0.2, 100)],
    "heif": [str(quality) for quality in range(101)],
}
LOOK_AHEAD = 3  # sizes are not quite monotone: settings tried beyond the first that is too large


@dataclasses.dataclass(frozen=True)
class Version:
    """One picture after one codec.

    Attributes:
        codec: name as in the results.
        setting: of the codec.
        size: bytes of the file.
        image: uint8 [H, W, 3] that the decoder returned.
        fits: whether the file is not larger than ours.
    """

    codec: str
    setting: str
    size: int
    image: np.ndarray
    fits: bool = True


def version_of(coder: Coder, setting: str, image: np.ndarray) -> Version:
    """Encodes and decodes uint8 [H, W, 3] at a given setting."""
    data = coder.encode(image, setting)
    return Version(coder.name, setting, len(data), coder.decode(data, setting))


def fit_to_size(coder: Coder, ladder: Sequence[str], image: np.ndarray, limit: int) -> Version:
    """Returns a codec's picture at its largest setting whose file has at most `limit` bytes.

    Bisection, and then a few settings beyond, since sizes are not quite monotone. Where even the
    lowest setting is larger, that one is returned, with `fits` False.

    Args:
        coder: the codec.
        ladder: its settings, smallest file first.
        image: uint8 [H, W, 3].
        limit: bytes.
    """
    files = {}  # index into the ladder -> bytes of the file

    def fits(index: int) -> bool:
        if index not in files:
            files[index] = coder.encode(image, ladder[index])
        return len(files[index]) <= limit

    low, high = 0, len(ladder)  # the largest that fits is in [low, high), if any fits
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    for index in range(low + 1, min(low + 1 + LOOK_AHEAD, len(ladder))):
        if fits(index):
            low = index
    fitting, setting = fits(low), ladder[low]
    picture = coder.decode(files[low], setting)
    return Version(coder.name, setting, len(files[low]), picture, fitting)


def compare(image: np.ndarray, ours: Coder, rivals: Sequence[tuple[Coder, Sequence[str]]]) -> list:
    """Returns a list of versions per setting of ours: ours first, each rival at equal size then.

    Args:
        image: uint8 [H, W, 3].
        ours: its `settings` are the rates to show.
        rivals: pairs of a codec and its ladder.
    """
    points = []
    for setting in ours.settings:
        first = version_of(ours, setting, image)
        others = [fit_to_size(coder, ladder, image, first.size) for coder, ladder in rivals]
        points.append([first, *others])
    return points


def ours_at(model: str | None, qualities: Sequence[str]) -> Coder:
    """Returns our codec with the qualities to show as its settings.

    Args:
        model: name or path; None is the shipped default.
        qualities: of a variable-rate model; none for its default quality, and for a fixed rate.
    """
    coder = learned_coder("ours", [model])
    ends = [coder.settings[i].split("@")[0] for i in (0, -1)]
    try:
        lowest, highest = map(float, ends)
    except ValueError:  # the name of a model of fixed rate
        if qualities:
            raise ExperimentError(f"{ends[0]} has one fixed rate: omit --quality.") from None
        return coder
    try:
        qualities = [f"{float(quality):g}" for quality in qualities]
    except ValueError:
        raise ExperimentError(f"--quality takes numbers, got {','.join(qualities)}.") from None
    qualities = qualities or [f"{min(max(DEFAULT_QUALITY, lowest), highest):g}"]
    return dataclasses.replace(coder, settings=tuple(q + coder.tag(q) for q in qualities))


def choose_images(patterns: Sequence[str], chosen: Sequence[str]) -> dict[str, str]:
    """Returns name without suffix -> path of the chosen pictures, in the order of the request.

    Raises:
        ExperimentError: when one of them is not among the pictures.
    """
    found = find_images(patterns)
    by_stem = {os.path.splitext(name)[0]: path for name, path in found.items()}
    by_name = {**by_stem, **found}
    for name in chosen:
        if name not in by_name:
            raise ExperimentError(f"--chosen: no picture {name!r} among {', '.join(by_stem)}.")
    names = [os.path.splitext(name)[0] if name not in by_stem else name for name in chosen]
    return {name: by_stem[name] for name in names or list(by_stem)[:2]}
