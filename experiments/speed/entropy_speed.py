"""Entropy decoding: our diagonal coder against the per-symbol loop of the released code.

    python -m experiments.speed.entropy_speed

times, in one run, the decoding of all latents y of one 768 x 512 picture at N = 128 (32 x 48
positions, 196,608 symbols) and prints medians and ratios; the figures go to
experiments/results/entropy_speed.json. It takes about three minutes on two cores. The acceptance
limit is a ratio of 60 against the loop as released (exit status 1 below it).

Both sides have the same networks (random, drawn from --seed) and the same symbols. Symbols are
drawn from the model itself, by decoding random bytes, so that mixtures and symbols match as well as
a trained model's; they carry about two bits each (1 bpp), the upper end of ordinary use. The
context's weights are scaled down, without which drawing from random networks diverges; that does
not change the work. Channels that are zero in the whole picture are skipped by both sides.

Ours: `wavefront.code_latent` in fixed point, from phi and the bytes of the y stream to y_hat.

The loop, written anew after the released code. For every position in raster order: the context
convolution and the entropy-parameter network on the 5 x 5 window around it, one TensorFlow call;
then for each channel in use the mixture's probability of every integer in [-max, max], where max
is the largest magnitude of the picture, integer frequencies from it (16 bits, at least 1), and one
symbol from the range coder of the package range-coder, as there. Two versions of the middle part:

    released   nine components one by one, each through two calls of scipy.stats (upper and lower
               edges of the bins) and all 25 positions of the window through the network, as there
    lenient    one evaluation of all components on one grid of edges with scipy.special, and the
               network for the one position only: what the loop could be without changing its order

The loop runs on --positions positions spread over the picture; its time is the median per position
times 1536. Each symbol that it decodes is compared.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence

import numpy as np
import scipy.special
import scipy.stats
import tensorflow as tf
from absl import flags
from tqdm import tqdm

from experiments.common import places, program, records
from experiments.common.program import ExperimentError, LimitError
from gllmm_tf.coding import range_ops, symbols, wavefront
from gllmm_tf.coding.fixed_point import ACTIVATION_BITS, FixedPointNetworks, quantise_networks
from gllmm_tf.config import HYPER_STRIDE, LATENT_STRIDE, gllmm
from gllmm_tf.model.compression import build

HEIGHT, WIDTH = 512 // LATENT_STRIDE, 768 // LATENT_STRIDE  # of the latent
REACH = 2  # of the 5 x 5 context
LIMIT = 60.0
CONTEXT_GAIN = 0.05
PRECISION = 2**16  # of the loop's frequencies
TINY = 1e-10  # keeps the loop's scales from zero


class Setup:
    """The same work for both sides.

    Attributes:
        entropy_parameters: float network, Keras.
        phi: float32 [h, w, 2 N].
        y: int64 [h, w, N], the symbols.
        string: the y stream of our coder.
        decode: bytes -> y, a compiled function.
        bits: information per symbol that our stream holds.
    """

    def __init__(self, num_filters: int, seed: int):
        tf.keras.utils.set_random_seed(seed)
        rng = np.random.default_rng(seed)
        model = build(gllmm(num_filters))
        self.entropy_parameters = model.entropy_parameters
        context = model.entropy_parameters.context.kernel
        context.assign(CONTEXT_GAIN * context)
        config = model.config
        networks = FixedPointNetworks(quantise_networks(model), num_filters, config.num_groups)
        z_hat = rng.integers(-4, 5, [HEIGHT // HYPER_STRIDE, WIDTH // HYPER_STRIDE, num_filters])
        phi = networks.hyper_synthesis(tf.constant(z_hat, tf.float64), tf.constant(0))
        blank = tf.zeros([HEIGHT, WIDTH, num_filters], tf.float64)

        def code(coder, string, y):
            return wavefront.code_latent(
                coder, string, networks, config.families, config.components, phi, y, 0
            )

        @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
        def decode(string):
            return code(symbols.Decoder(), string, blank)[1]

        @tf.function(input_signature=[tf.TensorSpec(blank.shape, tf.float64)])
        def encode(y):
            return range_ops.entropy_encode_finalize(code(symbols.Encoder(), "", y)[0])

        count = HEIGHT * WIDTH * num_filters
        y = decode(rng.bytes(4 * count))  # random bytes decode to symbols of the model
        self.decode = decode
        self.string = encode(y)
        self.bits = 8 * len(self.string.numpy()) / count
        self.y = y.numpy().astype(np.int64)
        self.phi = np.float32(phi.numpy() * 2.0**-ACTIVATION_BITS)


def time_ours(setup: Setup, repeats: int) -> list[float]:
    """Returns seconds per decoding of the whole latent, after one untimed run."""
    seconds = []
    for repeat in range(repeats + 1):
        start = time.perf_counter()
        y = setup.decode(setup.string).numpy()
        elapsed = time.perf_counter() - start
        if not np.array_equal(y, setup.y):
            raise LimitError("our coder did not return the symbols that it was given")
        if repeat > 0:
            seconds.append(elapsed)
    return seconds


# The loop -------------------------------------------------------------------------------------


def window_network(setup: Setup) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Returns (y window [5, 5, N], phi window [5, 5, 2 N]) -> parameters [30, N], as released."""

    @tf.function
    def run(y, phi):
        parameters = setup.entropy_parameters(y[None], phi[None])
        return parameters[0, REACH, REACH]

    return lambda y, phi: _layout(run(tf.constant(y), tf.constant(phi)).numpy(), y.shape[-1])


def position_network(setup: Setup) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Returns the same function computed for the centre of the window only."""
    layers = setup.entropy_parameters
    context = layers.context
    taps = tf.reshape(context.kernel, [25, -1, context.kernel.shape[-1]])[:12]
    taps = tf.reshape(taps, [-1, context.kernel.shape[-1]])  # [12 N, 2 N]

    @tf.function
    def run(y, phi):
        t = tf.matmul(tf.reshape(tf.reshape(y, [25, -1])[:12], [1, -1]), taps) + context.bias
        t = tf.concat([t, phi[REACH, REACH][None]], -1)[:, None, None]
        for layer in layers.hidden:
            t = layer(t)
        return layers.last(t)[0, 0, 0]

    return lambda y, phi: _layout(run(tf.constant(y), tf.constant(phi)).numpy(), y.shape[-1])


def _layout(parameters: np.ndarray, channels: int) -> np.ndarray:
    """[30 N] to [30, N] with the softmax of the weights taken, per family and over the families."""
    p = parameters.reshape(30, channels)
    for family in range(3):
        p[9 * family : 9 * family + 9 : 3] = _softmax(p[9 * family : 9 * family + 9 : 3])
    p[27:] = _softmax(p[27:])
    return p


def _softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(0))
    return e / e.sum(0)


def released_masses(p: np.ndarray, channel: int, largest: int) -> np.ndarray:
    """Returns the probabilities of -largest..largest, component by component with scipy.stats."""
    bins = np.arange(2 * largest + 1)
    families = (scipy.stats.norm, scipy.stats.laplace, scipy.stats.logistic)
    mass = 0.0
    for f, family in enumerate(families):
        inner = 0.0
        for k in range(3):
            weight, mean, scale = p[9 * f + 3 * k : 9 * f + 3 * k + 3, channel]
            where = {"loc": mean + largest, "scale": abs(scale) + TINY}
            inner += weight * (family.cdf(bins + 0.5, **where) - family.cdf(bins - 0.5, **where))
        mass += p[27 + f, channel] * inner
    return mass


def lenient_masses(p: np.ndarray, channel: int, largest: int) -> np.ndarray:
    """Returns the same, all components on one grid with scipy.special."""
    weight, mean, scale = p[:27, channel].reshape(9, 3).T
    edges = np.arange(-largest, largest + 2) - 0.5
    u = (edges - mean[:, None]) / (np.abs(scale) + TINY)[:, None]  # [9, edges]
    tail = 0.5 * np.exp(-np.abs(u[3:6]))
    cdf = np.concatenate(
        [
            scipy.special.ndtr(u[:3]),
            np.where(u[3:6] < 0, tail, 1 - tail),
            scipy.special.expit(u[6:]),
        ]
    )
    joint = weight * np.repeat(p[27:, channel], 3)
    return np.diff(joint @ cdf)


def frequency_table(mass: np.ndarray) -> list[int]:
    """Returns cumulative integer frequencies as the range coder takes them."""
    clipped = np.clip(mass, 1.0 / PRECISION, 1.0)
    counts = np.round(clipped / clipped.sum() * PRECISION)
    return [0] + [int(total) for total in np.add.accumulate(counts)]


def time_loop(
    setup: Setup, network: Callable, masses: Callable, positions: Sequence[tuple[int, int]]
) -> list[float]:
    """Returns seconds per position for decoding its symbols."""
    from range_coder import RangeDecoder, RangeEncoder

    largest = max(1, int(np.abs(setup.y).max()))
    channels = np.flatnonzero(np.any(setup.y != 0, (0, 1)))
    edge = [(REACH, REACH), (REACH, REACH), (0, 0)]
    y = np.pad(setup.y.astype(np.float32), edge)
    phi = np.pad(setup.phi, edge)

    def windows(row, column):
        box = np.s_[row : row + 2 * REACH + 1, column : column + 2 * REACH + 1]
        return y[box], phi[box]

    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "y.bin")
        encoder = RangeEncoder(path)
        for row, column in tqdm(positions, desc="loop, encoding", leave=False):
            p = network(*windows(row, column))
            for channel in channels:
                table = frequency_table(masses(p, channel, largest))
                encoder.encode([int(setup.y[row, column, channel]) + largest], table)
        encoder.close()
        decoder = RangeDecoder(path)
        for row, column in tqdm(positions, desc="loop, decoding", leave=False):
            found = np.zeros(setup.y.shape[-1], np.int64)
            start = time.perf_counter()
            p = network(*windows(row, column))
            for channel in channels:
                table = frequency_table(masses(p, channel, largest))
                found[channel] = decoder.decode(1, table)[0] - largest
            seconds.append(time.perf_counter() - start)
            if not np.array_equal(found, setup.y[row, column]):
                raise LimitError("the loop did not return the symbols that it was given")
        decoder.close()
    return seconds


def measure(num_filters: int, num_positions: int, repeats: int, seed: int) -> dict:
    """Returns all figures of the experiment as a JSON-able dict; times are in seconds."""
    setup = Setup(num_filters, seed)
    total = HEIGHT * WIDTH
    spread = np.linspace(0, total - 1, num_positions).round().astype(int)
    positions = [divmod(int(index), WIDTH) for index in spread]
    result = {
        "latent": [HEIGHT, WIDTH, num_filters],
        "bits_per_symbol": round(setup.bits, 3),
        "largest_symbol": int(np.abs(setup.y).max()),
        "channels_in_use": int(np.any(setup.y != 0, (0, 1)).sum()),
        "steps": wavefront.num_steps(HEIGHT, WIDTH),
        "cores": os.cpu_count(),
        "tensorflow": tf.__version__,
        "loop_positions": num_positions,
        "loop_positions_extrapolated_to": total,
    }
    ours = time_ours(setup, repeats)
    result["ours"] = {"median": statistics.median(ours), "all": ours}
    versions = {
        "released": (window_network(setup), released_masses),
        "lenient": (position_network(setup), lenient_masses),
    }
    for name, (network, masses) in versions.items():
        per_position = time_loop(setup, network, masses, positions)
        median = statistics.median(per_position)
        result[name] = {
            "median_per_position": median,
            "whole_latent": median * total,
            "ratio_to_ours": median * total / result["ours"]["median"],
        }
    return result


def report(result: dict) -> str:
    """Returns the figures as text."""
    height, width, channels = result["latent"]
    ours = result["ours"]
    lines = [
        f"latent {height} x {width} x {channels}, {height * width * channels} symbols of "
        f"{result['bits_per_symbol']:.2f} bits, largest {result['largest_symbol']}, "
        f"{result['channels_in_use']} channels in use, {result['cores']} cores",
        f"{'ours':10} {ours['median']:9.3f} s   ({result['steps']} steps, median of "
        f"{len(ours['all'])})",
    ]
    for name in ("released", "lenient"):
        loop = result[name]
        lines.append(
            f"{name:10} {loop['whole_latent']:9.1f} s   {loop['ratio_to_ours']:.0f} times ours "
            f"(loop; median of {result['loop_positions']} positions, "
            f"{1e3 * loop['median_per_position']:.1f} ms each, times {height * width})"
        )
    return "\n".join(lines)


def define_flags() -> None:
    flags.DEFINE_integer("num_filters", 128, "N.", lower_bound=2)
    flags.DEFINE_integer("positions", 24, "Positions on which the loop is timed.", lower_bound=1)
    flags.DEFINE_integer("repeats", 7, "Timed decodings of ours.", lower_bound=1)
    flags.DEFINE_integer("seed", 1, "Of the networks and symbols.")
    flags.DEFINE_string("output", f"{places.RESULTS}/entropy_speed.json", "Where figures go.")


def main(f: flags.FlagValues) -> None:
    if importlib.util.find_spec("range_coder") is None:
        raise ExperimentError("The loop needs range-coder: pip install range-coder")
    result = measure(f.num_filters, f.positions, f.repeats, f.seed)
    print(report(result))
    records.write_json(f.output, result)
    if result["released"]["ratio_to_ours"] < LIMIT:
        raise LimitError(f"ours must be at least {LIMIT:.0f} times faster than the loop")


if __name__ == "__main__":
    program.run(main, define_flags)
