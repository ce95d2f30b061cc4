"""What is printed: notes and errors of one line, the report on a file, the table of `evaluate`."""

from __future__ import annotations

import argparse
import csv
import io
import os
import statistics
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TextIO

import numpy as np

from gllmm_tf import metrics
from gllmm_tf.errors import GllmmError, is_out_of_memory
from gllmm_tf.files import atomic, container, images
from gllmm_tf.files.metadata import NAMES
from gllmm_tf.zoo import registry

if TYPE_CHECKING:
    from gllmm_tf.codec.base import Codec, Encoded

PROGRAM = "gllmm"


def failure(path: str | None, error: BaseException) -> str | None:
    """Returns the line that tells the user about `error`, or None if it is a fault of ours."""
    if isinstance(error, GllmmError):
        text = error.with_flag()
    elif is_out_of_memory(error):
        text = "not enough memory; free some"
    elif isinstance(error, OSError):
        text, path = atomic.reason(error), error.filename or path
    else:
        return None
    return text if path is None or text.startswith(f"{path}: ") else f"{path}: {text}"


def complain(line: str) -> None:
    _write(f"{PROGRAM}: {one_line(line)}", sys.stderr)


class Notes:
    """Notes on files; what tells of something left out is told for one file of a run only."""

    def __init__(self, all_of_them: bool = False):
        self._all = all_of_them
        self._told: set[str] = set()

    def tell(self, path: str, notes: Iterable[str]) -> None:
        """Prints the notes on a file, on one line of stderr."""
        new = [note for note in notes if self._all or note not in self._told]
        if new:
            complain(f"{path}: note: {'; '.join(new)}")
        self._told.update(note for note in new if note.startswith(images.LEFT_OUT))


def say(text: str) -> None:
    _write(text, sys.stdout)


def _write(text: str, file: TextIO) -> None:
    from tqdm import tqdm

    tqdm.write(text, file=file)  # Moves a progress bar out of the way.
    file.flush()


def one_line(text: str) -> str:
    """Escapes what would break the line or the terminal; file names may hold anything."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def bpp(num_bytes: int, num_pixels: int) -> float:
    """Bits per pixel of the picture itself, whatever the networks padded it to."""
    return num_bytes * 8 / num_pixels


def stages(seconds: Mapping[str, float]) -> str:
    stages = ", ".join(f"{stage} {value:.2f} s" for stage, value in seconds.items())
    return f"{stages}; together {sum(seconds.values()):.2f} s"


def quality_of(pixels: np.ndarray, x_hat: np.ndarray) -> tuple[float, float | None]:
    return metrics.psnr(pixels, x_hat), metrics.ms_ssim(pixels, x_hat)


def compression_report(source: str, pixels: np.ndarray, x_hat: np.ndarray, encoded: Encoded) -> str:
    height, width = pixels.shape[:2]
    psnr, ms_ssim = quality_of(pixels, x_hat)
    smallest = metrics.MS_SSIM_MIN_SIZE
    similarity = f"- (needs {smallest} pixels a side)" if ms_ssim is None else f"{ms_ssim:.4f}"
    return (
        f"{one_line(source)}: {width} x {height}, {len(encoded.data)} bytes, "
        f"{bpp(len(encoded.data), width * height):.4f} bpp, PSNR {psnr:.2f} dB, MS-SSIM "
        f"{similarity}\n"
        f"  {stages(encoded.seconds)}"
    )


def info_report(path: str, data: bytes, contents: container.Container) -> str:
    c = contents
    payload = sum(map(len, c.metadata.values()))
    metadata = ", ".join(
        f"{NAMES.get(tag, f'unknown ({tag})')} {len(value)} bytes"
        for tag, value in c.metadata.items()
    )
    name = registry.name_of(c.model_id) or "not among the shipped ones"
    quality = f"{1 + c.quality_index / 16:g}" + ("" if c.quality_index else ", or fixed rate")
    return "\n".join(
        [
            one_line(str(path)),
            f"  picture    {c.width} x {c.height} pixels",
            f"  size       {len(data)} bytes, {bpp(len(data), c.width * c.height):.4f} bpp",
            f"  model      {name} ({c.model_id.hex()})",
            f"  quality    {quality}",
            f"  streams    z {len(c.z_stream)} bytes, y {len(c.y_stream)} bytes",
            f"  metadata   {metadata or 'none'}",
            f"  container  {len(data) - len(c.z_stream) - len(c.y_stream) - payload} bytes, "
            f"format version {container.VERSION}",
        ]
    )


class Row(NamedTuple):
    """One picture in the table of `evaluate`; "bpp" is of the whole file, times are in seconds."""

    file: str
    bytes: float
    bpp: float
    psnr: float
    ms_ssim: float | None
    encode_s: float
    decode_s: float


_FORMATS = ("{}", "{:.0f}", "{:.4f}", "{:.2f}", "{:.5f}", "{:.2f}", "{:.2f}")
_WIDTHS = (0, 9, 8, 7, 9, 9, 9)


def evaluate_picture(
    codec: Codec, path: str, picture: images.Picture, args: argparse.Namespace
) -> Row:
    start = time.perf_counter()
    data = codec.encode(
        picture.pixels, args.quality, metadata=picture.metadata, refine=args.refine
    ).data
    middle = time.perf_counter()
    decoded = codec.decode(data, max_pixels=args.max_pixels)
    end = time.perf_counter()
    height, width = picture.pixels.shape[:2]
    psnr, ms_ssim = quality_of(picture.pixels, decoded.image)
    rate = bpp(len(data), width * height)
    return Row(path, len(data), rate, psnr, ms_ssim, middle - start, end - middle)


def mean(rows: Sequence[Row]) -> Row:
    """Arithmetic means over the pictures; MS-SSIM over those large enough to have one."""
    known = [row.ms_ssim for row in rows if row.ms_ssim is not None]
    return Row(
        file="mean",
        bytes=statistics.fmean(row.bytes for row in rows),
        bpp=statistics.fmean(row.bpp for row in rows),
        psnr=statistics.fmean(row.psnr for row in rows),
        ms_ssim=statistics.fmean(known) if known else None,
        encode_s=statistics.fmean(row.encode_s for row in rows),
        decode_s=statistics.fmean(row.decode_s for row in rows),
    )


def table_row(row: Row, width: int) -> str:
    row = row._replace(file=one_line(os.path.basename(row.file)))
    return table_line(["-" if v is None else f.format(v) for f, v in zip(_FORMATS, row)], width)


def table_line(cells: Sequence[str], width: int) -> str:
    return cells[0].ljust(width) + "".join(c.rjust(w) for c, w in zip(cells[1:], _WIDTHS[1:]))


def to_csv(rows: Iterable[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Row._fields)
    for row in rows:
        writer.writerow(["" if v is None else f.format(v) for f, v in zip(_FORMATS, row)])
    return text.getvalue().encode("utf-8", "backslashreplace")
