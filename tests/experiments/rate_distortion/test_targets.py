"""Targets on pictures: rows, limits, attempts."""

import types

import numpy as np
import pytest

from experiments.rate_distortion import targets


class FakeCodec:
    """A file of 100 bytes per quality, and a picture that is grey."""

    qualities = range(1, 9)

    def __init__(self, quality):
        self._quality = quality
        self.networks = types.SimpleNamespace(latents=lambda *args: args)

    def encode(self, pixels, **target):
        for _ in range(3):
            self.networks.latents(1)
        data = bytes(int(100 * self._quality))
        return types.SimpleNamespace(data=data, quality=self._quality, seconds={"analysis": 2.0})

    def compress(self, pixels, quality):
        return bytes(int(100 * quality))

    def decompress(self, data):
        return np.full((8, 8, 3), 100 + 8 - len(data) // 100, np.uint8)


PIXELS = np.full((8, 8, 3), 100, np.uint8)  # 64 pixels: 8 bpp are 64 bytes


@pytest.mark.parametrize(
    "quality, bpp, error",
    [
        (4, 50.0, ""),  # 400 of 400 bytes
        (4, 50.5, ""),  # 404
        (4, 60.0, "quality step"),  # 480, and the next quality has 406
        (4, 49.9, "larger"),
        (8, 999, ""),  # the highest quality
    ],
)
def test_sizes(quality, bpp, error):
    row = targets.measure_size(FakeCodec(quality), "a", PIXELS, bpp)
    assert (error in row["error"]) if error else row["error"] == ""
    assert row["attempts"] == 3 and row["seconds"] == 2
    assert set(row) == set(targets.FIELDS)


def test_psnrs():
    codec = FakeCodec(7)  # off by one: 48.13 dB
    for psnr, error in ((48.1, ""), (48.0, "above"), (48.2, "below")):
        row = targets.measure_psnr(codec, "a", PIXELS, psnr)
        assert (error in row["error"]) if error else row["error"] == ""
    assert set(row) == set(targets.FIELDS)


def test_targets_beyond_the_model_are_left_out_and_figures_summed():
    codec = FakeCodec(7)
    rows = targets.measure(codec, "a", PIXELS, [1, 90, 200], [20, 48.1])
    assert [(row["kind"], row["target"]) for row in rows] == [("size", 720), ("psnr", 48.1)]
    text = "\n".join(targets.summary(rows))
    assert "size: 1 targets, 2.778 % below" in text and "3.0 attempts each" in text
    assert codec.networks.latents(5) == (5,)
