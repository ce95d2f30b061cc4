"""The trainable model: shapes, gradients, rounding and noise, qualities, weights of model files."""

import numpy as np
import pytest
import tensorflow as tf

from gllmm_tf import config
from gllmm_tf.errors import ModelError
from gllmm_tf.model.compression import CompressionModel, build
from gllmm_tf.zoo.model_file import ModelFile

LAMBDAS = (0.002, 0.01, 0.05)


def small(**fields):
    return config.gllmm(8, **{"entropy_widths": (16, 24), **fields})


@pytest.fixture
def x():
    rng = np.random.default_rng(0)
    return tf.constant(rng.uniform(size=(2, 64, 128, 3)), tf.float32)


@pytest.mark.parametrize("rounding", ["ste", "noise"])
@pytest.mark.parametrize("lambdas", [(), LAMBDAS])
def test_every_variable_gets_a_finite_gradient(x, lambdas, rounding):
    model = build(small(lambdas=lambdas), rounding)
    quality = tf.constant([1.0, 2.5]) if lambdas else None
    with tf.GradientTape() as tape:
        out = model(x, quality, tf.constant([1, 2]), training=True)
        loss = tf.reduce_mean(out.y_bits + out.z_bits) + tf.reduce_sum((x - out.x_hat) ** 2)
    assert out.x_hat.shape == x.shape
    assert out.y.shape == (2, 4, 8, 8) and out.z.shape == (2, 1, 2, 8)
    for variable, gradient in zip(
        model.trainable_variables, tape.gradient(loss, model.trainable_variables)
    ):
        assert gradient is not None, variable.name
        assert np.all(np.isfinite(tf.convert_to_tensor(gradient))), variable.name


def test_initial_activations_stay_in_range(x):
    out = build(config.gllmm(32))(x, seed=tf.constant([0, 0]), training=True)
    assert 0.05 < float(tf.math.reduce_std(out.y)) < 50
    assert float(tf.math.reduce_std(out.x_hat)) < 10


def test_mixed_precision_keeps_float32_variables_and_outputs(x):
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = build(small())
        out = model(x, seed=tf.constant([0, 1]), training=True)
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    assert {v.dtype for v in model.variables} == {tf.float32}
    assert out.x_hat.dtype == out.y_bits.dtype == tf.float32


def test_rounding_without_training_is_deterministic(x):
    model = build(small())
    a, b = model(x), model(x, training=False)
    np.testing.assert_array_equal(a.y_hat, np.round(a.y))
    np.testing.assert_array_equal(a.y_bits, b.y_bits)
    y_bits, z_bits = model.information_bits(a.y_hat, a.z_hat)
    np.testing.assert_allclose(y_bits, a.y_bits, rtol=1e-6)
    np.testing.assert_allclose(z_bits, a.z_bits, rtol=1e-6)


def test_the_gradient_of_the_rate_is_held_back_from_the_analysis(x):
    model = build(small())

    def gradients(rate_gradient):
        with tf.GradientTape() as tape:
            out = model(x, None, tf.constant([1, 2]), True, rate_gradient=rate_gradient)
            bits = tf.reduce_sum(out.y_bits + out.z_bits)
        parts = (model.g_a.last.kernel, model.h_a.path[0].kernel, model.h_s.path[0].kernel)
        return bits, [g.numpy() for g in tape.gradient(bits, parts)]

    bits, (g_a, *others) = gradients(None)
    assert np.abs(g_a).max() > 0
    for part in (0.0, 0.25, 1.0):
        same_bits, (less, *same) = gradients(tf.constant(part))
        np.testing.assert_allclose(same_bits, bits, rtol=1e-6)
        np.testing.assert_allclose(less, part * g_a, atol=1e-4 * np.abs(g_a).max())
        for ours, theirs in zip(same, others):
            np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


def test_the_gradient_of_the_rate_is_held_back_by_channel(x):
    model = build(small(lambdas=LAMBDAS))
    quality = tf.constant([2.0, 2.0])

    def gradients(rate_gradient):
        with tf.GradientTape() as tape:
            out = model(x, quality, tf.constant([1, 2]), True, rate_gradient=rate_gradient)
            bits = tf.reduce_sum(out.y_bits + out.z_bits)
        return tape.gradient(bits, model.gains.log_y).numpy()[1]

    part = np.linspace(0.0, 1.0, model.config.num_filters, dtype=np.float32)
    full = gradients(None)
    np.testing.assert_allclose(gradients(part), part * full, atol=1e-4 * np.abs(full).max())


def test_training_draws_a_seed(x):
    model = build(small())
    tf.random.set_seed(5)
    a, b = model(x, training=True), model(x, training=True)
    tf.random.set_seed(5)
    again = model(x, training=True)
    assert np.any(a.y_bits != b.y_bits)
    np.testing.assert_array_equal(a.y_bits, again.y_bits)
    traced = tf.function(lambda: model(x, training=True).y_bits, autograph=False)
    assert np.any(traced() != traced())  # not one seed for good


def test_quality_is_a_number_or_one_for_each_image_or_the_default(x):
    model = build(small(lambdas=LAMBDAS))

    def bits(*quality):
        return model(x, *quality).y_bits.numpy()

    for quality in (2, 2.0, tf.constant(2), np.float64(2), [2, 2], tf.constant([2.0, 2.0])):
        np.testing.assert_array_equal(bits(quality), bits(tf.constant([2.0, 2.0])))
    assert model.config.default_quality == 3.0  # 4, as far as there are so many
    np.testing.assert_array_equal(bits(), bits(3.0))
    assert np.all(bits(1) < bits(3))
    out = model(x, 2)
    for wanted, found in zip(
        (out.y_bits, out.z_bits), model.information_bits(out.y_hat, out.z_hat, 2)
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_bits_per_pixel_of_the_outputs(x):
    out = build(small())(x)
    np.testing.assert_allclose(out.bpp, (out.y_bits + out.z_bits) / (64 * 128), rtol=1e-6)


@pytest.mark.parametrize(
    "x, message",
    [
        (np.zeros([1, 64, 64, 3], np.uint8), "x is uint8 .* divide pixels by 255"),
        (np.zeros([64, 64, 3], np.float32), r"it must be float \[batch, height, width, 3\]"),
        (np.zeros([1, 64, 64, 4], np.float32), r"x is float32 \[1, 64, 64, 4\]"),
        (np.zeros([1, 64, 100, 3], np.float32), "64 x 100 pixels, both must be multiples of 64"),
    ],
)
def test_pictures_that_do_not_fit_are_named(x, message):
    with pytest.raises(ModelError, match=message):
        build(small())(tf.constant(x))


def test_quality_goes_with_variable_rate(x):
    with pytest.raises(ModelError, match="one fixed rate; omit the quality"):
        build(small())(x, tf.ones([2]))
    with pytest.raises(ValueError, match="rounding"):
        CompressionModel(small(), rounding="up")


@pytest.mark.parametrize("given", ["path", "folder", "file"])
def test_load_takes_what_a_codec_takes(given, tiny_model_path, tmp_path, x):
    stored = ModelFile.read(tiny_model_path)
    stored.save(tmp_path / "model.npz")
    source = {"path": tiny_model_path, "folder": tmp_path, "file": stored}[given]
    model = CompressionModel.load(source, rounding="noise")
    assert model.config == stored.config and model.rounding == "noise"
    again = ModelFile.from_model(model, stored.info)
    assert again.identity == stored.identity  # every weight that decoding depends on
    for part in ("h_a", "g_a", "prior"):
        for ours, theirs in zip(again.weights[part], stored.weights[part]):
            np.testing.assert_array_equal(ours, theirs)
    assert np.all(np.isfinite(model(x).bpp))


def test_load_names_what_is_not_there():
    with pytest.raises(ModelError, match="nowhere: no model has this name"):
        CompressionModel.load("nowhere")
