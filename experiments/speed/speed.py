"""Encoding and decoding of one picture: time per stage, memory, and CompressAI beside it.

    python -m experiments.speed.speed --compressai_python=compressai_env/bin/python \\
        --output=experiments/results/speed.json

In one run, in turns of one encoding and one decoding each, warm: GLLMM at N = 128 in this process, from
uint8 pixels to the bytes of a file and back, and CompressAI's cheng2020-attn at the same N in another
(common/compressai_peer.py says what that needs), each with --threads threads. Figures are medians over
--repeats turns; a ratio is the median over the turns of their time by ours. About five minutes on two
cores, best when idle.

The weights are random, as CompressAI's trained ones are not always at hand: both sides are built from a
seed, and the last convolutions of both g_a scaled so that y has the standard deviation --spread in every
channel, which at 1 costs about four bits per symbol, beyond ordinary use. Our context's
weights are scaled down, without which random networks predict nonsense. That changes no count of
operations. --model times a trained model of ours instead, with its latents as they are.

Stages are those of stages.py. Peak memory and the time of the command line, import included, are those
of `gllmm` in a process of its own. Exit status 1 where a ratio is below its limit.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from absl import flags
from PIL import Image

from experiments.common import peer, processes, program, records
from experiments.common.pictures import read_image
from experiments.common.program import LimitError
from experiments.speed.stages import stages_of
from gllmm_tf.codec.tensorflow_codec import TensorFlowCodec
from gllmm_tf.config import IMAGE_MULTIPLE, gllmm
from gllmm_tf.model.compression import build
from gllmm_tf.zoo.model_file import export_model
from gllmm_tf.zoo.registry import read_model

CONTEXT_GAIN = 0.05
SMALL = (96, 128)  # of the picture for the command line's own time
LIMITS = {"encode": 1.5, "decode": 3.0}  # of the ratios to CompressAI


def draw_picture(height: int, width: int, seed: int) -> np.ndarray:
    """Returns uint8 [height, width, 3]: smooth shapes and noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, [height // 32 + 1, width // 32 + 1, 3], np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noise = 8 * rng.normal(size=[height, width, 3])
    return np.clip(np.asarray(smooth) + noise, 0, 255).astype(np.uint8)


def write_random_model(
    path: str, num_filters: int, spread: float, pixels: np.ndarray, seed: int
) -> None:
    """Writes a model file with random weights whose y has the standard deviation `spread`."""
    tf.keras.utils.set_random_seed(seed)
    model = build(gllmm(num_filters))
    kernel = model.entropy_parameters.context.kernel
    kernel.assign(CONTEXT_GAIN * kernel)
    x = tf.constant(pixels[None], tf.float32) / 255.0
    kernel = model.g_a.last.kernel
    for _ in range(3):  # the attention behind this layer is not linear
        deviation = tf.math.reduce_std(model.g_a(x), [0, 1, 2])
        kernel.assign(kernel * (spread / deviation))
    export_model(model, path, {"name": "random", "steps": 0})


def command_line(model: str, pixels: np.ndarray, folder: str) -> dict[str, dict]:
    """Returns command -> seconds and peak megabytes of `gllmm` on `pixels`, in new processes."""
    picture = os.path.join(folder, f"{pixels.shape[0]}.png")
    Image.fromarray(pixels).save(picture)
    coded = picture + ".gllmm"
    commands = {"compress": (picture, coded), "decompress": (coded, picture + ".png")}
    figures = {}
    for name, files in commands.items():
        cost = processes.cost_of_gllmm(name, *files, "--model", model)
        figures[name] = {"seconds": cost.seconds, "peak_megabytes": cost.peak_megabytes}
    return figures


def take_turns(
    sides: dict[str, Callable[[str], float]], repeats: int
) -> dict[str, dict[str, list[float]]]:
    """Returns side -> "encode" or "decode" -> seconds of each turn; the sides work in turns."""
    works = ("encode", "decode")
    times = {side: {work: [] for work in works} for side in sides}
    for _ in range(repeats):
        for work in works:
            for side, seconds in sides.items():
                times[side][work].append(seconds(work))
    return times


def ours(codec: TensorFlowCodec, pixels: np.ndarray) -> Callable[[str], float]:
    """Returns a function of "encode" or "decode" that does it once and returns its seconds."""
    data = codec.encode(pixels).data
    codec.decode(data)
    works = {"encode": lambda: codec.encode(pixels), "decode": lambda: codec.decode(data)}

    def seconds(work: str) -> float:
        start = time.perf_counter()
        works[work]()
        return time.perf_counter() - start

    return seconds


def picture_of(f: flags.FlagValues) -> np.ndarray:
    """Returns the picture that the flags name, cut to multiples of 64, or a drawn one."""
    if not f.image:
        return draw_picture(f.height, f.width, f.seed)
    pixels = read_image(f.image)
    height, width = (side // IMAGE_MULTIPLE * IMAGE_MULTIPLE for side in pixels.shape[:2])
    return np.ascontiguousarray(pixels[:height, :width])


def start_peer(f: flags.FlagValues, pixels: np.ndarray, n: int, folder: str) -> peer.Peer | None:
    """Returns the other side, where the flags name its Python."""
    if not f.compressai_python:
        return None
    path = os.path.join(folder, "pixels.npy")
    np.save(path, pixels)
    options = {"pixels": path, "num_filters": n, "spread": f.spread, "seed": f.seed}
    return peer.Peer(f.compressai_python, "code", **options, threads=f.threads)


def measure(f: flags.FlagValues) -> dict:
    """Returns all figures of the experiment as a JSON-able dict; times are in seconds."""
    tf.config.threading.set_intra_op_parallelism_threads(f.threads)
    pixels = picture_of(f)
    with tempfile.TemporaryDirectory() as folder:
        model = f.model
        if not model:
            model = os.path.join(folder, "random.npz")
            write_random_model(model, f.num_filters, f.spread, pixels, f.seed)
        stored = read_model(model)
        codec = TensorFlowCodec(stored)
        theirs = start_peer(f, pixels, stored.config.num_filters, folder)
        sides = {"ours": ours(codec, pixels)}
        if theirs:
            sides["theirs"] = theirs.seconds
        times = take_turns(sides, f.repeats)
        if theirs:
            theirs.close()
        medians = {
            side: {work: statistics.median(t) for work, t in found.items()}
            for side, found in times.items()
        }
        encoded = codec.encode(pixels)
        facts = theirs and theirs.facts
        return {
            "picture": list(pixels.shape[:2]),
            "num_filters": stored.config.num_filters,
            "weights": os.path.basename(f.model) if f.model else f"random, seed {f.seed}",
            "spread": f.spread,
            "threads": f.threads,
            "cores": os.cpu_count(),
            "tensorflow": tf.__version__,
            "bytes": {"ours": len(encoded.data), "theirs": facts and facts["bytes"]},
            "peer": facts,
            "median": medians,
            "ratio": ratios_of(times),
            "all": times,
            "stages": stages_of(stored, encoded, pixels, medians["ours"], f.repeats),
            "command_line": {
                "whole picture": command_line(model, pixels, folder),
                "small picture": command_line(model, pixels[: SMALL[0], : SMALL[1]], folder),
            },
        }


def ratios_of(times: dict[str, dict[str, list[float]]]) -> dict[str, float]:
    """Returns work -> median over the turns of their time by ours; empty without them."""
    theirs = times.get("theirs", {})
    return {
        work: statistics.median(np.divide(found, times["ours"][work]))
        for work, found in theirs.items()
    }


def report(result: dict) -> str:
    """Returns the figures as text."""
    height, width = result["picture"]
    lines = [f"{width} x {height}, N = {result['num_filters']}, weights: {result['weights']}"]
    for name in ("encode", "decode"):
        line = f"{name:8} ours {result['median']['ours'][name]:6.3f} s"
        if result["ratio"]:
            line += f"   CompressAI {result['median']['theirs'][name]:6.3f} s"
            line += f"   {result['ratio'][name]:5.2f} times ours"
        stages = result["stages"][name].items()
        lines += [line, "         " + "  ".join(f"{k} {v:.3f}" for k, v in stages)]
    stages = result["stages"]
    lines.append(
        f"symbols  coding {stages['entropy_coding']:.3f} s, decoding "
        f"{stages['entropy_decoding']:.3f} s, {stages['bits_per_symbol']:.2f} bits per symbol of y"
    )
    for name, share in stages["share"].items():
        lines.append(
            f"{name}      {stages['gmac'][name]:.0f} GMAC, {100 * share:.0f} % of its time at "
            f"{stages['convolution_gmac_per_second']:.0f} GMAC/s"
        )
    for picture, commands in result["command_line"].items():
        for name, figures in commands.items():
            lines.append(
                f"gllmm {name}, {picture}: {figures['seconds']:.1f} s, "
                f"peak {figures['peak_megabytes']:.0f} MB"
            )
    return "\n".join(lines)


def define_flags() -> None:
    peer.define_python()
    flags.DEFINE_string("model", "", "Trained model of ours; empty: random weights.")
    flags.DEFINE_string("image", "", "Picture, cut to multiples of 64; empty: a drawn one.")
    flags.DEFINE_integer("width", 768, "Of the drawn picture, a multiple of 64.", 64)
    flags.DEFINE_integer("height", 512, "Of the drawn picture, a multiple of 64.", 64)
    flags.DEFINE_integer("num_filters", 128, "N of random weights.", 2)
    flags.DEFINE_float("spread", 1.0, "Standard deviation of y with random weights.")
    flags.DEFINE_integer("threads", 2, "Threads of an operation, on both sides.", 1)
    flags.DEFINE_integer("repeats", 7, "Turns.", 1)
    flags.DEFINE_integer("seed", 1, "Of the random weights and the drawn picture.")
    flags.DEFINE_string("output", "", "JSON file for the figures; empty: none.")


def main(f: flags.FlagValues) -> None:
    result = measure(f)
    print(report(result))
    if f.output:
        records.write_json(f.output, result)
    slow = [name for name, ratio in result["ratio"].items() if ratio < LIMITS[name]]
    if slow:
        raise LimitError(f"too slow against CompressAI: {', '.join(slow)}; wanted {LIMITS}")


if __name__ == "__main__":
    program.run(main, define_flags)
