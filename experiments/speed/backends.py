"""What do the two backends cost, from a cold start and warm?

    python -m experiments.speed.backends [PICTURE]

    cold   whole processes of the command line, start-up included: seconds (median of the turns) and peak
           resident memory (largest), for both backends, and for commands that need none
    warm   seconds of encode and decode in one process that has done both before (median)

Both take turns, so that what else the machine does meets both. The picture is 768 x 512 by default. Writes
JSON and the table of docs/results.md.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time

import numpy as np
from absl import flags
from PIL import Image

from experiments.common import doc_tables, places, processes, program, records
from experiments.common.pictures import read_image
from gllmm_tf.codec.backends import PORTABLE, TENSORFLOW
from gllmm_tf.codec.base import Codec

NAMES = (PORTABLE, TENSORFLOW)
LIGHT = ("--help", "info", "models")
PAGE = os.path.join(places.ROOT, "docs", "results.md")
SIZE = (512, 768)


def cold(picture: str, quality: float, repeats: int) -> dict[str, dict]:
    """{what: {backend: {"seconds", "peak_megabytes"}}}; commands that need no backend have one "-"."""
    runs: dict[tuple[str, str], list[processes.Cost]] = {}
    with tempfile.TemporaryDirectory() as folder:
        file, shown = os.path.join(folder, "a.gllmm"), os.path.join(folder, "a.png")
        for _ in range(repeats):
            for backend in NAMES:
                compress = (
                    "compress",
                    f"--backend={backend}",
                    f"--quality={quality:g}",
                    picture,
                    file,
                )
                decompress = ("decompress", f"--backend={backend}", file, shown)
                for command in (compress, decompress):
                    cost = processes.cost_of_gllmm(*command)
                    runs.setdefault((command[0], backend), []).append(cost)
            for name in LIGHT:
                arguments = (name, file) if name == "info" else (name,)
                runs.setdefault((name, "-"), []).append(processes.cost_of_gllmm(*arguments))
    found: dict[str, dict] = {}
    for (name, backend), costs in runs.items():
        found.setdefault(name, {})[backend] = {
            "seconds": statistics.median(cost.seconds for cost in costs),
            "peak_megabytes": max(cost.peak_megabytes for cost in costs),
        }
    return found


def warm(
    pixels: np.ndarray, quality: float, repeats: int, model: str | None
) -> dict[str, dict[str, float]]:
    """{direction: {backend: seconds}}."""
    codecs = {name: Codec.load(model, backend=name) for name in NAMES}
    runs: dict[tuple[str, str], list[float]] = {}
    for turn in range(repeats + 1):
        for name, codec in codecs.items():
            start = time.perf_counter()
            data = codec.compress(pixels, quality)
            middle = time.perf_counter()
            codec.decompress(data)
            end = time.perf_counter()
            if turn:  # the first turn prepares the networks for the size
                runs.setdefault(("encode", name), []).append(middle - start)
                runs.setdefault(("decode", name), []).append(end - middle)
    found: dict[str, dict[str, float]] = {}
    for (direction, name), seconds in runs.items():
        found.setdefault(direction, {})[name] = statistics.median(seconds)
    return found


def table(found: dict) -> list[str]:
    """Lines of the table of the page."""
    rows = []
    for name in ("compress", "decompress"):
        costs = [found["cold"][name][backend] for backend in NAMES]
        rows.append((f"`gllmm {name}`, cold, seconds", *(f"{c['seconds']:.2f}" for c in costs)))
        peaks = (f"{c['peak_megabytes']:.0f}" for c in costs)
        rows.append((f"`gllmm {name}`, peak memory, MB", *peaks))
    for name in LIGHT:
        rows.append(
            (f"{name.lstrip('-')}, seconds", f"{found['cold'][name]['-']['seconds']:.2f}", "")
        )
    for direction, seconds in found["warm"].items():
        rows.append((f"{direction}, warm, seconds", *(f"{seconds[name]:.2f}" for name in NAMES)))
    return doc_tables.markdown(["", *NAMES], "lr", rows)


def define_flags() -> None:
    program.define_model()
    flags.DEFINE_float("quality", 4, "Quality.")
    flags.DEFINE_integer("repeats", 5, "Turns.")
    flags.DEFINE_string("output", f"{places.RESULTS}/backends.json", "JSON.")
    flags.DEFINE_string("page", PAGE, "Page with the table; empty: none.")


def main(f: flags.FlagValues, picture: str = places.SAMPLES[0]) -> None:
    pixels = read_image(picture)[: SIZE[0], : SIZE[1]]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "picture.png")
        Image.fromarray(pixels).save(path)
        found = {"picture": list(pixels.shape[:2]), "quality": f.quality}
        found["cold"] = cold(path, f.quality, f.repeats)
    found["warm"] = warm(pixels, f.quality, f.repeats, f.model)
    text = "\n".join(table(found))
    print(text)
    records.write_json(f.output, found)
    if f.page:
        doc_tables.insert(f.page, "backends", text)


if __name__ == "__main__":
    program.run(main, define_flags, ["[PICTURE]"])
