"""Pictures for the experiments: finding, reading and drawing them."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from experiments.common.program import ExperimentError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".ppm")


def find_images(patterns: Sequence[str]) -> dict[str, str]:
    """Returns file name -> path of all pictures in folders, files and globs, sorted by name.

    Raises:
        ExperimentError: a pattern finds nothing, or two pictures have one file name.
    """
    paths = []
    for pattern in patterns:
        pattern = os.path.expanduser(pattern)
        if os.path.isdir(pattern):
            pattern = os.path.join(glob.escape(pattern), "*")
        found = [p for p in glob.glob(pattern) if p.lower().endswith(SUFFIXES)]
        if not found:
            raise ExperimentError(f"{pattern}: no pictures found.")
        paths += found
    names = {}
    for path in sorted(set(paths)):
        other = names.setdefault(os.path.basename(path), path)
        if other != path:
            raise ExperimentError(f"{path} and {other} have one file name; rename one of them.")
    return dict(sorted(names.items()))


def read_image(path: str) -> np.ndarray:
    """Returns a picture as uint8 [H, W, 3], upright.

    Raises:
        ExperimentError: it is no picture, or cannot be read.
    """
    try:
        with Image.open(path) as picture:
            return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except Image.UnidentifiedImageError:
        raise ExperimentError(f"{path}: not a picture.") from None
    except OSError as error:
        raise ExperimentError(f"{path}: {error.strerror or error}.") from None


def draw(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Returns a picture of smooth shapes, an edge and a little noise, uint8 [height, width, 3]."""
    rows, columns = np.mgrid[0:height, 0:width]
    periods, phases = rng.uniform(5, 30, 4), rng.uniform(0, 6, 3)
    base = 128 + 60 * np.sin(rows / periods[0] + phases[0]) + 50 * np.cos(columns / periods[1])
    base += 40 * (columns > width * rng.uniform(0.2, 0.8))
    colours = [base, 255 - base, 128 + 90 * np.sin((rows + columns) / periods[2] + phases[1])]
    pixels = np.stack(colours, -1) + rng.normal(size=(height, width, 3)) * 3
    return np.clip(pixels, 0, 255).astype(np.uint8)
