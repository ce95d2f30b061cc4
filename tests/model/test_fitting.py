"""`compile`, `fit` and `evaluate` against the loss function and the loop of training."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from gllmm_tf import config, losses
from gllmm_tf.errors import GllmmError, ModelError
from gllmm_tf.model.compression import build

LAMBDAS = (0.002, 0.01, 0.05)


def small(**fields):
    return build(config.gllmm(8, entropy_widths=(16, 24), **fields))


def crops(count=4, size=64, seed=0):
    """uint8 [count, size, size, 3], smooth with a little noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (count, 5, 5, 3))
    fine = tf.image.resize(coarse, [size, size], method="bicubic").numpy()
    return np.clip(np.round(fine + rng.normal(size=fine.shape) * 2), 0, 255).astype(np.uint8)


def dataset(pictures, batch=2):
    return tf.data.Dataset.from_tensor_slices(pictures).batch(batch)


@pytest.mark.parametrize("lambdas", [(), pytest.param(LAMBDAS, marks=pytest.mark.slow)])
def test_fit_learns(lambdas):
    tf.keras.utils.set_random_seed(0)
    model = small(lambdas=lambdas)
    optimizer = tf.keras.optimizers.Adam(2e-3, global_clipnorm=1.0)
    # Eager steps are slow, but one trace takes longer than a few of them.
    model.compile(optimizer, None if lambdas else 0.01, run_eagerly=not lambdas)
    data = dataset(crops())
    before = model.evaluate(data, verbose=0, return_dict=True)
    history = model.fit(data.repeat(4), epochs=2, verbose=0).history
    after = model.evaluate(data, verbose=0, return_dict=True)
    assert set(history) == set(before) == {"loss", "bpp", "psnr"}
    assert np.all(np.isfinite(list(history.values())))
    assert after["loss"] < 0.9 * before["loss"]
    assert after["psnr"] > before["psnr"]
    assert optimizer.iterations == 16


def test_bytes_floats_and_labelled_batches_are_the_same_pictures():
    model = small()
    model.compile("adam", 0.01)
    pictures = crops()
    floats = np.float32(pictures) / 255
    results = [
        model.evaluate(dataset(data), verbose=0)
        for data in (pictures, floats, np.float64(floats), (pictures, np.arange(4)))
    ]
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], rtol=1e-5)


def test_qualities_do_not_disturb_each_other():
    """Judged at the same time they would share oneDNN's kernels, with wrong numbers or a crash."""
    model = small(lambdas=LAMBDAS)
    model.compile("adam")
    results = [model.evaluate(dataset(crops()), verbose=0) for _ in range(20)]
    assert results == 20 * results[:1]


@pytest.mark.parametrize("lambdas", [(), LAMBDAS])
def test_evaluate_is_the_mean_over_pictures_and_qualities(lambdas):
    """With rounded latents and clipped pixels, whatever the batches are."""
    model = small(lambdas=lambdas)
    model.compile("adam", None if lambdas else 0.01)
    pictures = crops(3)
    found = model.evaluate(dataset(pictures), verbose=0, return_dict=True)
    x, rows = tf.constant(np.float32(pictures) / 255), []
    for quality, value in enumerate(lambdas or [0.01], 1):
        out = model(x, quality if lambdas else None)
        out = out._replace(x_hat=tf.clip_by_value(out.x_hat, 0, 1))
        terms = losses.rate_distortion_loss(x, out, value)
        rows.append([terms.loss, terms.bpp, losses.psnr(terms.mse)])
    wanted = np.mean(rows, (0, 2))
    np.testing.assert_allclose([found[k] for k in ("loss", "bpp", "psnr")], wanted, rtol=1e-4)


def test_a_step_is_that_of_the_loss_function():
    """Stochastic gradient descent with rate 1 shows the gradient of one step, noise and all."""
    pictures = crops(2)
    x = tf.constant(np.float32(pictures) / 255)
    model = small()
    start = model.get_weights()
    tf.random.set_seed(3)
    with tf.GradientTape() as tape:
        # `fit` draws qualities before the noise, also for a fixed rate.
        for _ in range(3):
            tf.random.uniform([2])
        terms = losses.rate_distortion_loss(x, model(x, training=True), 0.01)
        loss = tf.reduce_mean(terms.loss)
    wanted = tape.gradient(loss, model.trainable_variables)

    model.compile(tf.keras.optimizers.SGD(1.0), 0.01, run_eagerly=True)
    tf.random.set_seed(3)
    seen = model.train_on_batch(pictures, return_dict=True)
    assert seen["loss"] == pytest.approx(float(loss), rel=1e-5)
    for name, before, after, gradient in zip(
        [v.name for v in model.trainable_variables], start, model.get_weights(), wanted
    ):
        step = before - after
        gradient = tf.convert_to_tensor(gradient).numpy()
        np.testing.assert_allclose(
            step, gradient, atol=2e-3 * np.abs(gradient).max() + 1e-6, err_msg=name
        )


def test_pictures_of_a_batch_have_qualities_of_their_own():
    tf.keras.utils.set_random_seed(1)
    model = small(lambdas=LAMBDAS)
    model.compile("adam")
    seen = []
    model.gains.call, call = (
        lambda quality: (seen.append(quality), call(quality))[1],
        model.gains.call,
    )
    model.run_eagerly = True
    model.fit(dataset(crops(64), batch=64), verbose=0)
    (quality,) = seen
    assert quality.shape == [64]
    assert len(set(quality.numpy())) > 20 and np.min(quality) >= 1 and np.max(quality) <= 3
    whole = np.round(quality) == quality
    assert 0.25 < np.mean(whole) < 0.75
    assert set(np.array(quality)[whole]) == {1.0, 2.0, 3.0}


def test_ms_ssim_is_reported_and_needs_its_pixels():
    model = small(metric="ms-ssim")
    model.compile("adam", 12.0)
    found = model.evaluate(dataset(crops(1, 192)), verbose=0, return_dict=True)
    assert set(found) == {"loss", "bpp", "psnr", "ms_ssim"}
    assert found["loss"] == pytest.approx(12 * (1 - found["ms_ssim"]) + found["bpp"], rel=1e-3)
    with pytest.raises(GllmmError, match="MS-SSIM needs at least 176 pixels a side"):
        model.evaluate(dataset(crops()), verbose=0)


def test_a_saved_model_goes_on(tmp_path):
    model = small()
    optimizer = tf.keras.optimizers.Adam(1e-3, global_clipnorm=1.0)
    model.compile(optimizer, 0.01, run_eagerly=True)
    model.fit(dataset(crops()), verbose=0)
    names = [variable.name for variable in model.variables]
    model.save(tmp_path / "model.keras")
    again = tf.keras.models.load_model(tmp_path / "model.keras")
    again.run_eagerly = True
    assert again.optimizer.iterations == 2 and again.optimizer.global_clipnorm == 1.0
    data = dataset(crops(seed=1))
    assert again.evaluate(data, verbose=0) == model.evaluate(data, verbose=0)
    again.fit(data, verbose=0)
    assert again.optimizer.iterations == 4
    assert len(names) == len(small().variables)  # the meters are no part of the model


@pytest.mark.parametrize(
    "fields, arguments, message",
    [
        ({}, {}, "a fixed-rate model needs a lambda"),
        ({}, {"lambdas": [0.1, 0.2]}, "it must be one positive number"),
        ({}, {"lambdas": 0.0}, "it must be one positive number"),
        ({"lambdas": LAMBDAS}, {"lambdas": 0.01}, "has lambdas of its own; omit them"),
        ({"lambdas": LAMBDAS}, {"loss": "mse"}, "belong to the model; omit loss"),
        ({"lambdas": LAMBDAS}, {"metrics": ["mse"]}, "belong to the model; omit metrics"),
    ],
)
def test_wrong_arguments_of_compile_are_named(fields, arguments, message):
    with pytest.raises(ModelError, match=message):
        small(**fields).compile("adam", **arguments)


@pytest.mark.parametrize(
    "pictures, message",
    [
        (np.zeros([2, 64, 64], np.uint8), "a batch is pictures"),
        (np.zeros([2, 64, 64, 3], np.int32), "uint8, or floats in 0..1, not int32"),
        (np.zeros([2, 96, 64, 3], np.uint8), "a height of 96, it must be a multiple of 64"),
    ],
)
@pytest.mark.parametrize("give", [dataset, tf.constant, lambda pictures: pictures])
def test_wrong_data_are_named(pictures, message, give):
    model = small()
    model.compile("adam", 0.01)
    for method in (model.fit, model.evaluate):
        with pytest.raises(ModelError, match=message):
            method(give(pictures), verbose=0)


def test_floats_beyond_one_are_named():
    model = small()
    model.compile("adam", 0.01, run_eagerly=True)
    message = "values in 0..1; give uint8, or divide by 255"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        model.fit(dataset(np.float32(crops())), verbose=0)


TWO_REPLICAS = """
import numpy as np
import tensorflow as tf

from gllmm_tf import config
from gllmm_tf.model.compression import build

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, 2 * [tf.config.LogicalDeviceConfiguration()])
pictures = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3)).astype(np.uint8)
data = tf.data.Dataset.from_tensor_slices(pictures).batch(4)
steps = []
for strategy in (tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])):
    with strategy.scope():
        tf.keras.utils.set_random_seed(0)
        model = build(config.gllmm(4, entropy_widths=(6, 8)))
        # Plain descent moves the weights by the gradient; rounded latents keep g_s free of noise.
        model.compile(tf.keras.optimizers.SGD(1e-4), 0.01)
    before = [v.numpy() for v in model.g_s.weights]
    model.fit(data, verbose=0)
    steps.append([v.numpy() - b for v, b in zip(model.g_s.weights, before)])
for one, two in zip(*steps):
    np.testing.assert_allclose(two, one, rtol=1e-2, atol=1e-2 * np.abs(one).max())
assert max(np.abs(step).max() for step in steps[0]) > 0
"""


@pytest.mark.slow
def test_replicas_share_a_batch_and_take_its_step():
    subprocess.run([sys.executable, "-c", TWO_REPLICAS], check=True)
