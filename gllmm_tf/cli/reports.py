"""What is printed: notes and errors of one line, reports on files as text or as JSON."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from gllmm_tf.cli.job import PROGRAM, Abort, Job
from gllmm_tf.errors import GllmmError, is_out_of_memory
from gllmm_tf.files import atomic, container
from gllmm_tf.zoo import registry

if TYPE_CHECKING:
    import numpy as np

    from gllmm_tf.codec.base import Encoded

STREAMS = {"-": "standard input"}
"""What messages call an input that is no file."""


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
    path = STREAMS.get(path, path) if isinstance(path, str) else path
    return text if path is None or text.startswith(f"{path}: ") else f"{path}: {text}"


def complain(line: str) -> None:
    _write(f"{PROGRAM}: {one_line(line)}", "stderr")


class Voice:
    """What a command says of its files: on stdout what was asked for, notes on stderr.

    Attributes:
        quiet: Only errors are said.
    """

    def __init__(self, args: argparse.Namespace):
        self.quiet: bool = args.quiet
        self._json: bool = args.json
        self._all = getattr(args, "verbose", False)
        self._told: set[str] = set()
        self._out = "stdout"

    def leave_stdout(self) -> None:
        """Stdout takes a file: what is said goes to stderr."""
        self._out = "stderr"

    def say(self, text: str) -> None:
        """Prints text for people."""
        if not self.quiet and not self._json:
            _write(text, self._out)

    def record(self, **facts: Any) -> None:
        """Prints one line of JSON."""
        if self._json:
            _write(json.dumps({k: _plain(v) for k, v in facts.items()}), self._out)

    def fail(self, job: Job, line: str) -> None:
        """Tells of a job that failed."""
        complain(line)
        self.record(input=job.source, output=job.target or None, error=line)

    def note(self, path: str, notes: Iterable[str]) -> None:
        """Prints the notes on a file, on one line of stderr.

        What tells of something left out is said for one file of a run only.
        """
        if self.quiet:
            return
        new = [note for note in notes if self._all or note not in self._told]
        if new:
            complain(f"{STREAMS.get(path, path)}: note: {'; '.join(new)}")
        from gllmm_tf.files.images import LEFT_OUT

        self._told.update(note for note in new if note.startswith(LEFT_OUT))


def _plain(value: Any) -> Any:
    """JSON has no infinity: a picture without error has PSNR null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def say(text: str) -> None:
    _write(text, "stdout")


def _write(text: str, stream: str) -> None:
    file: TextIO | None = getattr(sys, stream)
    if file is None:
        if stream == "stderr":
            return  # There is nobody to tell.
        raise Abort("standard output is closed")
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
    from gllmm_tf import metrics

    return metrics.psnr(pixels, x_hat), metrics.ms_ssim(pixels, x_hat)


def compression_report(
    source: str,
    shape: tuple[int, ...],
    encoded: Encoded,
    measured: tuple[float, float | None] | None,
) -> str:
    """Size, quality and seconds; `measured`: as from `quality_of`, None where only the size is wanted."""
    height, width = shape[:2]
    source = one_line(STREAMS.get(source, source))
    quality = "" if encoded.quality is None else f", quality {encoded.quality:g}"
    size = f"{len(encoded.data)} bytes, {bpp(len(encoded.data), width * height):.4f} bpp"
    if measured is None:
        return f"{source}: {size}{quality}"
    from gllmm_tf import metrics

    psnr, ms_ssim = measured
    smallest = metrics.MS_SSIM_MIN_SIZE
    similarity = f"- (needs {smallest} pixels a side)" if ms_ssim is None else f"{ms_ssim:.4f}"
    return (
        f"{source}: {width} x {height}, {size}, PSNR {psnr:.2f} dB, MS-SSIM "
        f"{similarity}{quality}\n"
        f"  {stages(encoded.seconds)}"
    )


def facts_of(data: bytes, contents: container.Container) -> dict[str, Any]:
    """What a .gllmm file holds, for `Voice.record`; bytes throughout."""
    c = contents
    return {
        "width": c.width,
        "height": c.height,
        "bytes": len(data),
        "bpp": bpp(len(data), c.width * c.height),
        "quality": registry.quality_of(c.model_id, c.quality_index),
        "model": c.model_id.hex(),
        "z_bytes": len(c.z_stream),
        "y_bytes": len(c.y_stream),
        "metadata": metadata_bytes(c.metadata),
    }


def metadata_bytes(metadata: Mapping[int, bytes]) -> dict[str, int]:
    """{kind: bytes}."""
    if not metadata:
        return {}
    from gllmm_tf.files.metadata import NAMES

    return {NAMES.get(tag, f"unknown ({tag})"): len(value) for tag, value in metadata.items()}


def info_report(path: str, data: bytes, contents: container.Container) -> str:
    c = contents
    payload = sum(map(len, c.metadata.values()))
    kinds = metadata_bytes(c.metadata).items()
    metadata = ", ".join(f"{kind} {size} bytes" for kind, size in kinds)
    name = registry.name_of(c.model_id) or "not among the shipped ones"
    quality = f"{registry.quality_of(c.model_id, c.quality_index):g}" + (
        "" if c.quality_index else ", or fixed rate"
    )
    return "\n".join(
        [
            one_line(STREAMS.get(path, path)),
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
