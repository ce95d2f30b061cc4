"""Where the time of encoding and decoding one picture goes, stage by stage.

    g_a h_a g_s h_s   the networks alone, on the whole picture
    parameters        context, entropy parameters and mixtures: in large batches when encoding, step by
                      step when decoding
    symbols           decisions and range coder: what the coding of the latents takes beyond h_s and
                      parameters
    container         header, checksum
    rest              padding, rounding, copies: the whole call without the stages above

`share` of g_a and g_s is the time that their multiply-adds need at the rate of the fastest 3x3
convolution of the same channels measured in this run, by their time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from experiments.inside.complexity import count_macs
from gllmm_tf.coding import wavefront
from gllmm_tf.coding.latent_coder import LatentCoder
from gllmm_tf.config import LATENT_STRIDE
from gllmm_tf.files import container
from gllmm_tf.model import transforms

BATCH_POSITIONS = 256  # of y at once, for the stage `parameters` of an encoder


def seconds_of(function: Callable[[], object], repeats: int) -> float:
    """Returns the median seconds of a call, after one untimed call."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def graph(function, *signature):
    """Returns a function as a graph."""
    return tf.function(function, input_signature=signature or None, autograph=False)


def network_seconds(stored, pixels: np.ndarray, repeats: int) -> tuple[dict, dict]:
    """Returns ({network: seconds}, {network: MAC of the picture}) of g_a, h_a and g_s.

    Args:
        stored: `ModelFile`.
        pixels: uint8 [H, W, 3], multiples of 64.
        repeats: timed calls.
    """
    config = stored.config
    n, trunk = config.num_filters, (config.stages, config.trunk_widths)
    networks = {
        "g_a": transforms.AnalysisTransform(n, *trunk),
        "h_a": transforms.HyperAnalysisTransform(n),
        "g_s": transforms.SynthesisTransform(n, *trunk),
    }
    x = tf.constant(pixels[None], tf.float32) / 255.0
    y_shape = [1, *(side // LATENT_STRIDE for side in pixels.shape[:2]), n]
    inputs = {"g_a": x, "h_a": tf.zeros(y_shape), "g_s": tf.random.normal(y_shape)}
    seconds, macs = {}, {}
    for name, network in networks.items():
        network(tf.zeros([1, 64, 64, inputs[name].shape[3]]))
        stored.assign(name, network)
        shape = inputs[name].shape
        run = graph(network, tf.TensorSpec([1, None, None, shape[3]], tf.float32))
        seconds[name] = seconds_of(lambda run=run, name=name: run(inputs[name]).numpy(), repeats)
        macs[name] = count_macs(network, [int(size) for size in shape])
    return seconds, macs


def parameter_seconds(
    coder: LatentCoder, y_hat: np.ndarray, z_hat: np.ndarray, index: int, repeats: int
) -> tuple[float, float, float]:
    """Returns (h_s, parameters in batches, parameters step by step) in seconds."""
    height, width = y_hat.shape[:2]
    channels = np.flatnonzero(np.any(y_hat != 0, (0, 1))).astype(np.int32)
    layout = coder.config.families, coder.config.components
    order, _, starts = wavefront.step_order(tf.constant(height), tf.constant(width))
    batches = tf.range(0, height * width + BATCH_POSITIONS, BATCH_POSITIONS)
    batches = tf.minimum(batches, height * width)

    def totals(phi, y, ends):
        """The mixtures of all positions, from one of `ends` to the next."""
        latent = wavefront.Latent(coder.networks, *layout, phi, channels)
        cells = latent.pad(y)

        def body(i, total):
            mixture, _ = latent.mixture(cells, order[ends[i] : ends[i + 1]])
            low = mixture.below(mixture.centre() - 0.5)
            return i + 1, total + tf.reduce_sum(mixture.total - low)

        start = (tf.constant(0), tf.constant(0.0, tf.float64))
        count = tf.size(ends) - 1
        return tf.while_loop(lambda i, _: i < count, body, start, parallel_iterations=1)[1]

    phi = tf.constant(coder.phi(z_hat, index))
    y = tf.constant(y_hat, tf.float64)
    signature = [tf.TensorSpec(t.shape, t.dtype) for t in (phi, y)]
    run = graph(totals, *signature, tf.TensorSpec([None], tf.int32))
    return (
        seconds_of(lambda: coder.phi(z_hat, index), repeats),
        seconds_of(lambda: run(phi, y, batches).numpy(), repeats),
        seconds_of(lambda: run(phi, y, starts).numpy(), repeats),
    )


def convolution_rate(channels: int, size: Sequence[int], repeats: int) -> float:
    """Returns multiply-adds per second of 3x3 convolutions, the fastest of three resolutions."""
    kernel = tf.random.normal([3, 3, channels, channels]) * 0.01
    run = graph(
        lambda x: tf.nn.conv2d(x, kernel, 1, "SAME"),
        tf.TensorSpec([1, None, None, channels], tf.float32),
    )
    rates = []
    for stride in (2, 4, 8):
        height, width = (side // stride for side in size)
        x = tf.random.normal([1, height, width, channels])
        seconds = seconds_of(lambda x=x: run(x).numpy(), repeats)
        rates.append(9 * channels**2 * height * width / seconds)
    return max(rates)


def stages_of(stored, encoded, pixels: np.ndarray, whole: dict, repeats: int) -> dict:
    """Returns the table of stages, in seconds.

    Args:
        stored: `ModelFile`.
        encoded: what its codec returned for `pixels`.
        pixels: uint8 [H, W, 3], multiples of 64.
        whole: "encode" and "decode" -> seconds of whole calls.
        repeats: timed calls of each stage.
    """
    coder = LatentCoder(stored)
    y_hat, z_hat = encoded.latents
    index = container.unpack(encoded.data).quality_index
    streams = coder.encode(y_hat, z_hat, index)
    networks, macs = network_seconds(stored, pixels, repeats)
    h_s, batches, steps = parameter_seconds(coder, y_hat, z_hat, index, repeats)
    coding = seconds_of(lambda: coder.encode(y_hat, z_hat, index), repeats)
    decoding = seconds_of(lambda: coder.decode(streams, z_hat.shape[:2], index), repeats)
    pack = seconds_of(lambda: container.pack(container.unpack(encoded.data)), repeats)

    encode = {"g_a": networks["g_a"], "h_a": networks["h_a"], "h_s": h_s, "parameters": batches}
    encode |= {"symbols": coding - h_s - batches, "container": pack}
    decode = {"h_s": h_s, "parameters": steps, "symbols": decoding - h_s - steps}
    decode |= {"g_s": networks["g_s"], "container": pack}
    encode["rest"] = whole["encode"] - sum(encode.values())
    decode["rest"] = whole["decode"] - sum(decode.values())
    rate = convolution_rate(stored.config.num_filters, pixels.shape[:2], repeats)
    return {
        "encode": encode,
        "decode": decode,
        "entropy_coding": coding,
        "entropy_decoding": decoding,
        "convolution_gmac_per_second": rate / 1e9,
        "gmac": {name: macs[name] / 1e9 for name in ("g_a", "g_s")},
        "share": {name: macs[name] / rate / networks[name] for name in ("g_a", "g_s")},
        "bits_per_symbol": 8 * len(streams.y) / y_hat.size,
    }
