"""Losses against their formulas in NumPy, and the gradient of MS-SSIM where it is hardest."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from gllmm_tf import errors, losses, metrics

LAMBDAS = (0.0014, 0.0047, 0.0277, 0.09)


def pictures(count=2, size=176, noise=0.05, seed=0):
    """Two float32 batches of smooth pictures, the second with noise, in 0..1."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size] / size
    waves = (
        rng.uniform(5, 40, (count, 1, 1, 3)) * rows[..., None]
        + rng.uniform(5, 40, (count, 1, 1, 3)) * columns[..., None]
    )
    x = 0.5 + 0.3 * np.sin(waves) + rng.normal(size=(count, size, size, 3)) * 0.05
    x = np.clip(x, 0, 1).astype(np.float32)
    x_hat = np.clip(x + rng.normal(size=x.shape) * noise, 0, 1).astype(np.float32)
    return x, x_hat


def loss_of(x, x_hat, y_bits, z_bits, *args):
    outputs = SimpleNamespace(x_hat=x_hat, y_bits=y_bits, z_bits=z_bits)
    return losses.rate_distortion_loss(x, outputs, *args)


def test_mse_loss_is_the_formula():
    rng = np.random.default_rng(0)
    x, x_hat = rng.random((2, 3, 32, 64, 3)).astype(np.float32)
    y_bits, z_bits = rng.uniform(100, 900, (2, 3)).astype(np.float32)
    lambdas = np.array([0.0016, 0.0075, 0.03], np.float32)
    terms = loss_of(x, x_hat, y_bits, z_bits, lambdas)
    mse = 255.0**2 * np.mean((x.astype(np.float64) - x_hat) ** 2, (1, 2, 3))
    bpp = (y_bits.astype(np.float64) + z_bits) / (32 * 64)
    np.testing.assert_allclose(terms.mse, mse, rtol=1e-5)
    np.testing.assert_allclose(terms.bpp, bpp, rtol=1e-6)
    np.testing.assert_allclose(terms.y_bpp, y_bits / 2048, rtol=1e-6)
    np.testing.assert_allclose(terms.z_bpp, z_bits / 2048, rtol=1e-6)
    np.testing.assert_allclose(terms.loss, lambdas * mse + bpp, rtol=1e-5)
    np.testing.assert_array_equal(terms.ms_ssim, np.zeros(3))


def test_ms_ssim_loss_is_the_formula():
    x, x_hat = pictures()
    bits = np.array([5000.0, 7000.0], np.float32)
    terms = loss_of(x, x_hat, bits, bits, 12.0, "ms-ssim")
    similarity = tf.image.ssim_multiscale(x, x_hat, 1.0).numpy()
    assert np.all(similarity < 0.99)
    np.testing.assert_allclose(terms.ms_ssim, similarity, atol=2e-6)
    np.testing.assert_allclose(terms.loss, 12 * (1 - similarity) + 2 * bits / 176**2, rtol=1e-4)


@pytest.mark.parametrize("size", [176, 192, 256])
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.3])
def test_ms_ssim_has_the_values_of_tensorflow(size, noise):
    x, x_hat = pictures(1, size, noise, seed=size)
    expected = tf.image.ssim_multiscale(x, x_hat, 1.0)
    np.testing.assert_allclose(losses.ms_ssim(x, x_hat), expected, atol=2e-6)


def opposites():
    x, _ = pictures()
    rng = np.random.default_rng(1)
    noise = rng.normal(size=x.shape).astype(np.float32)
    flat = np.full_like(x, 0.5)
    return {
        "opposite": (x, 1 - x),
        "opposite at the finest scale alone": (flat + 0.1 * noise, flat - 0.1 * noise),
        "far outside": (x, 40 - 100 * x),
        "flat and equal": (flat, flat),
        "flat and different": (flat, flat + 0.4),
        "flat original": (flat, x),
        "unrelated": (x, pictures(seed=9)[0]),
    }


@pytest.mark.parametrize("name", opposites())
def test_ms_ssim_and_its_gradient_are_finite(name):
    x, x_hat = (tf.constant(v) for v in opposites()[name])
    with tf.GradientTape() as tape:
        tape.watch(x_hat)
        terms = loss_of(x, x_hat, tf.ones(2), tf.ones(2), 12.0, "ms-ssim")
    gradient = tape.gradient(terms.loss, x_hat).numpy()
    assert np.all(np.isfinite(terms.loss)) and np.all(np.isfinite(gradient))
    assert np.all(terms.ms_ssim >= 0) and np.all(terms.ms_ssim < 1 + 1e-5)
    if name.startswith("opposite"):
        # The way out leads towards the original.
        assert np.sum(gradient * (x - x_hat).numpy()) < 0


SIDES = (1, 11, 160, 161, 170, 175, 176, 177, 183, 190, 192)


@pytest.mark.parametrize("side", SIDES)
def test_all_that_judge_by_ms_ssim_agree_on_the_smallest_side(side):
    """What the check lets pass can be computed, by the metric and as a loss, and nothing else is."""
    picture = np.random.default_rng(0).integers(0, 256, (side, side + 200, 3)).astype(np.uint8)
    other = (picture // 2).astype(np.uint8)
    x, x_hat = (np.float32(p[None]) / 255 for p in (picture, other))
    bits = tf.ones(1)
    if side >= metrics.MS_SSIM_MIN_SIZE:
        metrics.check_patch("ms-ssim", side)
        assert 0 < metrics.ms_ssim(picture, other) < 1
        assert 0 < float(losses.ms_ssim(x, x_hat)[0]) < 1
        assert np.isfinite(float(loss_of(x, x_hat, bits, bits, 12.0, "ms-ssim").loss[0]))
        return
    assert metrics.ms_ssim(picture, other) is None
    with pytest.raises(errors.GllmmError, match=f"at least 176 pixels a side, patch is {side};"):
        metrics.check_patch("ms-ssim", side)
    for turned in (x, x.transpose(0, 2, 1, 3)):
        with pytest.raises(errors.GllmmError, match=f"at least 176 pixels a side, .* is {side};"):
            loss_of(turned, turned, bits, bits, 12.0, "ms-ssim")


def test_the_smallest_side_is_what_four_halvings_need():
    assert (
        metrics.MS_SSIM_MIN_SIZE
        == 176
        == len(losses.SSIM_WINDOW) * 2 ** (len(losses.MS_SSIM_WEIGHTS) - 1)
    )


def test_unknown_distortions_are_refused():
    metrics.check_patch("mse", 64)
    with pytest.raises(errors.GllmmError, match="metric 'psnr' is unknown; choose one of mse"):
        metrics.check_patch("psnr", 256)
    x = tf.zeros([1, 8, 8, 3])
    with pytest.raises(errors.GllmmError, match="metric 'psnr' is unknown"):
        loss_of(x, x, tf.ones(1), tf.ones(1), 1.0, "psnr")


def test_psnr_of_mean_squared_errors():
    mse = np.array([255.0**2, 650.25, 1.0, 0.0], np.float32)
    found = losses.psnr(tf.constant(mse)).numpy()
    np.testing.assert_allclose(found[:3], [0, 20, 48.1308], atol=1e-4)
    assert np.isfinite(found[3]) and found[3] > 130


def test_lambda_of_quality_interpolates_logarithms():
    quality = np.array([1, 1.5, 2, 2.75, 3.999, 4, 0.2, 7], np.float32)
    logs = np.interp(quality, [1, 2, 3, 4], np.log(LAMBDAS))
    found = losses.lambda_of_quality(LAMBDAS, tf.constant(quality))
    np.testing.assert_allclose(found, np.exp(logs), rtol=2e-6)


def test_lambda_of_a_fixed_rate_is_its_own():
    found = losses.lambda_of_quality((0.0075,), tf.zeros(3))
    np.testing.assert_array_equal(found, np.full(3, 0.0075, np.float32))


def test_balance_weights():
    lambdas = np.array([0.0014, 0.01, 0.09], np.float32)
    middle = np.prod(LAMBDAS) ** (1 / len(LAMBDAS))
    found = losses.balance(tf.constant(lambdas), LAMBDAS)
    np.testing.assert_allclose(found, (lambdas / middle) ** -0.5, rtol=1e-6)
    fixed = losses.balance(tf.constant([0.0075]), (0.0075,))
    np.testing.assert_allclose(fixed, [1.0], rtol=1e-6)


def test_balanced_terms_pull_equally_at_the_optimum():
    """Where D falls like lambda^(-1/2), as measured, no quality rules the mean."""
    lambdas = np.array(LAMBDAS, np.float32)
    distortion = lambdas**-0.5
    pull = losses.balance(tf.constant(lambdas), LAMBDAS).numpy() * lambdas * distortion
    np.testing.assert_allclose(pull, pull[0], rtol=1e-5)
