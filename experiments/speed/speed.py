"""Encoding and decoding of one picture: time per stage, memory, and CompressAI beside it.

    python -m experiments.speed.speed --compressai_python=compressai_env/bin/python \\
        --output=experiments/results/speed.json

In one run, in turns of one encoding and one decoding each, warm: GLLMM at N = 128 in this process, from
uint8 pixels to the bytes of a file and back, and CompressAI's cheng2020-attn at the same N in another
(speed_compressai.py), each with --threads threads. Figures are medians over --repeats turns; a ratio
is the median over the turns of their time by ours. About five minutes on two cores, best when idle.

The weights are random, as CompressAI's trained ones are not always at hand: both sides are built from a
seed, and the last convolutions of both g_a scaled so that y has the standard deviation --spread in every
channel, which at 1 costs about four bits per symbol, beyond ordinary use. Our context's
weights are scaled down, without which random networks predict nonsense. That changes no count of
operations. --model times a trained model of ours instead, with its latents as they are.

Stages of ours:

    g_a h_a g_s h_s   the networks alone, on the whole picture
    parameters        context, entropy parameters and mixtures: in large batches when encoding, step by
                      step when decoding
    symbols           decisions and range coder: what the coding of y takes beyond h_s and parameters
    container         header, checksum
    rest              padding, rounding, copies: the whole call without the stages above

`share` of g_a and g_s is the time that their multiply-adds need at the rate of the fastest 3x3
convolution of the same channels measured in this run, by their time. Peak memory and the time of the
command line, import included, are those of compress.py in a process of its own.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, ROOT)

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from absl import app, flags  # noqa: E402
from PIL import Image  # noqa: E402

from experiments.inside.complexity import count_macs  # noqa: E402
from gllmm_tf.codec.codec import Codec  # noqa: E402
from gllmm_tf.coding import wavefront  # noqa: E402
from gllmm_tf.config import gllmm  # noqa: E402
from gllmm_tf.files import container  # noqa: E402
from gllmm_tf.model import transforms  # noqa: E402
from gllmm_tf.model.compression import build  # noqa: E402
from gllmm_tf.zoo.model_file import export_model  # noqa: E402

CONTEXT_GAIN = 0.05
SMALL = (96, 128)  # of the picture for the command line's own time
BATCH_POSITIONS = 256  # of y at once, for the stage `parameters` of an encoder
# What issue and README ask for, as ratios to CompressAI.
LIMITS = {"encode": 1.5, "decode": 3.0}


def draw_picture(height, width, seed):
    """uint8 [height, width, 3]: smooth shapes and noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, [height // 32 + 1, width // 32 + 1, 3], np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noise = 8 * rng.normal(size=[height, width, 3])
    return np.clip(np.asarray(smooth) + noise, 0, 255).astype(np.uint8)


def write_random_model(path, num_filters, spread, pixels, seed):
    """A model file with random weights whose y has the standard deviation `spread`."""
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


class Theirs:
    """CompressAI in a process of its own."""

    def __init__(self, python, pixels_path, num_filters, spread, seed, threads):
        options = {"pixels": pixels_path, "num_filters": num_filters, "spread": spread}
        options = {**options, "seed": seed, "threads": threads}
        # A pool of threads that spins while it waits would slow the other side down.
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": ""}
        command = [python, os.path.join(HERE, "speed_compressai.py")]
        self._process = subprocess.Popen(
            [*command, *(f"--{name}={value}" for name, value in options.items())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.facts = {k: v for k, v in self._answer().items() if k != "ready"}

    def seconds(self, work):
        self._process.stdin.write(work + "\n")
        self._process.stdin.flush()
        return self._answer()["seconds"]

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            sys.exit("speed.py: the peer has stopped; its message stands above")
        return json.loads(line)

    def close(self):
        self._process.stdin.close()
        self._process.wait()


def seconds_of(function, repeats):
    """Median seconds of a call, after one untimed call."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def graph(function, *signature):
    return tf.function(function, input_signature=signature or None, autograph=False)


# Stages ---------------------------------------------------------------------------------------


def network_seconds(codec, pixels, repeats):
    """Returns ({network: seconds}, {network: MAC of the picture}) of g_a, h_a and g_s."""
    n, stages = codec.config.num_filters, codec.config.stages
    widths = getattr(codec.config, "trunk_widths", None)
    networks = {
        "g_a": transforms.AnalysisTransform(n, stages, widths),
        "h_a": transforms.HyperAnalysisTransform(n),
        "g_s": transforms.SynthesisTransform(n, stages, widths),
    }
    x = tf.constant(pixels[None], tf.float32) / 255.0
    y_shape = [1, pixels.shape[0] // 16, pixels.shape[1] // 16, n]
    inputs = {"g_a": x, "h_a": tf.zeros(y_shape), "g_s": tf.random.normal(y_shape)}
    seconds, macs = {}, {}
    for name, network in networks.items():
        network(tf.zeros([1, 64, 64, inputs[name].shape[3]]))
        codec._file.assign(name, network)
        shape = inputs[name].shape
        run = graph(network, tf.TensorSpec([1, None, None, shape[3]], tf.float32))
        seconds[name] = seconds_of(lambda run=run, name=name: run(inputs[name]).numpy(), repeats)
        macs[name] = count_macs(network, [int(size) for size in shape])
    return seconds, macs


def parameter_seconds(codec, y_hat, z_hat, index, repeats):
    """Returns (h_s, parameters in batches, parameters step by step) in seconds."""
    height, width = y_hat.shape[:2]
    channels = np.flatnonzero(np.any(y_hat != 0, (0, 1))).astype(np.int32)
    families, components = codec.config.families, codec.config.components
    order, _, starts = wavefront._step_order(tf.constant(height), tf.constant(width))
    batches = tf.range(0, height * width + BATCH_POSITIONS, BATCH_POSITIONS)
    batches = tf.minimum(batches, height * width)

    def totals(phi, y, ends):
        """The mixtures of all positions, from one of `ends` to the next."""
        latent = wavefront.Latent(codec.networks, families, components, phi, channels)
        cells = latent.pad(y)

        def body(i, total):
            mixture, _ = latent.mixture(cells, order[ends[i] : ends[i + 1]])
            low = mixture.below(mixture.centre() - 0.5)
            return i + 1, total + tf.reduce_sum(mixture.total - low)

        start = (tf.constant(0), tf.constant(0.0, tf.float64))
        count = tf.size(ends) - 1
        return tf.while_loop(lambda i, _: i < count, body, start, parallel_iterations=1)[1]

    phi_of = graph(
        codec.networks.hyper_synthesis,
        tf.TensorSpec(z_hat.shape, tf.float64),
        tf.TensorSpec([], tf.int32),
    )
    z, y = tf.constant(z_hat, tf.float64), tf.constant(y_hat, tf.float64)
    phi = phi_of(z, index)
    run = graph(
        totals,
        tf.TensorSpec(phi.shape, phi.dtype),
        tf.TensorSpec(y.shape, tf.float64),
        tf.TensorSpec([None], tf.int32),
    )
    return (
        seconds_of(lambda: phi_of(z, index).numpy(), repeats),
        seconds_of(lambda: run(phi, y, batches).numpy(), repeats),
        seconds_of(lambda: run(phi, y, starts).numpy(), repeats),
    )


def convolution_rate(channels, height, width, repeats):
    """Multiply-adds per second of 3x3 convolutions, the fastest of three resolutions."""
    kernel = tf.random.normal([3, 3, channels, channels]) * 0.01
    run = graph(
        lambda x: tf.nn.conv2d(x, kernel, 1, "SAME"),
        tf.TensorSpec([1, None, None, channels], tf.float32),
    )
    rates = []
    for stride in (2, 4, 8):
        x = tf.random.normal([1, height // stride, width // stride, channels])
        macs = 9 * channels**2 * (height // stride) * (width // stride)
        rates.append(macs / seconds_of(lambda x=x: run(x).numpy(), repeats))
    return max(rates)


def stages_of(codec, pixels, ours, repeats):
    """Returns the table of stages; `ours` holds the medians of whole calls."""
    height, width = pixels.shape[:2]
    encoded = codec.encode(pixels)
    index = tf.constant(codec._quality_index(None))
    y_hat, z_hat = encoded.latents
    exact = [tf.constant(latent, tf.float64) for latent in (y_hat, z_hat)]
    z_string, y_string = codec._encode(*exact, index)
    networks, macs = network_seconds(codec, pixels, repeats)
    h_s, batches, steps = parameter_seconds(codec, y_hat, z_hat, index, repeats)
    encode_y = seconds_of(lambda: codec._encode(*exact, index)[1].numpy(), repeats)
    decode_y = seconds_of(lambda: codec._decode_y(exact[1], y_string, index)[0].numpy(), repeats)
    z_shape = tf.constant(z_hat.shape[:2])
    decode_z = seconds_of(lambda: codec._decode_z(z_string, z_shape).numpy(), repeats)
    pack = seconds_of(lambda: container.pack(container.unpack(encoded.data)), repeats)

    encode = {"g_a": networks["g_a"], "h_a": networks["h_a"], "h_s": h_s, "parameters": batches}
    encode |= {"symbols": encode_y - h_s - batches, "container": pack}
    decode = {"h_s": h_s, "parameters": steps, "symbols": decode_y - h_s - steps + decode_z}
    decode |= {"g_s": networks["g_s"], "container": pack}
    encode["rest"] = ours["encode"] - sum(encode.values())
    decode["rest"] = ours["decode"] - sum(decode.values())
    rate = convolution_rate(codec.config.num_filters, height, width, repeats)
    share = {name: macs[name] / rate / networks[name] for name in ("g_a", "g_s")}
    return {
        "encode": encode,
        "decode": decode,
        "entropy_coding_y": encode_y,
        "entropy_decoding_y": decode_y,
        "convolution_gmac_per_second": rate / 1e9,
        "gmac": {name: macs[name] / 1e9 for name in share},
        "share": share,
        "bits_per_symbol": 8 * len(y_string.numpy()) / y_hat.size,
    }


# Processes ------------------------------------------------------------------------------------


# A process starts with the peak memory of the one that forked it, so a small one does that.
LAUNCHER = """
import os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(time.perf_counter() - start, usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def command_line(model, pixels, folder):
    """Returns {command: (seconds, peak megabytes)} of compress.py on `pixels`, in new processes."""
    picture = os.path.join(folder, f"{pixels.shape[0]}.png")
    Image.fromarray(pixels).save(picture)
    coded = picture + ".gllmm"
    commands = {
        "compress": ["compress", picture, coded],
        "decompress": ["decompress", coded, picture + ".png"],
    }
    figures = {}
    for name, arguments in commands.items():
        command = [sys.executable, os.path.join(ROOT, "compress.py"), *arguments, "--model", model]
        done = subprocess.run(
            [sys.executable, "-c", LAUNCHER, *command], stdout=subprocess.PIPE, text=True
        )
        if done.returncode:
            sys.exit(f"speed.py: compress.py {name} failed; its message stands above")
        seconds, kilobytes = map(float, done.stdout.split())
        figures[name] = {"seconds": seconds, "peak_megabytes": kilobytes / 1024}
    return figures


def measure(f):
    """Returns all figures of the experiment as a JSON-able dict; times are in seconds."""
    tf.config.threading.set_intra_op_parallelism_threads(f.threads)
    pixels = draw_picture(f.height, f.width, f.seed)
    if f.image:
        with Image.open(f.image) as image:
            pixels = np.asarray(image.convert("RGB"))
        pixels = np.ascontiguousarray(
            pixels[: pixels.shape[0] // 64 * 64, : pixels.shape[1] // 64 * 64]
        )
    with tempfile.TemporaryDirectory() as folder:
        pixels_path, model = os.path.join(folder, "pixels.npy"), f.model
        np.save(pixels_path, pixels)
        if not model:
            model = os.path.join(folder, "random.npz")
            write_random_model(model, f.num_filters, f.spread, pixels, f.seed)
        codec = Codec.load(model)
        data = codec.encode(pixels).data
        codec.decode(data)
        work = {"encode": lambda: codec.encode(pixels), "decode": lambda: codec.decode(data)}
        theirs = None
        if f.compressai_python:
            size = codec.config.num_filters, f.spread, f.seed, f.threads
            theirs = Theirs(f.compressai_python, pixels_path, *size)
        times = {side: {name: [] for name in work} for side in ("ours", "theirs")}
        for _ in range(f.repeats):
            for name, function in work.items():
                start = time.perf_counter()
                function()
                times["ours"][name].append(time.perf_counter() - start)
                if theirs:
                    times["theirs"][name].append(theirs.seconds(name))
        if theirs:
            theirs.close()
        median = {name: statistics.median(times["ours"][name]) for name in work}
        return {
            "picture": list(pixels.shape[:2]),
            "num_filters": codec.config.num_filters,
            "weights": os.path.basename(f.model) if f.model else f"random, seed {f.seed}",
            "spread": f.spread,
            "threads": f.threads,
            "cores": os.cpu_count(),
            "tensorflow": tf.__version__,
            "bytes": {"ours": len(data), "theirs": theirs and theirs.facts["bytes"]},
            "peer": theirs and theirs.facts,
            "median": {
                side: {name: statistics.median(t) for name, t in found.items() if t}
                for side, found in times.items()
            },
            "ratio": {
                name: statistics.median(np.divide(times["theirs"][name], times["ours"][name]))
                for name in work
                if theirs
            },
            "all": times,
            "stages": stages_of(codec, pixels, median, f.repeats),
            "command_line": {
                "whole picture": command_line(model, pixels, folder),
                "small picture": command_line(model, pixels[: SMALL[0], : SMALL[1]], folder),
            },
        }


def report(result):
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
        f"y alone  coding {stages['entropy_coding_y']:.3f} s, decoding "
        f"{stages['entropy_decoding_y']:.3f} s, {stages['bits_per_symbol']:.2f} bits per symbol"
    )
    for name, share in stages["share"].items():
        lines.append(
            f"{name}      {stages['gmac'][name]:.0f} GMAC, {100 * share:.0f} % of its time at "
            f"{stages['convolution_gmac_per_second']:.0f} GMAC/s"
        )
    for picture, commands in result["command_line"].items():
        for name, figures in commands.items():
            lines.append(
                f"compress.py {name}, {picture}: {figures['seconds']:.1f} s, "
                f"peak {figures['peak_megabytes']:.0f} MB"
            )
    return "\n".join(lines)


def define_flags():
    """Defines the flags of the command; not at import, where other commands' would meet them."""
    flags.DEFINE_string(
        "compressai_python", "", "Python with torch and compressai 1.2.8; none: ours."
    )
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


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected argument {argv[1]}.")
    f = flags.FLAGS
    result = measure(f)
    print(report(result))
    if f.output:
        os.makedirs(os.path.dirname(os.path.abspath(f.output)), exist_ok=True)
        with open(f.output, "w") as file:
            json.dump(result, file, indent=2)
            file.write("\n")
    slow = [name for name, ratio in result["ratio"].items() if ratio < LIMITS[name]]
    if slow:
        sys.exit(f"FAILED: too slow against CompressAI: {', '.join(slow)}; wanted {LIMITS}")


if __name__ == "__main__":
    define_flags()
    app.run(main)
