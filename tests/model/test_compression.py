"""The trainable model: shapes, gradients, noise, gains, configurations."""

import numpy as np
import pytest
import tensorflow as tf

from gllmm_tf import config
from gllmm_tf.errors import ModelError
from gllmm_tf.model.compression import CompressionModel, build, uniform_noise

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
        out = model(x, quality, tf.constant([1, 2]))
        loss = tf.reduce_mean(out.y_bits + out.z_bits) + tf.reduce_sum((x - out.x_hat) ** 2)
    assert out.x_hat.shape == x.shape
    assert out.y.shape == (2, 4, 8, 8) and out.z.shape == (2, 1, 2, 8)
    for variable, gradient in zip(
        model.trainable_variables, tape.gradient(loss, model.trainable_variables)
    ):
        assert gradient is not None, variable.name
        assert np.all(np.isfinite(tf.convert_to_tensor(gradient))), variable.name


def test_initial_activations_stay_in_range(x):
    out = build(config.gllmm(32))(x, seed=tf.constant([0, 0]))
    assert 0.05 < float(tf.math.reduce_std(out.y)) < 50
    assert float(tf.math.reduce_std(out.x_hat)) < 10


def test_mixed_precision_keeps_float32_variables_and_outputs(x):
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = build(small())
        out = model(x, seed=tf.constant([0, 1]))
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    assert {v.dtype for v in model.variables} == {tf.float32}
    assert out.x_hat.dtype == out.y_bits.dtype == tf.float32


def test_rounding_without_training_is_deterministic(x):
    model = build(small())
    a, b = model(x, training=False), model(x, training=False)
    np.testing.assert_array_equal(a.y_hat, np.round(a.y))
    np.testing.assert_array_equal(a.y_bits, b.y_bits)
    y_bits, z_bits = model.information_bits(a.y_hat, a.z_hat)
    np.testing.assert_allclose(y_bits, a.y_bits, rtol=1e-6)
    np.testing.assert_allclose(z_bits, a.z_bits, rtol=1e-6)


def test_noise_depends_on_seed_and_salt_and_is_uniform():
    noise = uniform_noise([100000], tf.constant([3, 4]), 0).numpy()
    assert noise.min() >= -0.5 and noise.max() < 0.5
    assert abs(noise.mean()) < 0.005 and abs(noise.var() - 1 / 12) < 0.001
    np.testing.assert_array_equal(noise, uniform_noise([100000], tf.constant([3, 4]), 0))
    for seed, salt in (([3, 5], 0), ([2, 4], 0), ([3, 4], 1)):
        assert np.any(noise != uniform_noise([100000], tf.constant(seed), salt).numpy())


def test_gains_interpolate_geometrically(x):
    gains = build(small(lambdas=LAMBDAS)).gains
    y = [gains(tf.constant([q]))[0].numpy() for q in (1.0, 1.5, 2.0, 3.0)]
    np.testing.assert_allclose(y[1], np.sqrt(y[0] * y[2]), rtol=1e-5)
    # A larger lambda starts with finer steps: the gain grows like its square root.
    np.testing.assert_allclose(y[3] / y[0], np.sqrt(LAMBDAS[2] / LAMBDAS[0]), rtol=1e-5)


def test_the_gradient_of_the_rate_is_held_back_from_the_analysis(x):
    model = build(small())

    def gradients(rate_gradient):
        with tf.GradientTape() as tape:
            out = model(x, None, tf.constant([1, 2]), rate_gradient=rate_gradient)
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
            out = model(x, quality, tf.constant([1, 2]), rate_gradient=rate_gradient)
            bits = tf.reduce_sum(out.y_bits + out.z_bits)
        return tape.gradient(bits, model.gains.log_y).numpy()[1]

    part = np.linspace(0.0, 1.0, model.config.num_filters, dtype=np.float32)
    full = gradients(None)
    np.testing.assert_allclose(gradients(part), part * full, atol=1e-4 * np.abs(full).max())


def test_quality_goes_with_variable_rate(x):
    with pytest.raises(ValueError, match="variable rate"):
        build(small())(x, tf.ones([2]), tf.zeros([2], tf.int32))
    with pytest.raises(ValueError, match="rounding"):
        CompressionModel(small(), rounding="up")


@pytest.mark.parametrize(
    "fields, words",
    [
        (dict(system="x"), "system"),
        (dict(num_filters=7), "num_filters"),
        (dict(families=("logistic", "gaussian")), "families"),
        (dict(families=()), "families"),
        (dict(components=0), "components"),
        (dict(stages=0), "stages"),
        (dict(lambdas=(0.1,)), "lambdas"),
        (dict(lambdas=(0.2, 0.1)), "lambdas"),
        (dict(metric="psnr"), "metric"),
        (dict(trunk_widths=(4, 6)), "trunk_widths"),
        (dict(trunk_widths=(4, 6, 7)), "trunk_widths"),
    ],
)
def test_bad_configurations_name_the_field(fields, words):
    with pytest.raises(ModelError, match=words):
        config.ModelConfig(**fields)


def test_config_json_round_trip():
    wanted = small(lambdas=LAMBDAS, families=("gaussian", "logistic"))
    assert config.ModelConfig.from_json(wanted.to_json()) == wanted
    wide = small(trunk_widths=(4, 6, 8))
    assert config.ModelConfig.from_json(wide.to_json()) == wide
    # The text, and so the identity of a model, is what it was before there were trunk widths.
    assert "trunk_widths" not in wanted.to_json()
    assert config.gllmm().num_groups == 30 and config.cheng2020().num_groups == 9
    with pytest.raises(ModelError, match="cannot be read"):
        config.ModelConfig.from_json('{"colour": 3}')
