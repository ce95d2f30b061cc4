"""Starting a model from a smaller one: what both have keeps its function."""

import numpy as np
import pytest
import tensorflow as tf

from gllmm_tf import growth, training
from gllmm_tf.config import ModelConfig
from gllmm_tf.errors import ModelError
from gllmm_tf.model import build
from gllmm_tf.model_file import export_model

SMALL = dict(num_filters=8, components=1, entropy_widths=(12, 16), lambdas=(0.002, 0.05))
LARGE = dict(
    SMALL,
    num_filters=14,
    trunk_widths=(8, 10, 12),
    entropy_widths=(16, 24),
    lambdas=(0.002, 0.01, 0.05),
)


def randomised(config, seed):
    """A model whose biases and gains, too, are off their initial values."""
    tf.keras.utils.set_random_seed(seed)
    model = build(ModelConfig(**config))
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign_add(0.01 * rng.standard_normal(variable.shape).astype(np.float32))
    return model


@pytest.fixture(scope="module")
def models():
    small, large = randomised(SMALL, 1), build(ModelConfig(**LARGE))
    growth.grow(large, small)
    return small, large


def picture(size=64):
    return np.random.default_rng(3).random((1, size, size, 3), np.float32)


@pytest.mark.parametrize("part", ["g_a", "h_a", "g_s", "h_s"])
def test_transforms_keep_the_function_of_old_channels(models, part):
    small, large = models
    x = picture() if part == "g_a" else np.random.default_rng(4).normal(size=(1, 4, 4, 14))
    x = tf.constant(x, tf.float32)
    old = getattr(small, part)(x[..., :8]).numpy()
    new = getattr(large, part)(x).numpy()[..., : old.shape[-1]]
    np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-5 * np.abs(old).max())


def test_mixtures_of_old_channels_stay(models):
    small, large = models
    rng = np.random.default_rng(5)
    y_hat = np.round(rng.normal(size=(1, 4, 4, 14), scale=2)).astype(np.float32)
    phi = rng.normal(size=(1, 4, 4, 28)).astype(np.float32)
    old = small.mixture(tf.constant(y_hat[..., :8]), tf.constant(phi[..., :16]))
    new = large.mixture(tf.constant(y_hat), tf.constant(phi))
    for name in ("weights", "means", "scales"):
        expected = getattr(old, name).numpy()
        np.testing.assert_allclose(
            getattr(new, name).numpy()[..., :8], expected, rtol=1e-4, atol=1e-4
        )


def test_prior_and_gains(models):
    small, large = models
    z = tf.constant(np.random.default_rng(6).integers(-3, 4, (1, 2, 2, 14)), tf.float32)
    old = small.z_bottleneck(z[..., :8]).numpy()
    np.testing.assert_allclose(large.z_bottleneck(z).numpy()[..., :8], old, rtol=1e-5)
    for a, b in zip(small.gains(tf.constant([1.0, 2.0])), large.gains(tf.constant([1.0, 3.0]))):
        np.testing.assert_allclose(b.numpy()[..., : a.shape[-1]], a.numpy(), rtol=1e-5)
    # 0.01 is half way from 0.002 to 0.05 on the logarithmic scale.
    middle = large.gains(tf.constant([2.0]))[0].numpy()[..., :8]
    ends = small.gains(tf.constant([1.0, 2.0]))[0].numpy()
    np.testing.assert_allclose(middle[0], np.sqrt(ends[0] * ends[1]), rtol=1e-5)


def test_new_channels_are_at_work(models):
    small, large = models
    y = large.g_a(tf.constant(picture())).numpy()
    assert np.abs(y[..., 8:]).max() > 1e-3


def test_a_narrower_layer_keeps_its_first_channels():
    small = randomised(SMALL, 1)
    large = build(ModelConfig(**dict(LARGE, entropy_widths=(10, 24))))
    growth.grow(large, small)
    ours = large.entropy_parameters.hidden[0].bias.numpy()
    np.testing.assert_array_equal(ours, small.entropy_parameters.hidden[0].bias.numpy()[:10])


def test_other_networks_are_refused():
    small = build(ModelConfig(**SMALL))
    large = build(ModelConfig(**dict(LARGE, stages=1)))
    with pytest.raises(ModelError, match="stages 1 cannot start from one with 2"):
        growth.grow(large, small)


def test_learner_starts_from_a_model_file(tmp_path):
    small = randomised(SMALL, 1)
    path = tmp_path / "small.npz"
    export_model(small, path, {"steps": 7, "pixels_seen": 99})
    settings = training.Settings(
        train_glob="unused",
        run_dir=str(tmp_path),
        num_filters=14,
        trunk_widths="8,10,12",
        components=1,
        entropy_widths="16,24",
        lambdas="0.002,0.05",
        init_from=str(path),
        precision="float32",
        patch=64,
        batch=1,
    )
    learner = training.Learner(settings)
    assert learner.config.trunk_widths == (8, 10, 12)
    assert learner.started_from["steps"] == 7 and learner.started_from["pixels_seen"] == 99
    ours = learner.model.g_a.path[0].down.kernel.numpy()[..., :8]
    theirs = small.g_a.path[0].down.kernel.numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-3)  # stored in 16 bits
