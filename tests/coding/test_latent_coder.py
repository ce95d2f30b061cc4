"""Streams hold the latents, whatever their size, and whoever listens or fails meanwhile."""

import concurrent.futures
import threading

import numpy as np
import pytest
import tensorflow as tf
from coding.test_exactness import HEIGHT, INDEX, WIDTH, latents

from gllmm_tf.coding import wavefront
from gllmm_tf.coding.latent_coder import LatentCoder, Streams
from gllmm_tf.errors import FormatError, OutOfMemoryError


@pytest.fixture(scope="module")
def coder(tiny_tensorflow_codec):
    return tiny_tensorflow_codec.coder


@pytest.mark.parametrize("shape", [(4, 4), (4, 20), (20, 4), (12, 8)])
def test_streams_round_trip(coder, shape):
    rng = np.random.default_rng(sum(shape))
    y_hat = np.round(rng.laplace(size=(*shape, 8)) * rng.choice([0.1, 1, 300], 8))
    y_hat.reshape(-1)[rng.integers(0, y_hat.size, 5)] = rng.integers(-(2**24), 2**24, 5)
    z_hat = np.round(rng.normal(size=(shape[0] // 4, shape[1] // 4, 8)) * 9)
    streams = coder.encode(y_hat, z_hat, INDEX)
    back = coder.decode(streams, z_hat.shape[:2], INDEX)
    np.testing.assert_array_equal(back.z_hat, z_hat)
    np.testing.assert_array_equal(back.y_hat, y_hat)


def test_batches_and_bands_change_nothing(coder, tiny_tensorflow_codec, monkeypatch):
    """Large pictures are coded in bounded memory; that must not show in the stream."""
    y_hat, z_hat = latents(8)
    wanted = coder.encode(y_hat, z_hat, INDEX)
    information = coder.information_bits(y_hat, z_hat, INDEX)
    monkeypatch.setattr("gllmm_tf.coding.symbols.BATCH_ELEMENTS", 70)
    monkeypatch.setattr("gllmm_tf.coding.fixed_point.BAND_POSITIONS", 20)
    monkeypatch.setattr("gllmm_tf.coding.latent_coder.INFORMATION_POSITIONS", 7)
    other = LatentCoder(tiny_tensorflow_codec.model_file)
    assert other.encode(y_hat, z_hat, INDEX) == wanted
    np.testing.assert_allclose(other.information_bits(y_hat, z_hat, INDEX), information, rtol=1e-12)


def test_a_zero_latent_costs_next_to_nothing(coder):
    y_hat, z_hat = np.zeros((32, 48, 8)), np.zeros((8, 12, 8))
    assert len(coder.encode(y_hat, z_hat, 0).y) <= 4


def test_steps_in_which_every_symbol_is_its_centre(coder):
    """One symbol in one living channel: nearly all steps have no decision beyond the centre."""
    y_hat, z_hat = np.zeros((8, 12, 8)), np.zeros((2, 3, 8))
    y_hat[7, 11, 3] = 1
    back = coder.decode(coder.encode(y_hat, z_hat, 0), (2, 3), 0)
    np.testing.assert_array_equal(back.y_hat, y_hat)


@pytest.mark.parametrize("rows", [2, 30])
def test_every_call_hears_of_its_own_steps(coder, rows):
    """An encoder and decoders at work at once, in threads: each listener gets all of its steps."""
    y_hat, z_hat = np.zeros((4 * rows, 8, 8)), np.zeros((rows, 2, 8))
    y_hat[:, 3, 2] = 5
    streams = coder.encode(y_hat, z_hat, 0)
    start = threading.Barrier(4)

    def work(number):
        heard = []
        start.wait()
        for _ in range(3):
            if number % 2:
                coder.encode(y_hat, z_hat, 0, tell=heard.append)
            else:
                back = coder.decode(streams, (rows, 2), 0, tell=heard.append)
                np.testing.assert_array_equal(back.y_hat, y_hat)
        return sum(heard)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        heard = list(pool.map(work, range(4)))
    assert heard == 4 * [3 * wavefront.num_steps(4 * rows, 8)]


def test_a_listener_that_fails_leaves_nothing_behind(coder):
    y_hat, z_hat = latents(8)

    def fail(steps):
        raise ValueError("a broken bar")

    with pytest.raises(tf.errors.OpError, match="a broken bar"):
        coder.encode(y_hat, z_hat, INDEX, tell=fail)
    heard = []
    coder.encode(y_hat, z_hat, INDEX, tell=heard.append)
    assert sum(heard) == wavefront.num_steps(HEIGHT, WIDTH)


def exhaust_tensorflow(*arguments):
    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")


def exhaust_numpy(*arguments):
    np.empty(1 << 60, np.uint8)


def exhaust_in_a_kernel(coder, string, networks, families, components, phi, y, *rest):
    """As if a kernel found no memory while the graph runs, not while it is made."""
    y = tf.numpy_function(exhaust_numpy, [y], tf.float64)
    return coder.start(string), y


@pytest.mark.parametrize("exhaust", [exhaust_tensorflow, exhaust_numpy, exhaust_in_a_kernel])
def test_running_out_of_memory_is_no_damage(tiny_tensorflow_codec, monkeypatch, exhaust):
    y_hat, z_hat = latents(8)
    streams = tiny_tensorflow_codec.coder.encode(y_hat, z_hat, INDEX)
    coder = LatentCoder(tiny_tensorflow_codec.model_file)
    monkeypatch.setattr("gllmm_tf.coding.wavefront.code_latent", exhaust)
    with pytest.raises(OutOfMemoryError, match="not enough memory for decoding the latents"):
        coder.decode(streams, z_hat.shape[:2], INDEX)
    with pytest.raises(OutOfMemoryError, match="not enough memory for coding the latents"):
        coder.encode(y_hat, z_hat, INDEX)


@pytest.mark.parametrize("more", [b"\x55" * 40, b"\xff" * 9])
def test_a_stream_that_goes_on_is_damage(coder, more):
    y_hat, z_hat = latents(8)
    streams = coder.encode(y_hat, z_hat, INDEX)
    with pytest.raises(FormatError, match="damaged although the checksum fits"):
        coder.decode(Streams(streams.z, streams.y + more), z_hat.shape[:2], INDEX)


@pytest.mark.parametrize("cut", [1, 2, 9])
def test_a_stream_that_has_ended_stops_its_decoder(coder, cut):
    rng = np.random.default_rng(1)
    z_hat = np.round(rng.normal(size=(16, 16, 8)) * 9)
    y_hat = np.round(rng.normal(size=(64, 64, 8)) * 3)
    streams = coder.encode(y_hat, z_hat, INDEX)
    heard = []
    with pytest.raises(FormatError, match="although the checksum fits"):
        coder.decode(Streams(streams.z, b"\xd5" * cut), (16, 16), INDEX, tell=heard.append)
    assert sum(heard) < wavefront.num_steps(64, 64) / 4
