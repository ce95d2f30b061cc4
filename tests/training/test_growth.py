"""Starting a model from a smaller one: what both have keeps its function."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from gllmm_tf.config import ModelConfig
from gllmm_tf.errors import ModelError
from gllmm_tf.model.compression import CompressionModel, build
from gllmm_tf.training import growth
from gllmm_tf.training.learner import Learner
from gllmm_tf.training.settings import Settings
from gllmm_tf.zoo.model_file import ModelFile, export_model

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
    before = {"identity": "ab", "steps": 5, "pixels_seen": 50, "started_from": None}
    export_model(small, path, {"steps": 7, "pixels_seen": 99, "started_from": before})
    settings = Settings.of(
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
    learner = Learner(settings)
    assert learner.config.trunk_widths == (8, 10, 12)
    assert (
        learner.start["started_from"]["steps"] == 7
        and learner.start["started_from"]["pixels_seen"] == 99
    )
    assert learner.start["started_from"]["started_from"] == before
    ours = learner.model.g_a.path[0].down.kernel.numpy()[..., :8]
    theirs = small.g_a.path[0].down.kernel.numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-3)  # stored in 16 bits


UNUSED = [1, 4, 5]
RICH = dict(LARGE, lambdas=(0.002, 0.01, 0.5), trunk_widths=(12, 14, 16))


def with_unused_channels():
    """A model in which three channels of y are always zero, and crops."""
    model = randomised(RICH, 7)
    growth.blind(model.g_a.attentions[1], np.isin(np.arange(14), UNUSED))
    kernel = 40.0 * model.g_a.last.kernel.numpy()
    kernel[..., UNUSED] = 0.0
    model.g_a.last.kernel.assign(kernel)
    for block in (model.g_s.attentions[0], model.g_s.modules[0]):
        growth.blind(block, np.isin(np.arange(14), UNUSED))
    last = (
        model.g_s.last.kernel
    )  # which random weights in front of it make much too large a picture
    last.assign(1e-10 * last)
    rng = np.random.default_rng(9)
    coarse = rng.integers(0, 256, (24, 16, 16, 3), np.uint8)
    return model, coarse.repeat(4, 1).repeat(4, 2)


@pytest.fixture(scope="module")
def revived():
    """(before, after, crops)."""
    before, crops = with_unused_channels()
    after, _ = with_unused_channels()
    mask = growth.revive(after, crops)
    assert np.flatnonzero(mask).tolist() == UNUSED
    return before, after, crops


def test_revived_channels_change_nothing_yet(revived):
    before, after, crops = revived
    top = tf.fill([len(crops)], 3.0)
    x = tf.constant(crops / np.float32(255))
    y, y_new = before.g_a(x).numpy(), after.g_a(x).numpy()
    kept = np.setdiff1d(np.arange(14), UNUSED)
    np.testing.assert_allclose(y_new[..., kept], y[..., kept], atol=1e-4 * np.abs(y).max())
    assert np.all(y_new[..., UNUSED].std((0, 1, 2)) > 0.1 * np.median(y[..., kept].std((0, 1, 2))))
    gains, gains_new = before.gains(top), after.gains(top)
    picture_before = before.g_s(y * gains[0] * gains[1]).numpy()
    picture_after = after.g_s(y_new * gains_new[0] * gains_new[1]).numpy()
    np.testing.assert_allclose(picture_after, picture_before, atol=1e-4)
    np.testing.assert_allclose(after.h_a(y_new), before.h_a(y), rtol=1e-3, atol=1e-4)


def test_revived_channels_leave_the_mixtures_of_others(revived):
    before, after, _ = revived
    rng = np.random.default_rng(5)
    y_hat = np.round(rng.normal(size=(1, 4, 4, 14), scale=2)).astype(np.float32)
    phi = tf.constant(rng.normal(size=(1, 4, 4, 28)), tf.float32)
    quiet = y_hat.copy()
    quiet[..., UNUSED] = 0.0
    old, new = before.mixture(tf.constant(quiet), phi), after.mixture(tf.constant(y_hat), phi)
    kept = np.setdiff1d(np.arange(14), UNUSED)
    np.testing.assert_allclose(
        new.means.numpy()[..., kept], old.means.numpy()[..., kept], atol=1e-5
    )


def test_revived_channels_say_what_the_picture_lacks(revived):
    """As much as the same number of the best functions of the features can, and more than others."""
    before, after, crops = revived
    features, _, error = growth.what_is_lacking(before, crops)
    new = features @ after.g_a.last.kernel.numpy()[..., UNUSED].reshape(-1, len(UNUSED))
    other = features @ np.random.default_rng(1).normal(size=(features.shape[1], len(UNUSED)))

    def explained(by):
        fitted = by @ np.linalg.lstsq(by, error, rcond=None)[0]
        return np.sum(fitted**2) / np.sum(error**2)

    best, *_ = np.linalg.lstsq(features, error, rcond=None)
    spectrum = np.linalg.svd(features @ best, compute_uv=False) ** 2
    assert explained(new) > 0.9 * spectrum[: len(UNUSED)].sum() / np.sum(error**2)
    assert explained(new) > 1.5 * explained(other)


def test_revive_refuses_a_model_without_any_channel_in_use():
    model, crops = with_unused_channels()
    model.g_a.last.kernel.assign(0 * model.g_a.last.kernel)
    growth.blind(model.g_a.attentions[1], np.ones(14, bool))
    with pytest.raises(ModelError, match="no channel of y is in use"):
        growth.revive(model, crops)


def test_revive_refuses_a_fixed_rate_and_leaves_a_full_model_alone():
    fixed = build(ModelConfig(**dict(SMALL, lambdas=())))
    crops = np.zeros((1, 64, 64, 3), np.uint8)
    with pytest.raises(ModelError, match="variable-rate"):
        growth.revive(fixed, crops)
    model, crops = with_unused_channels()
    model.g_a.last.kernel.assign(randomised(RICH, 7).g_a.last.kernel * 1e3)
    state = model.get_weights()
    assert not growth.revive(model, crops).any()
    for ours, theirs in zip(model.get_weights(), state):
        np.testing.assert_array_equal(ours, theirs)


def test_learner_holds_back_the_rate_of_revived_channels(tmp_path):
    path = tmp_path / "start.npz"
    export_model(randomised(SMALL, 1), path, {"steps": 7, "revived": [2, 6]})
    settings = Settings.of(
        num_filters=10,
        components=1,
        entropy_widths="12,16",
        lambdas="0.002,0.05",
        init_from=str(path),
        rate_ramp=10,
        precision="float32",
        patch=64,
        batch=1,
    )
    learner = Learner(settings)
    for step, part in ((0, 0.0), (5, 0.5**4), (10, 1.0), (99, 1.0)):
        learner.step.assign(step)
        wanted = np.ones(10)
        wanted[[2, 6, 8, 9]] = part  # 8 and 9 are beyond those of the start
        np.testing.assert_allclose(learner.rate_gradient(), wanted, rtol=1e-6)


def test_gains_go_on_beyond_the_lambdas():
    small = randomised(SMALL, 1)
    ratio = SMALL["lambdas"][1] / SMALL["lambdas"][0]
    lambdas = (SMALL["lambdas"][0] * ratio**0.5, SMALL["lambdas"][1] * ratio)
    model = build(ModelConfig(**dict(SMALL, lambdas=lambdas)))
    growth.grow(model, small)
    for new, old in zip(model.gains.weights, small.gains.weights):
        low, high = old.numpy()
        np.testing.assert_allclose(new[0], (low + high) / 2, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(new[1], high + (high - low), rtol=1e-4, atol=1e-5)


def test_channels_that_pass_the_deep_blocks_by_change_nothing_at_first():
    """The new channels of y are there, and the picture and z are what they were."""
    small = randomised(SMALL, 1)
    apart = dict(SMALL, num_filters=14, hyper_filters=8, deep_filters=8)
    model = build(ModelConfig(**apart))
    growth.grow(model, small)
    crops = np.random.default_rng(2).integers(0, 256, (4, 64, 64, 3), np.uint8)
    new = np.arange(14) >= 8
    assert growth.revive(model, crops, new).sum() == 6
    x = tf.constant(crops / np.float32(255))
    y, old = model.g_a(x).numpy(), small.g_a(x).numpy()
    np.testing.assert_allclose(y[..., :8], old, atol=1e-4 * np.abs(old).max())
    assert np.all(y[..., 8:].std((0, 1, 2)) > 0)
    for part, given, wanted in (("g_s", y, small.g_s(old)), ("h_a", y, small.h_a(old))):
        found, wanted = getattr(model, part)(given).numpy(), wanted.numpy()
        np.testing.assert_allclose(found, wanted, atol=1e-3 * np.abs(wanted).max())


def test_script_writes_a_start(tmp_path):
    from experiments.tools import revive

    model, crops = with_unused_channels()
    path = tmp_path / "model.npz"
    export_model(model, path, {"steps": 7})
    for i, crop in enumerate(crops[:6]):
        Image.fromarray(crop.repeat(2, 0).repeat(2, 1)).save(tmp_path / f"{i:02}.png")
    flags = SimpleNamespace(
        model=str(path),
        num_filters=0,
        train_glob=str(tmp_path / "*.png"),
        cache_dir=str(tmp_path / "cache"),
        crops=8,
        validation_images=2,
        seed=0,
        hyper_filters=0,
        deep_filters=0,
        lambdas=[],
        output=str(tmp_path / "start.npz"),
    )
    assert revive.revive(flags) == f"{flags.output}: {len(UNUSED)} of 14 channels revived"
    start = ModelFile.read(flags.output)
    assert start.info == {"steps": 7, "revived": UNUSED}
    with pytest.raises(ModelError, match="none to revive"):
        flags.model = flags.output
        revive.revive(flags)

    flags.model = str(path)
    flags.num_filters = 18
    assert revive.revive(flags) == f"{flags.output}: 4 of 18 channels revived"
    wide = ModelFile.read(flags.output)
    assert wide.config.num_filters == 18 and wide.info["revived"] == [14, 15, 16, 17]
    x = tf.constant(crops[:1] / np.float32(255))
    stored, wider = CompressionModel.load(str(path)), CompressionModel.load(wide)
    y, y_wide = stored.g_a(x).numpy(), wider.g_a(x).numpy()
    np.testing.assert_allclose(y_wide[..., :14], y, atol=1e-4 * np.abs(y).max())
    assert np.all(y_wide[..., 14:].std((0, 1, 2)) > 0)
    shown = stored.g_s(y).numpy()
    np.testing.assert_allclose(wider.g_s(y_wide), shown, atol=1e-3 * np.abs(shown).max())
    flags.deep_filters, flags.hyper_filters = 14, 14
    flags.lambdas = ["0.01", "0.02", "0.5"]
    revive.revive(flags)
    config = ModelFile.read(flags.output).config
    assert (config.num_filters, config.deep_filters, config.hyper_filters) == (18, 14, 14)
    assert config.lambdas == (0.01, 0.02, 0.5)
    flags.num_filters = 14
    with pytest.raises(ModelError, match="has 14 filters already"):
        revive.revive(flags)
