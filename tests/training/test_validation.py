"""Real files of validation: their size, what comes back, and the table."""

import os

import numpy as np
import tensorflow as tf
from integer_reference import flags_in_bytes
from PIL import Image

from gllmm_tf import Codec
from gllmm_tf.codec.tensorflow_codec import TensorFlowCodec
from gllmm_tf.coding import tables
from gllmm_tf.model.compression import CompressionModel
from gllmm_tf.training import validation
from gllmm_tf.training.judge import table
from gllmm_tf.zoo import registry

ASSET = os.path.join(os.path.dirname(__file__), "..", "..", "assets", "friends.png")


def test_files_are_those_of_the_codec(tiny_model_path, tiny_codec, sample_pixels):
    pictures = np.stack([sample_pixels[:64, :80], sample_pixels[20:84, 64:]])
    files = validation.compress(tiny_model_path, pictures)
    assert len(files) == 8
    sizes = [len(tiny_codec.compress(picture, 2)) for picture in pictures]
    assert files[1].bpp == 8 * sum(sizes) / (2 * 64 * 80)
    codec = Codec.load(tiny_model_path)
    expected = codec.decompress(codec.compress(pictures[0], 1))
    np.testing.assert_array_equal(files[0].decoded[0], expected)
    error = np.square(pictures.astype(float) - files[1].decoded).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(files[1].psnr, np.mean(10 * np.log10(255**2 / error)))
    beside = validation.side_by_side(pictures, files[0].decoded)
    assert beside.shape == (2, 64, 160, 3)
    np.testing.assert_array_equal(beside[:, :, :80], pictures)
    np.testing.assert_array_equal(beside[1, :, 80:], files[0].decoded[1])


def test_files_of_a_trained_model_are_as_large_as_it_estimates():
    picture = np.asarray(Image.open(ASSET))[:256, :256]
    files = validation.compress(registry.DEFAULT_MODEL, picture[None])
    x = tf.constant(picture[None] / np.float32(255))
    codec, model = TensorFlowCodec.load(), CompressionModel.load()
    for quality, file in enumerate(files, 1):
        out = model(x, tf.constant([float(quality)]), training=False)
        estimate = float(out.y_bits[0] + out.z_bits[0]) / 8
        empty = ~out.y_hat.numpy().any((0, 1, 2))  # channels, told by a flag each
        rows, _ = codec.coder.networks.flag_rows(16 * (quality - 1), 16 * 16)
        told = flags_in_bytes(rows.numpy(), empty, tables.load()["frequency"])
        assert 0.995 * estimate < file.bpp * 256 * 256 / 8 < 1.005 * estimate + told + 30


def test_table():
    row = {"quality": 1, "lambda": 0.01, "loss": 2.5, "bpp": 0.25, "psnr": 30.0}
    head, line = table({"loss": 2.5, "qualities": [row]})
    assert head.split() == ["quality", "lambda", "bpp", "PSNR", "dB", "loss"]
    assert line.split() == ["1", "0.01", "0.2500", "30.00", "2.5000"]
    files = {"pictures": 4, "estimated_bpp": 0.3, "bpp": 0.31, "psnr": 29.5}
    row = {**row, "ms_ssim": 0.95, "files": files}
    head, line = table({"loss": 2.5, "qualities": [row]})
    assert "MS-SSIM   | 4 files: bpp  estimate  PSNR dB" in head
    assert line.split()[-5:] == ["0.95000", "|", "0.3100", "0.3000", "29.50"]
