"""Wrong arguments meet one line, whichever backend; nothing hangs in a forked child."""

import multiprocessing
import pathlib
import sys

import numpy as np
import pytest
from portable import random_models

from gllmm_tf import Codec
from gllmm_tf.errors import GllmmError
from gllmm_tf.portable.codec import PortableCodec

IMAGE = np.zeros((8, 9, 3), np.uint8)
MODEL = random_models.model_file("variable")


@pytest.fixture(scope="module")
def codec():
    return PortableCodec(MODEL)


@pytest.fixture(scope="module")
def data(codec):
    return codec.compress(IMAGE)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"tile": -1}, "tile is -1, it must be a whole number from 0 up"),
        ({"tile": 64.5}, "tile is 64.5"),
        ({"tile": "64"}, "tile is '64'"),
        ({"tile": True}, "tile is True"),
        ({"memory": 0}, "memory is 0, it must be a whole number from 1 up"),
        ({"memory": "1G"}, "memory is '1G'"),
    ],
)
def test_settings(settings, words):
    with pytest.raises(GllmmError, match=words):
        PortableCodec(MODEL, **settings)


@pytest.mark.parametrize(
    "arguments, options, words",
    [
        (["photo.png"], {}, "not a path"),
        ([pathlib.Path("photo.png")], {}, "not a path"),
        ([["photo.png"]], {}, "not a path"),
        ([5], {}, "not int"),
        ([None], {}, "not NoneType"),
        ([IMAGE / 255], {}, r"not float64 \[8, 9, 3\]"),
        ([IMAGE[..., :1]], {}, r"not uint8 \[8, 9, 1\]"),
        ([IMAGE, "2"], {}, "quality is '2', it must be a number"),
        ([IMAGE, np.array([1, 2])], {}, "quality is array"),
        ([IMAGE, True], {}, "quality is True"),
        ([IMAGE], {"refine": -1}, "refine is -1"),
        ([IMAGE], {"refine": 1.5}, "refine is 1.5"),
        ([IMAGE], {"metadata": [1]}, "metadata are"),
        ([IMAGE], {"metadata": {300: b""}}, "tags from 1 to 255"),
        ([IMAGE], {"metadata": {3: "text"}}, "metadata are"),
    ],
)
def test_compress(codec, arguments, options, words):
    with pytest.raises(GllmmError, match=words) as error:
        codec.compress(*arguments, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("wrong", ["a.gllmm", pathlib.Path("a.gllmm"), 5, None, IMAGE])
def test_decompress(codec, wrong):
    with pytest.raises(GllmmError, match="a file is (its )?bytes, not"):
        codec.decompress(wrong)


@pytest.mark.parametrize("crop", [(1, 2, 3), (0, 0, 1.5, 2), 5, "abcd"])
def test_crop(codec, data, crop):
    with pytest.raises(GllmmError, match="crop is .* it must be four whole numbers"):
        codec.decompress(data, crop=crop)


def test_limits(codec, data):
    with pytest.raises(GllmmError, match="max_pixels is '9'"):
        codec.decompress(data, max_pixels="9")


def test_what_is_as_good(codec, data):
    image = codec.decompress(data)
    for same in (bytearray(data), memoryview(data)):
        np.testing.assert_array_equal(codec.decompress(same), image)
    assert codec.compress(IMAGE, np.float32(2), refine=np.int64(0)) == codec.compress(IMAGE, 2)
    region = codec.decompress(data, crop=tuple(np.array([1, 1, 4, 5])))
    assert region.shape == (5, 4, 3)


def in_child(make):
    """What a forked child says, which must not hang."""
    here, there = multiprocessing.get_context("fork").Pipe()

    def run():
        try:
            there.send(make())
        except GllmmError as error:
            there.send(str(error))

    child = multiprocessing.get_context("fork").Process(target=run)
    child.start()
    try:
        assert here.poll(60), "the child hangs"
        return here.recv()
    finally:
        child.kill()
        child.join()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")
def test_forked_children(codec, data):
    for use in (
        lambda: codec.compress(IMAGE),
        lambda: codec.decompress(data),
        lambda: codec.reconstruct(codec.encode(IMAGE).latents, (8, 9)),
    ):
        assert "load a codec in each process" in in_child(use)
    assert in_child(lambda: PortableCodec(MODEL).compress(IMAGE)) == data


def test_the_facade_makes_no_codec_by_itself(tiny_codec):
    with pytest.raises(TypeError, match="Codec.load or Codec.of"):
        Codec(tiny_codec.model_file)
    assert type(Codec.of(tiny_codec.model_file)) is type(tiny_codec)
