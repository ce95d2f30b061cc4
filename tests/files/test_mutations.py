"""Damaged and forged files through the whole decoder: an error or the right picture, and soon."""

import random
import struct
import time
import zlib

import numpy as np
import pytest

from gllmm_tf.codec.base import Codec
from gllmm_tf.errors import FormatError, GllmmError

BACKENDS = ("portable", "tensorflow")
SECONDS = 20  # For one file of 96 x 144 pixels; a hundred times what it takes.


@pytest.fixture(scope="module", params=BACKENDS)
def codec(request, tiny_model_path):
    pytest.importorskip({"portable": "onnxruntime"}.get(request.param, request.param))
    return Codec.load(tiny_model_path, backend=request.param)


@pytest.fixture(scope="module")
def files(codec, sample_pixels):
    """Two valid files of one picture, to mutate and to splice."""
    return [codec.compress(sample_pixels, quality) for quality in (2, 6)]


@pytest.fixture(scope="module")
def picture(codec, files):
    return codec.decompress(files[0])


def truncate(rng, data, other):
    return data[: rng.randrange(len(data))]


def flip_bits(rng, data, other):
    mutant = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        mutant[rng.randrange(len(mutant))] ^= 1 << rng.randrange(8)
    return bytes(mutant)


def overwrite(rng, data, other):
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.randint(1, 40))
    fill = rng.choice((bytes(end - start), b"\xff" * (end - start), rng.randbytes(end - start)))
    return data[:start] + fill + data[end:]


def insert(rng, data, other):
    at = rng.randint(0, len(data))
    return data[:at] + rng.randbytes(rng.choice((1, 2, 4, 100))) + data[at:]


def delete(rng, data, other):
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.randint(1, 20) :]


def splice(rng, data, other):
    """The head of one file and the tail of the other, aligned at the start or at the end."""
    at = rng.randrange(1, min(len(data), len(other)))
    return data[:at] + (other[at:] if rng.random() < 0.5 else other[len(other) - at :])


def swap(rng, data, other):
    a, b, c = sorted(rng.sample(range(len(data) + 1), 3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


MUTATIONS = (truncate, flip_bits, overwrite, insert, delete, splice, swap)


def decode(codec, data, **kwargs):
    """The decoded picture or the GllmmError; any other exception, and slowness, fails the test."""
    start = time.perf_counter()
    try:
        result = codec.decompress(data, **kwargs)
    except GllmmError as error:
        assert str(error) and str(error).isprintable()
        result = error
    assert time.perf_counter() - start < SECONDS
    return result


@pytest.mark.parametrize("block", range(10))
def test_mutated_files(codec, files, picture, block):
    """50 files a block, 500 in all."""
    refused = 0
    for i in range(50):
        rng = random.Random(50 * block + i)
        data = rng.choice(MUTATIONS)(rng, *files)
        result = decode(codec, data)
        if isinstance(result, GllmmError):
            refused += 1
        else:
            np.testing.assert_array_equal(result, picture)
    assert refused > 40


@pytest.mark.parametrize("block", range(6))
def test_forged_files(codec, files, block):
    """The same damage with a checksum that fits: any picture of the declared size, or an error."""
    shapes = set()
    for i in range(20):
        rng = random.Random(1000 + 20 * block + i)
        other = files[1][:-4]
        body = rng.choice(MUTATIONS)(rng, files[0][:-4], other)
        if rng.random() < 0.5:  # Leave the header alone, so that the damage reaches the streams.
            body = files[0][:30] + body[30:]
        data = body + struct.pack("<I", zlib.crc32(body))
        result = decode(codec, data, max_pixels=1 << 16)
        if not isinstance(result, GllmmError):
            assert result.dtype == np.uint8 and result.shape[0] * result.shape[1] <= 1 << 16
            shapes.add(result.shape)
    assert shapes  # Some forged streams decode: to wrong pixels, which only the checksum can tell.


@pytest.mark.parametrize("seed", range(10))
def test_random_streams(codec, files, seed):
    """A valid header with noise, or nothing, for streams."""
    rng = random.Random(seed)
    z_length = rng.choice((0, 1, 5, 40))
    streams = rng.randbytes(z_length + rng.choice((0, 1, 100, 3000)))
    body = files[0][:15] + b"\x90\x01\x60" + bytes([z_length]) + streams  # 144 x 96 pixels
    data = body + struct.pack("<I", zlib.crc32(body))
    result = decode(codec, data)
    assert isinstance(result, FormatError) or result.shape == (96, 144, 3)
