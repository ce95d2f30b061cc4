"""The command `models`: a line for each, or all that is known."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from typing import Any

from gllmm_tf.cli.job import Abort
from gllmm_tf.cli.reports import Voice
from gllmm_tf.errors import GllmmError
from gllmm_tf.zoo import registry
from gllmm_tf.zoo.model_info import pixels_of

HEAD = ("name", "identity", "trained for", "qualities", "bpp", "PSNR, dB", "gigapixels seen", "MB")
MEASURED = "bpp and PSNR: of held-out photographs, from the lowest quality to the highest."


def models(args: argparse.Namespace) -> int:
    voice = Voice(args)
    try:
        found = registry.models()
        identities = {name: registry.identity_of(name).hex() for name in found}
    except GllmmError as error:
        raise Abort(str(error)) from error
    if not found:
        raise Abort("no models ship with this installation; give --model the path of one")
    rows, defaults = [HEAD], registry.default_names()
    for name, info in found.items():
        path, is_default = registry.path_of(name), name in defaults
        megabytes = f"{os.path.getsize(path) / 1e6:.1f}"
        star = " *" if is_default else ""
        rows.append((f"{name}{star}", identities[name], *cells(info), megabytes))
        about = {"name": name, "default": is_default, "identity": identities[name], "file": path}
        voice.record(**about, info=info)
    voice.say("\n".join([*_table(rows), _note()]))
    if args.verbose:
        for name, info in found.items():
            voice.say("\n".join(["", name, f"  file: {registry.path_of(name)}", *_lines(info)]))
    return 0


def _note() -> str:
    higher = registry.DEFAULT_CONTINUATION
    switch = f": {higher.name} above quality {higher.above:g}" if higher else ""
    return f"* the default{switch}. {MEASURED}"


def cells(info: dict[str, Any]) -> tuple[str, str, str, str, str]:
    """What a model's record says, as far as it says it.

    Returns:
        The metric, the qualities, bpp and PSNR that validation found at both ends, and the pixels
        that the model and those it started from were trained on.
    """
    rows = (info.get("validation") or {}).get("qualities") or []
    count, pixels = len(info.get("lambdas") or []), pixels_of(info)
    first = info.get("first_quality", 1)
    return (
        str(info.get("metric", "-")),
        f"{first} to {first + count - 1}" if count > 1 else "fixed",
        _span([row["bpp"] for row in rows], ".3f"),
        _span([row["psnr"] for row in rows], ".1f"),
        f"{pixels / 1e9:.1f}" if pixels else "-",
    )


def _span(values: list[float], form: str) -> str:
    if not values:
        return "-"
    ends = [format(value, form) for value in (values[0], values[-1])]
    return " to ".join(dict.fromkeys(ends))


def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()


def _lines(info: dict[str, Any]) -> Iterator[str]:
    for key, value in info.items():
        yield f"  {key}: {value}"
