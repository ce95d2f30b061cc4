"""The integers ahead of the coder are the same, bit for bit, however they are computed."""

import hashlib
import json
import os
import subprocess
import sys

import integer_reference
import numpy as np
import tensorflow as tf
from conftest import DATA

from gllmm_tf.coding import wavefront

HEIGHT, WIDTH, INDEX = 8, 12, 37


def latents(channels, seed=5):
    rng = np.random.default_rng(seed)
    spread = rng.choice([0.02, 0.3, 3.0, 40.0], channels)
    y_hat = np.round(rng.laplace(size=(HEIGHT, WIDTH, channels)) * spread)
    z_hat = np.round(rng.normal(size=(HEIGHT // 4, WIDTH // 4, channels)) * 4)
    y_hat[3, 4, 0] = 70000  # beyond the clip of the context
    return y_hat, z_hat


def frequencies(codec, y_hat, z_hat, index=INDEX):
    """Masses below and above the true symbol of every element, [h w N, 2], and their total."""
    mixture = codec.coder.integer_mixture(
        tf.constant(y_hat), tf.constant(z_hat), tf.constant(index)
    )
    y = tf.constant(y_hat.reshape(-1))
    edges = tf.stack([mixture.below(y - 0.5), mixture.below(y + 0.5)], 1)
    return edges.numpy(), mixture.total.numpy()


def test_everything_is_an_integer_below_2_53(tiny_tensorflow_codec):
    edges, total = frequencies(tiny_tensorflow_codec, *latents(8))
    assert np.all(edges == np.round(edges))
    assert edges.min() >= 0 and edges.max() < 2**53 and total.max() < 2**53


def masses_at(latent, y_hat, positions):
    """Masses below and above the symbols at some positions, [P n, 2]."""
    mixture, y = latent.mixture(latent.pad(tf.constant(y_hat)), tf.constant(positions, tf.int32))
    return tf.stack([mixture.below(y - 0.5), mixture.below(y + 0.5)], 1).numpy()


def latent_of(codec, z_hat, channels):
    return codec.coder.whole_latent(tf.constant(z_hat), tf.constant(INDEX), tf.constant(channels))


def test_all_positions_at_once_against_one_step_at_a_time(tiny_tensorflow_codec):
    y_hat, z_hat = latents(8)
    wanted, _ = frequencies(tiny_tensorflow_codec, y_hat, z_hat)
    wanted = wanted.reshape(HEIGHT * WIDTH, 8, 2)
    latent = latent_of(tiny_tensorflow_codec, z_hat, list(range(8)))
    steps = [[] for _ in range(wavefront.num_steps(HEIGHT, WIDTH))]
    for row in range(HEIGHT):
        for column in range(WIDTH):
            steps[column + 3 * row].append(row * WIDTH + column)
    for positions in steps:
        edges = masses_at(latent, y_hat, positions)
        np.testing.assert_array_equal(edges, wanted[positions].reshape(-1, 2))


def test_no_step_reads_what_is_not_decoded_yet(tiny_tensorflow_codec):
    """What a decoder has not reached is still 0 and must not matter."""
    y_hat, z_hat = latents(8)
    latent = latent_of(tiny_tensorflow_codec, z_hat, list(range(8)))
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    for t in (0, 5, 20, 32):
        known = np.where((columns + 3 * rows < t)[..., None], y_hat, 0)
        (positions,) = np.nonzero((columns + 3 * rows).reshape(-1) == t)
        wanted, _ = latent.mixture(latent.pad(tf.constant(y_hat)), tf.constant(positions, tf.int32))
        mixture, _ = latent.mixture(
            latent.pad(tf.constant(known)), tf.constant(positions, tf.int32)
        )
        np.testing.assert_array_equal(mixture.parts, wanted.parts)


def test_leaving_out_dead_channels_changes_nothing(tiny_tensorflow_codec):
    y_hat, z_hat = latents(8)
    y_hat[..., [1, 2, 6]] = 0
    alive = [0, 3, 4, 5, 7]
    wanted, _ = frequencies(tiny_tensorflow_codec, y_hat, z_hat)
    wanted = wanted.reshape(-1, 8, 2)[:, alive]
    edges = masses_at(
        latent_of(tiny_tensorflow_codec, z_hat, alive), y_hat, np.arange(HEIGHT * WIDTH)
    )
    np.testing.assert_array_equal(edges, wanted.reshape(-1, 2))


def test_independent_integer_evaluation(tiny_tensorflow_codec):
    y_hat, z_hat = latents(8)
    edges, total = frequencies(tiny_tensorflow_codec, y_hat, z_hat)
    edges = edges.reshape(HEIGHT, WIDTH, 8, 2)
    total = total.reshape(HEIGHT, WIDTH, 8)
    config = tiny_tensorflow_codec.config
    networks = integer_reference.IntegerNetworks(tiny_tensorflow_codec.model_file.exact)
    phi = networks.hyper_synthesis(z_hat, INDEX)
    wanted_phi = tiny_tensorflow_codec.coder.networks.hyper_synthesis(
        tf.constant(z_hat), tf.constant(INDEX)
    )
    np.testing.assert_array_equal(phi, wanted_phi)
    for row in range(HEIGHT):
        for column in range(WIDTH):
            params = networks.parameters(y_hat, phi, row, column).reshape(-1, 8)
            parts = integer_reference.mixture(params, config.families, config.components)
            np.testing.assert_array_equal(parts[0].sum(-1) << 32, total[row, column])
            for side, offset in enumerate((-1, 1)):
                twice = 2 * y_hat[row, column].astype(np.int64) + offset
                masses = integer_reference.below(parts, config.families, config.components, twice)
                np.testing.assert_array_equal(masses, edges[row, column, :, side])


SETTINGS = {
    "one thread": {"threads": "1"},
    "oneDNN off": {"TF_ENABLE_ONEDNN_OPTS": "0"},
    "AVX2 only": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
}

PORTABLE_SETTINGS = {
    "portable, one thread": {"OPENBLAS_NUM_THREADS": "1"},
    "portable, two threads": {"OPENBLAS_NUM_THREADS": "2"},
    "portable, AVX2 only": {"OPENBLAS_CORETYPE": "Haswell"},
    "portable, SSE only": {"OPENBLAS_CORETYPE": "Nehalem"},
}

HASHES = """
parts = [np.asarray(edges, np.float64), np.asarray(total, np.float64)]
parts = [part.tobytes() for part in parts] + list(codec.coder.encode(y_hat, z_hat, index))
print(json.dumps([hashlib.sha256(part).hexdigest() for part in parts]))
"""
PROGRAM = """
import hashlib, json, os, sys
import numpy as np, tensorflow as tf
threads = int(os.environ.get("threads", 0))
tf.config.threading.set_intra_op_parallelism_threads(threads)
tf.config.threading.set_inter_op_parallelism_threads(threads)
sys.path.insert(0, sys.argv[2])
import conftest
from coding import test_exactness
import gllmm_tf
codec = gllmm_tf.Codec.load(sys.argv[1], backend="tensorflow")
y_hat, z_hat = test_exactness.latents(8)
index = test_exactness.INDEX
edges, total = test_exactness.frequencies(codec, y_hat, z_hat)
"""
PORTABLE_PROGRAM = """
import hashlib, json, sys
import numpy as np
import gllmm_tf
codec = gllmm_tf.Codec.load(sys.argv[1], backend="portable")
with np.load(sys.argv[2]) as stored:
    y_hat, z_hat, index = stored["y_hat"], stored["z_hat"], int(stored["index"])
mixture = codec.coder.integer_mixture(y_hat, z_hat, index)
y = y_hat.reshape(-1)
edges, total = np.stack([mixture.below(y - 0.5), mixture.below(y + 0.5)], 1), mixture.total
assert "tensorflow" not in sys.modules
"""


def hashes(program, environment, *arguments):
    """What a program of its own prints under some settings."""
    result = subprocess.run(
        [sys.executable, "-c", program + HASHES, *map(str, arguments)],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(result.stdout)


def test_threads_libraries_and_backends(tiny_model_path, tiny_tensorflow_codec, tmp_path):
    y_hat, z_hat = latents(8)
    edges, total = frequencies(tiny_tensorflow_codec, y_hat, z_hat)
    streams = tiny_tensorflow_codec.coder.encode(y_hat, z_hat, INDEX)
    parts = [edges.astype(np.float64).tobytes(), total.astype(np.float64).tobytes(), *streams]
    wanted = [hashlib.sha256(part).hexdigest() for part in parts]
    tests = os.path.dirname(os.path.dirname(__file__))
    for name, environment in SETTINGS.items():
        assert hashes(PROGRAM, environment, tiny_model_path, tests) == wanted, name
    np.savez(tmp_path / "latents.npz", y_hat=y_hat, z_hat=z_hat, index=INDEX)
    for name, environment in PORTABLE_SETTINGS.items():
        found = hashes(PORTABLE_PROGRAM, environment, tiny_model_path, tmp_path / "latents.npz")
        assert found == wanted, name


def golden_latents(codec):
    """The latents that the golden file holds: drawn, with far outliers and a dead channel."""
    y_hat, z_hat = latents(codec.config.num_filters, seed=11)
    y_hat[..., 2] = 0
    y_hat[7, 11, 5], y_hat[0, 0, 1] = -123456, 2**20
    return y_hat, z_hat


def test_golden_file():
    """Bytes of format version 1 decode to the pinned latents on every future version."""
    from gllmm_tf.codec.tensorflow_codec import TensorFlowCodec

    codec = TensorFlowCodec.load(os.path.join(DATA, "golden_model.npz"))
    with open(os.path.join(DATA, "golden.gllmm"), "rb") as f:
        data = f.read()
    y_hat, z_hat = codec.decode(data).latents
    with np.load(os.path.join(DATA, "golden_latents.npz")) as golden:
        np.testing.assert_array_equal(y_hat, golden["y_hat"])
        np.testing.assert_array_equal(z_hat, golden["z_hat"])
    streams = codec.coder.encode(y_hat, z_hat, INDEX)
    assert streams.z in data and data[:-4].endswith(streams.y)
