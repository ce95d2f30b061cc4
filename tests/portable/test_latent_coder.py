"""Streams hold the latents, whatever their size, and the golden bytes come out."""

import concurrent.futures
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import DATA, ROOT
from portable import latent_samples, random_models

from gllmm_tf.coding.streams import num_steps
from gllmm_tf.errors import FormatError, OutOfMemoryError
from gllmm_tf.files import container
from gllmm_tf.portable import latent_coder, symbols, wavefront, workers
from gllmm_tf.portable.latent_coder import LatentCoder, Streams
from gllmm_tf.portable.range_coder import RangeDecoder
from gllmm_tf.zoo.model_file import ModelFile

INDEX = 11


@pytest.fixture(scope="module", params=list(random_models.CONFIGS))
def coder(request):
    return LatentCoder(
        random_models.model_file(request.param, empty_rows=request.param != "widths")
    )


@pytest.fixture(scope="module")
def golden():
    """(coder, container, latents) of the golden file."""
    coder = LatentCoder(ModelFile.read(os.path.join(DATA, "golden_model.npz")))
    with open(os.path.join(DATA, "golden.gllmm"), "rb") as f:
        parts = container.unpack(f.read())
    with np.load(os.path.join(DATA, "golden_latents.npz")) as archive:
        return coder, parts, (archive["y_hat"], archive["z_hat"])


def test_golden_file(golden):
    """Bytes of format version 1 decode to the pinned latents, and the latents give the bytes."""
    coder, parts, (y_hat, z_hat) = golden
    streams = Streams(parts.z_stream, parts.y_stream)
    latents = coder.decode(streams, z_hat.shape[:2], parts.quality_index)
    np.testing.assert_array_equal(latents.y_hat, y_hat)
    np.testing.assert_array_equal(latents.z_hat, z_hat)
    assert latents.y_hat.dtype == latents.z_hat.dtype == np.float32
    assert coder.encode(y_hat, z_hat, parts.quality_index) == streams


@pytest.mark.parametrize("shape", [(4, 4), (4, 20), (20, 4), (12, 8), (32, 40)])
def test_streams_round_trip(coder, shape):
    y_hat, z_hat = latent_samples.latents(coder.config, shape, seed=sum(shape))
    streams = coder.encode(y_hat, z_hat, INDEX)
    back = coder.decode(streams, z_hat.shape[:2], INDEX)
    np.testing.assert_array_equal(back.z_hat, z_hat)
    np.testing.assert_array_equal(back.y_hat, y_hat)


def test_information_is_what_the_stream_takes(coder):
    """For latents as the model expects them: those that it reads out of random bytes."""
    rng = np.random.default_rng(3)
    _, z_hat = latent_samples.latents(coder.config, (16, 24))
    latent = coder.whole_latent(z_hat, INDEX)
    reader = symbols.DecisionReader(RangeDecoder(rng.bytes(100_000)))
    y_hat = latent.crop(wavefront.decode_steps(latent, reader, wavefront.StepOrder(16, 24)))
    bits = coder.information_bits(y_hat, z_hat, INDEX)
    length = 8 * len(coder.encode(y_hat, z_hat, INDEX).y)
    assert 0.999 * bits - 16 < length < 1.002 * bits + 80


def test_batches_and_threads_change_nothing(coder, monkeypatch):
    """Large pictures are coded in bounded memory; that must not show in the stream."""
    y_hat, z_hat = latent_samples.latents(coder.config, (16, 12))
    wanted = coder.encode(y_hat, z_hat, INDEX)
    information = coder.information_bits(y_hat, z_hat, INDEX)
    monkeypatch.setattr(latent_coder, "INFORMATION_POSITIONS", 7)
    for elements, phi_positions, threads in ((70, 3, 1), (1, 1, 2), (500, 1000, 3)):
        monkeypatch.setattr(wavefront, "BATCH_ELEMENTS", elements)
        monkeypatch.setattr(wavefront, "PHI_POSITIONS", phi_positions)
        monkeypatch.setattr(workers, "count", lambda threads=threads: threads)
        assert coder.encode(y_hat, z_hat, INDEX) == wanted
        back = coder.decode(wanted, z_hat.shape[:2], INDEX)
        np.testing.assert_array_equal(back.y_hat, y_hat)
    np.testing.assert_allclose(coder.information_bits(y_hat, z_hat, INDEX), information, rtol=1e-12)


def test_a_zero_latent_costs_next_to_nothing(golden):
    coder, _, _ = golden
    assert len(coder.encode(np.zeros((32, 48, 8)), np.zeros((8, 12, 8)), 0).y) <= 4


def test_steps_in_which_every_symbol_is_its_centre(golden):
    """One symbol in one living channel: nearly all steps have no decision beyond the centre."""
    coder, _, _ = golden
    y_hat, z_hat = np.zeros((8, 12, 8)), np.zeros((2, 3, 8))
    y_hat[7, 11, 3] = 1
    back = coder.decode(coder.encode(y_hat, z_hat, 0), (2, 3), 0)
    np.testing.assert_array_equal(back.y_hat, y_hat)


def test_integer_dtypes_are_alike(golden):
    coder, _, (y_hat, z_hat) = golden
    wanted = coder.encode(y_hat, z_hat, INDEX)
    for dtype in (np.int32, np.int64, np.float64):
        assert coder.encode(y_hat.astype(dtype), z_hat.astype(dtype), INDEX) == wanted


@pytest.mark.parametrize("shape", [(8, 12), (40, 24)])
def test_listeners_hear_of_every_step(coder, shape):
    y_hat, z_hat = latent_samples.latents(coder.config, shape)
    heard = []
    streams = coder.encode(y_hat, z_hat, INDEX, tell=heard.append)
    assert sum(heard) == wavefront.num_steps(*shape) and min(heard) > 0
    heard.clear()
    coder.decode(streams, z_hat.shape[:2], INDEX, tell=heard.append)
    assert sum(heard) == wavefront.num_steps(*shape)


def test_threads_share_a_coder(coder):
    drawn = [latent_samples.latents(coder.config, (8, 4 * i), seed=i) for i in range(1, 7)]
    wanted = [coder.encode(*latents, INDEX) for latents in drawn]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        streams = list(pool.map(lambda latents: coder.encode(*latents, INDEX), drawn))
        shapes = [z_hat.shape[:2] for _, z_hat in drawn]
        back = list(pool.map(lambda s, shape: coder.decode(s, shape, INDEX), streams, shapes))
    assert streams == wanted
    for latents, (y_hat, _) in zip(back, drawn):
        np.testing.assert_array_equal(latents.y_hat, y_hat)


def test_damaged_streams(coder):
    """Another byte, fewer or more of them: refused, or other symbols, and never another error."""
    rng = np.random.default_rng(7)
    y_hat, z_hat = latent_samples.latents(coder.config, (8, 8), spread=0.3)
    streams = coder.encode(y_hat, z_hat, INDEX)
    refused = 0
    for _ in range(60):
        damaged = []
        for stream in streams:
            stream = bytearray(stream)
            if stream and rng.random() < 0.7:
                stream[int(rng.integers(len(stream)))] ^= int(rng.integers(1, 256))
            if rng.random() < 0.3:
                stream = stream[: int(rng.integers(len(stream) + 1))]
            damaged.append(bytes(stream))
        try:
            coder.decode(Streams(*damaged), z_hat.shape[:2], INDEX)
        except FormatError as error:
            assert "damaged" in str(error)
            refused += 1
    assert refused > 30


@pytest.mark.parametrize("streams", [Streams(b"", b""), Streams(b"\xff" * 9, b"\xff" * 99)])
def test_streams_of_one_byte_only(coder, streams):
    """Nothing but zeros, or ones, which ask for the farthest symbols."""
    try:
        y_hat, _ = coder.decode(streams, (2, 2), INDEX)
    except FormatError:
        return
    assert np.all(np.abs(y_hat) < 2.0 ** (symbols.MAX_BLOCK + 2))


def test_memory_that_runs_out(golden, monkeypatch):
    coder, _, (y_hat, z_hat) = golden

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(wavefront, "StepOrder", fail)
    with pytest.raises(OutOfMemoryError, match="not enough memory for coding the latents"):
        coder.encode(y_hat, z_hat, INDEX)


PROGRAM = """
import sys
import numpy as np
from conftest import DATA
from gllmm_tf.files import container
from gllmm_tf.portable.latent_coder import LatentCoder, Streams
from gllmm_tf.portable.range_coder import RangeDecoder
from gllmm_tf.zoo.model_file import ModelFile
coder = LatentCoder(ModelFile.read(f"{DATA}/golden_model.npz"))
parts = container.unpack(open(f"{DATA}/golden.gllmm", "rb").read())
coder.decode(Streams(parts.z_stream, parts.y_stream), (2, 3), parts.quality_index)
assert not [name for name in sys.modules if name.startswith(("tensorflow", "keras"))]
"""


def test_no_tensorflow():
    path = os.pathsep.join([ROOT, os.path.join(ROOT, "tests")])
    environment = {**os.environ, "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True)


@pytest.mark.parametrize("cut", [1, 2, 9])
def test_a_stream_that_has_ended_stops_its_decoder(golden, cut):
    coder, _, _ = golden
    y_hat, z_hat = latent_samples.latents(coder.config, (64, 64), spread=2)
    streams = coder.encode(y_hat, z_hat, INDEX)
    heard = []
    with pytest.raises(FormatError, match="although the checksum fits"):
        coder.decode(Streams(streams.z, b"\xd5" * cut), (16, 16), INDEX, tell=heard.append)
    assert sum(heard) < num_steps(64, 64) / 4
