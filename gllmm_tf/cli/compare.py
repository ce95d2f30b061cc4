"""The command `compare`: a page with two versions of a picture under a slider, which works offline."""

from __future__ import annotations

import argparse
import base64
import html
import io
import json
import math
import os
import pathlib
from typing import NamedTuple

import numpy as np
from PIL import Image

from gllmm_tf import metrics
from gllmm_tf.cli import rivals
from gllmm_tf.cli.formats import LADDERS
from gllmm_tf.cli.job import Abort
from gllmm_tf.cli.jobs import Codecs, read_gllmm
from gllmm_tf.cli.reports import failure, one_line, say
from gllmm_tf.errors import GllmmError
from gllmm_tf.files import atomic, container, images

TEMPLATE = pathlib.Path(__file__).with_name("compare.html")
MARK = b"<!-- gllmm compare -->"


class Version(NamedTuple):
    """One way to show the picture.

    Attributes:
        name: Of the codec or file, with its setting.
        image: uint8 [H, W, 3].
        size: Bytes of its file.
    """

    name: str
    image: np.ndarray
    size: int


def compare(args: argparse.Namespace) -> int:
    """Writes the page."""
    try:
        _check_page(args.output, args.overwrite)
        page = _page(args)
        atomic.write_bytes_atomic(args.output, page)
    except (GllmmError, OSError) as error:
        raise Abort(failure(None, error)) from error
    say(f"{one_line(args.output)}: {len(page)} bytes")
    return 0


def _check_page(path: str, overwrite: bool) -> None:
    atomic.check_target(path, path + os.sep)
    if overwrite or not os.path.isfile(path) or not os.path.getsize(path):
        return
    with open(path, "rb") as file:
        if MARK not in file.read(256):
            raise GllmmError(
                f"{path}: exists and is no page of compare; name another, or --overwrite"
            )


def _page(args: argparse.Namespace) -> bytes:
    codecs = Codecs(args)
    specs = args.versions
    original = args.picture or next((s for s in specs[:1] if _is_picture(s)), None)
    pixels = images.read_image(original, args.max_pixels).pixels if original else None
    maker = _Maker(args, codecs, pixels)
    versions: dict[int, Version] = {}
    # What takes the size of the other one comes last.
    for index in sorted(range(2), key=lambda i: maker.is_free(specs[i])):
        other = versions.get(1 - index)
        versions[index] = maker.version(specs[index], other.size if other else None)
    first, second = versions[0], versions[1]
    if first.image.shape != second.image.shape:
        raise GllmmError(f"{specs[0]} and {specs[1]} are pictures of different sizes")
    if pixels is not None and pixels.shape != first.image.shape:
        raise GllmmError(f"{original} has another size than {specs[0]}")
    return render([first, second], pixels, os.path.basename(original or specs[0]))


def _is_picture(spec: str) -> bool:
    if not os.path.isfile(spec):
        return False
    with open(spec, "rb") as file:
        return not file.read(4).startswith(container.MAGIC)


class _Maker:
    """Makes versions of one picture."""

    def __init__(self, args: argparse.Namespace, codecs: Codecs, pixels: np.ndarray | None):
        self._args, self._codecs, self._pixels = args, codecs, pixels

    def is_free(self, spec: str) -> bool:
        """Whether the version has no size of its own, so that it takes that of the other one."""
        return not os.path.isfile(spec) and spec in LADDERS

    def version(self, spec: str, limit: int | None) -> Version:
        """The version that is asked for; `limit`: bytes for a codec without a setting."""
        if os.path.isfile(spec):
            return self._of_file(spec)
        codec, _, setting = spec.partition("@")
        if self._pixels is None:
            raise GllmmError(f"{spec}: is no file, so it needs the original: --picture FILE")
        if codec in LADDERS:
            return self._of_rival(codec, setting, limit)
        try:
            quality = float(spec)
        except ValueError:
            known = ", ".join(LADDERS)
            raise GllmmError(f"{spec}: no file, no quality and none of {known}") from None
        encoded = self._codecs.chosen().encode(self._pixels, quality)
        shown = self._codecs.chosen().decompress(encoded.data)
        return Version(f"gllmm, quality {encoded.quality:g}", shown, len(encoded.data))

    def _of_rival(self, codec: str, setting: str, limit: int | None) -> Version:
        if setting:
            data = rivals.encode(codec, self._pixels, setting)
        elif limit is None:
            raise GllmmError(f"{codec}: give one of both a setting, as {codec}@50")
        else:
            setting, data = rivals.fit(codec, self._pixels, limit)
        return Version(f"{codec}@{setting}", rivals.decode(data), len(data))

    def _of_file(self, path: str) -> Version:
        size, name = os.path.getsize(path), os.path.basename(path)
        if _is_picture(path):
            return Version(name, images.read_image(path, self._args.max_pixels).pixels, size)
        data, contents = read_gllmm(path, self._args.max_pixels)
        chosen = self._args.model
        codec = self._codecs.chosen() if chosen else self._codecs.with_identity(contents.model_id)
        return Version(name, codec.decompress(data, max_pixels=self._args.max_pixels), size)


def render(versions: list[Version], original: np.ndarray | None, title: str) -> bytes:
    """The page; `original`: uint8 [H, W, 3], or None where it is not known."""
    facts = [_facts(version, original) for version in versions]
    data = {
        "versions": facts,
        "original": None if original is None else data_uri(original),
        "width": versions[0].image.shape[1],
        "height": versions[0].image.shape[0],
    }
    text = json.dumps(data, allow_nan=False).replace("<", "\\u003c")  # No text ends its element.
    title = html.escape(title.encode("utf-8", "backslashreplace").decode())
    page = TEMPLATE.read_text(encoding="utf-8")
    return page.replace("{{title}}", title, 2).replace("{{data}}", text, 1).encode()


def _facts(version: Version, original: np.ndarray | None) -> dict:
    height, width = version.image.shape[:2]
    psnr = ms_ssim = None
    if original is not None:
        psnr, ms_ssim = (
            metrics.psnr(original, version.image),
            metrics.ms_ssim(original, version.image),
        )
    return {
        "name": one_line(version.name),
        "bytes": version.size,
        "bpp": 8 * version.size / (height * width),
        "psnr": psnr if psnr is None or math.isfinite(psnr) else None,
        "exact": psnr is not None and math.isinf(psnr),
        "ms_ssim": ms_ssim,
        "src": data_uri(version.image),
    }


def data_uri(image: np.ndarray) -> str:
    """uint8 [H, W, 3] as lossless WebP in a data URI; PNG for what is too large for WebP."""
    file = io.BytesIO()
    kind = "WEBP" if max(image.shape) < 1 << 14 else "PNG"
    options = {"lossless": True, "quality": 80} if kind == "WEBP" else {}
    Image.fromarray(image).save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
