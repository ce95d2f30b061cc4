"""How much memory does the service take for the largest pictures that it accepts?

    pip install -e '.[serve]'
    python -m experiments.systems.serve_memory

starts `python -m gllmm_tf.serve` with its own limits, and sends it pictures of just as many pixels as it
accepts: as many at a time as it works on, first to be compressed, then to be decompressed, then both
mixed. Prints the resident memory at rest, before the first of them, and the peak in each round; the
figures go to experiments/results/serve_memory.json. It takes about ten minutes on two cores.
"""

from __future__ import annotations

import concurrent.futures
import math
import tempfile
from collections.abc import Sequence

import numpy as np
from absl import flags

from experiments.common import pictures, places, program, records
from experiments.common.program import ExperimentError
from experiments.systems.serve_load import Service, send
from experiments.systems.serve_requests import Request, as_file
from gllmm_tf.serve.limits import Limits

PATIENCE = 3600.0  # seconds for one answer; a busy machine changes the time, not the memory
CELL = 512  # pixels a side of each drawn part


def picture_of(num_pixels: int, seed: int) -> np.ndarray:
    """uint8 [H, W, 3] of at most so many pixels, nearly square: drawn parts side by side."""
    height = math.isqrt(num_pixels)
    width = num_pixels // height
    rng = np.random.default_rng(seed)
    parts = [pictures.draw(rng, CELL, CELL) for _ in range(16)]
    rows = [
        np.concatenate([parts[(5 * i + j) % 16] for j in range(-(-width // CELL))], 1)
        for i in range(-(-height // CELL))
    ]
    return np.concatenate(rows)[:height, :width]


def round_of(service: Service, bodies: Sequence[tuple[str, bytes]]) -> tuple[float, list[bytes]]:
    """Sends (path, body) all at a time; returns the peak of resident memory in MB, and the answers.

    Raises:
        ExperimentError: an answer is not 200.
    """
    first = len(service.samples)
    with concurrent.futures.ThreadPoolExecutor(len(bodies)) as pool:
        requests = [Request("", "POST", path, body, 200, bool) for path, body in bodies]
        answers = list(pool.map(lambda one: send(service.port, one, PATIENCE), requests))
    for status, data, _ in answers:
        if status != 200:
            raise ExperimentError(f"the service answers {status}: {data[:200]!r}")
    return max(size for _, size in service.samples[first:]), [data for _, data, _ in answers]


def define_flags() -> None:
    program.define_model()
    limits = Limits()
    flags.DEFINE_integer("max_pixels", limits.pixels, "As of the service.", 1)
    flags.DEFINE_integer("threads", limits.threads, "As of the service.", 1)
    flags.DEFINE_string("output", f"{places.RESULTS}/serve_memory.json", "File for the figures.")


def main(f: flags.FlagValues) -> None:
    arguments = [f"--max_pixels={f.max_pixels}", f"--threads={f.threads}"]
    arguments.append(f"--max_seconds={PATIENCE}")
    body = as_file(picture_of(f.max_pixels, 1), "JPEG", quality=90)
    with tempfile.TemporaryDirectory() as folder:
        service = Service(f.model, folder, arguments)
        try:
            service.metrics()
            rest = service.samples[-1][1]
            rounds = {}
            rounds["compress"], files = round_of(service, [("/compress", body)] * f.threads)
            rounds["decompress"], _ = round_of(service, [("/decompress", files[0])] * f.threads)
            mixed = [("/compress", body), ("/decompress", files[0])] * f.threads
            rounds["both"], _ = round_of(service, mixed[: max(2, f.threads)])
            service.stop()
        finally:
            service.kill()
    most = max(rounds.values()) * 1e6 / 2**20
    if most > Limits().memory:
        print(f"more than the {Limits().memory} MB that the service is allowed")
    print(f"{f.threads} pictures of {f.max_pixels} pixels at a time; resident memory:")
    print(f"{'at rest':<12}{rest:>7.0f} MB")
    for name, peak in rounds.items():
        print(f"{name:<12}{peak:>7.0f} MB at most")
    results = {
        "pixels": f.max_pixels,
        "threads": f.threads,
        "bound_mb": Limits().memory,
        "rest_mb": round(rest),
        "peak_mb": {name: round(peak) for name, peak in rounds.items()},
    }
    records.write_json(f.output, results)


if __name__ == "__main__":
    program.run(main, define_flags)
