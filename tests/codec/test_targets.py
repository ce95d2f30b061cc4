"""Targets: sizes are never exceeded, PSNR is never missed, g_a runs once."""

import math
import pathlib

import numpy as np
import pytest
from PIL import Image

import gllmm_tf
from gllmm_tf import metrics
from gllmm_tf.codec import targets, wanted
from gllmm_tf.errors import GllmmError, ImageError, ModelError

ASSETS = pathlib.Path(__file__).resolve().parents[2] / "assets"


@pytest.fixture(scope="module")
def photo():
    """uint8 [128, 128, 3] of a photograph."""
    return np.array(Image.open(ASSETS / "friends.png").convert("RGB"))[160:288, 320:448]


@pytest.fixture(scope="module")
def codec():
    return gllmm_tf.Codec.load("gllmm-n48")


@pytest.fixture
def count(codec, monkeypatch):
    """Names of the networks' methods in the order of their calls."""
    calls = []
    for name in ("features", "latents", "analyse", "synthesise"):
        method = getattr(codec.networks, name)
        monkeypatch.setattr(
            codec.networks, name, lambda *a, m=method, n=name, **k: (calls.append(n), m(*a, **k))[1]
        )
    return calls


@pytest.mark.parametrize("limit", [400, "0.7k", "0.001M", 10**9])
def test_size_is_the_largest_that_fits(codec, photo, count, limit):
    encoded = codec.encode(photo, target_size=limit)
    size = wanted.parse_size(limit)
    assert len(encoded.data) <= size
    assert count.count("features") == 1 and "analyse" not in count
    assert count.count("latents") <= 8
    assert encoded.data == codec.compress(photo, encoded.quality)
    if encoded.quality < codec.num_qualities:
        assert len(codec.compress(photo, encoded.quality + 1 / 16)) > size


def test_metadata_count(codec, photo):
    plain = codec.encode(photo, target_size=900)
    extra = codec.encode(photo, target_size=900, metadata={77: bytes(300)})
    assert len(extra.data) <= 900 and extra.quality < plain.quality


def test_bits_per_pixel_are_of_the_picture(codec, photo):
    image = photo[:50, :101]  # its sides are padded
    data = codec.compress(image, target_bpp=0.6)
    assert len(data) <= 0.6 * 50 * 101 / 8
    assert data == codec.compress(image, target_size=math.floor(0.6 * 50 * 101 / 8))


@pytest.mark.parametrize("psnr", [30.03, 31.777, 33])
def test_psnr_is_just_reached(codec, photo, count, psnr):
    data = codec.compress(photo, target_psnr=psnr)
    assert count.count("features") == 1
    found = metrics.psnr(photo, codec.decompress(data))
    assert psnr <= found <= psnr + 0.05


def test_several_pictures_have_a_target_each(codec, photo):
    pictures = [photo, photo[:64, :64]]
    files = codec.compress(pictures, target_size="0.5k")
    assert [len(file) <= 500 for file in files] == [True, True]
    assert files == [codec.compress(picture, target_size=500) for picture in pictures]


@pytest.mark.parametrize(
    "target, message",
    [
        ({"target_size": 100}, "cannot be held in 100 bytes: at the lowest quality it takes"),
        ({"target_bpp": 0.001}, "cannot be held in 2 bytes"),
        ({"target_bpp": 1e-9}, "cannot be held in 0 bytes"),
        ({"target_size": 500, "metadata": {77: bytes(600)}}, "600 of them metadata"),
        ({"target_psnr": 70}, "cannot be held at 70 dB: at the highest quality it has"),
    ],
)
def test_what_no_quality_keeps_is_refused(codec, photo, target, message):
    with pytest.raises(ImageError, match=message):
        codec.compress(photo, **target)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"target_size": 0}, "target size is 0"),
        ({"target_size": "ten"}, "target size is ten"),
        ({"target_size": "-5k"}, "target size is -5k"),
        ({"target_size": "1e3"}, "target size is 1e3"),
        ({"target_bpp": -1}, "target bpp is -1"),
        ({"target_bpp": "x"}, "target bpp is x"),
        ({"target_psnr": math.nan}, "target psnr is nan"),
        ({"target_psnr": math.inf}, "target psnr is inf"),
        ({"target_size": 900, "quality": 3}, "the target chooses the quality"),
        ({"target_size": 900, "target_psnr": 30}, "target_size and target_psnr"),
    ],
)
def test_arguments_that_are_none_are_refused_before_the_work(tiny_codec, options, message):
    with pytest.raises(GllmmError, match=message) as caught:
        tiny_codec.compress(np.zeros((8, 8, 3), np.uint8), **options)
    assert caught.value.argument.startswith("target_")


def test_a_fixed_rate_has_no_targets(tiny_codec, monkeypatch):
    monkeypatch.setattr(type(tiny_codec.scale), "qualities", property(lambda self: range(0)))
    with pytest.raises(ModelError, match="one fixed rate; omit the target"):
        tiny_codec.compress(np.zeros((8, 8, 3), np.uint8), target_size=100)


def test_searched_latents_keep_their_target(codec, photo, monkeypatch):
    """The search for better latents runs at each quality, and its result is what is measured."""
    qualities = []

    class Truncating:
        def refine(self, *, y, index, **others):
            qualities.append(index)
            return np.trunc(y)

        def refine_hyper(self, y_hat, z, *others):
            return np.round(z)

    monkeypatch.setattr(type(codec), "refiner", Truncating())
    encoded = codec.encode(photo, target_size=400, refine=3)
    assert len(encoded.data) <= 400 and len(qualities) > 1
    assert encoded.quality > codec.encode(photo, target_size=400).quality
    psnr = metrics.psnr(photo, codec.decompress(codec.compress(photo, target_psnr=30, refine=3)))
    assert psnr >= 30


@pytest.mark.parametrize("text, size", [("7", 7), ("20k", 20_000), ("1.5M", 1_500_000)])
def test_sizes_have_units(text, size):
    assert wanted.parse_size(text) == wanted.parse_size(text.lower() + "b") == size


# --------------------------------------------------------------------------------- the bisection


def search(function, limit, top, growth, **options):
    """(result, number of attempts)."""
    tried = []

    def measure(index):
        assert 0 <= index <= top and index not in tried
        tried.append(index)
        return function(index)

    return targets.largest_within(measure, limit, top, growth, **options), len(tried)


@pytest.mark.parametrize("growth", [1e-3, 1, 40])
@pytest.mark.parametrize("curve", [lambda i: i, lambda i: i**3 / 1e3, math.sqrt, lambda i: i // 7])
def test_the_border_is_found(curve, growth):
    for top in (0, 1, 112):
        for limit in (-1, 0, 0.5, 3, 50, curve(top), 1e9):
            wanted = max([i for i in range(top + 1) if curve(i) <= limit], default=-1)
            found, attempts = search(curve, limit, top, growth)
            assert found == wanted and attempts <= 13


def test_a_good_guess_takes_few_attempts():
    attempts = [search(lambda i: 10 + i / 28, 10 + x / 28, 112, 1 / 30)[1] for x in range(113)]
    assert max(attempts) <= 5


def test_what_is_known_is_not_measured_and_near_is_enough():
    found, attempts = search(lambda i: i, 7.4, 64, 1, known={0: 0.0})
    assert (found, attempts) == (7, 2)
    found, attempts = search(lambda i: i, 7.4, 64, 1, known={0: 0.0}, tolerance=0.5)
    assert (found, attempts) == (7, 1)


def test_a_bump_never_ends_beyond_the_limit():
    def bumpy(index):
        return index + 3 * (index % 5 == 0)

    for limit in range(40):
        found, _ = search(bumpy, limit, 112, 1)
        assert found == -1 or bumpy(found) <= limit
