"""Metrics against closed forms and against TensorFlow's own functions."""

import math
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from gllmm_tf import metrics


def picture(height, width, seed=0):
    """A smooth random picture, uint8 [height, width, 3]."""
    shape = height // 8 + 2, width // 8 + 2, 3
    coarse = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def noisy(a, amplitude, seed=1):
    noise = np.random.default_rng(seed).integers(-amplitude, amplitude + 1, a.shape)
    return np.clip(a.astype(int) + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("offset", [1, 2, 16, 255])
def test_psnr_of_a_constant_error(offset):
    a = np.zeros([5, 7, 3], np.uint8)
    b = np.full([5, 7, 3], offset, np.uint8)
    expected = 20 * math.log10(255 / offset)
    assert metrics.psnr(a, b) == pytest.approx(expected, abs=1e-12)
    assert metrics.psnr(b, a) == pytest.approx(expected, abs=1e-12)  # no uint8 wrap-around


def test_psnr_by_hand():
    # One of 2 * 2 * 3 values is off by 6: mse = 36 / 12 = 3.
    a = np.full([2, 2, 3], 100, np.uint8)
    b = a.copy()
    b[1, 0, 2] = 94
    assert metrics.psnr(a, b) == pytest.approx(10 * math.log10(255**2 / 3), abs=1e-12)


def test_psnr_of_equal_pictures_is_infinite():
    a = picture(8, 8)
    assert metrics.psnr(a, a.copy()) == math.inf


def test_psnr_does_not_overflow_on_large_pictures():
    a = np.zeros([1024, 1024, 3], np.uint8)
    assert metrics.psnr(a, np.full_like(a, 255)) == pytest.approx(0.0, abs=1e-12)


def test_ms_ssim_of_equal_pictures_is_one():
    a = picture(180, 200)
    assert metrics.ms_ssim(a, a.copy()) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("size", [(190, 240), (176, 179), (221, 187)])
def test_ms_ssim_is_tensorflows(size):
    import tensorflow as tf

    a = picture(*size)
    b = noisy(a, 30)
    expected = tf.image.ssim_multiscale(tf.constant(a), tf.constant(b), 255).numpy()
    assert metrics.ms_ssim(a, b) == pytest.approx(float(expected), abs=5e-6)  # theirs is float32
    assert metrics.ms_ssim(a, b) < 0.999


def test_ms_ssim_without_tensorflow():
    """A figure that TensorFlow 2.14 gave for these pictures."""
    a = np.add.outer(np.arange(180), np.arange(200))[..., None] % 256 * np.ones(3)
    b = a + 20 * ((np.add.outer(np.arange(180), 3 * np.arange(200)) % 7)[..., None] > 3)
    a, b = (np.clip(x, 0, 255).astype(np.uint8) for x in (a, b))
    assert metrics.ms_ssim(a, b) == pytest.approx(0.9495915, abs=2e-5)  # float32 there


def test_ms_ssim_falls_with_the_error():
    a = picture(176, 176)
    values = [metrics.ms_ssim(a, noisy(a, amplitude)) for amplitude in (2, 10, 40)]
    assert values == sorted(values, reverse=True)
    assert all(value < 1 for value in values)


@pytest.mark.parametrize("size", [(175, 400), (400, 175), (1, 1)])
def test_ms_ssim_of_small_pictures_is_none(size):
    a = np.zeros([*size, 3], np.uint8)
    assert metrics.ms_ssim(a, a) is None


def test_ms_ssim_at_the_smallest_size():
    a = picture(metrics.MS_SSIM_MIN_SIZE, metrics.MS_SSIM_MIN_SIZE)
    assert metrics.ms_ssim(a, noisy(a, 5)) is not None


@pytest.mark.parametrize("value, expected", [(0.0, 0.0), (0.9, 10.0), (0.99, 20.0), (0.5, 3.0103)])
def test_ms_ssim_db(value, expected):
    assert metrics.ms_ssim_db(value) == pytest.approx(expected, abs=1e-5)


def test_ms_ssim_db_of_one_is_infinite():
    assert metrics.ms_ssim_db(1.0) == math.inf


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ms_ssim])
@pytest.mark.parametrize(
    "a, b, message",
    [
        (np.zeros([4, 4, 3], np.uint8), np.zeros([4, 5, 3], np.uint8), "one shape"),
        (np.zeros([4, 4, 3]), np.zeros([4, 4, 3]), "uint8"),
        (np.zeros([4, 4], np.uint8), np.zeros([4, 4], np.uint8), r"\[H, W, 3\]"),
    ],
)
def test_invalid_pictures_are_named(metric, a, b, message):
    with pytest.raises(ValueError, match=message):
        metric(a, b)


def test_no_tensorflow():
    code = (
        "import importlib.util, sys\n"
        "spec = importlib.util.spec_from_file_location('metrics', sys.argv[1])\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "import numpy as np\n"
        "a, b = np.zeros([176, 176, 3], np.uint8), np.ones([176, 176, 3], np.uint8)\n"
        "module.psnr(a, b), module.ms_ssim(a, b)\n"
        "sys.exit('tensorflow' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code, metrics.__file__], check=True)
