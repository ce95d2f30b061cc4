"""The density of z and its tables against closed forms and against tensorflow-compression's classes."""

import math

import numpy as np
import pytest
import tensorflow as tf

from gllmm_tf.coding import range_ops
from gllmm_tf.model import prior
from gllmm_tf.model.density import NoisyDensity
from gllmm_tf.model.prior import FactorizedBottleneck

N = 5
INTEGERS = np.repeat(np.arange(-40.0, 41.0)[:, None], N, axis=1).astype(np.float32)


def moved(density, seed, size=0.7):
    """The density with random parameters."""
    rng = np.random.default_rng(seed)
    for variable in density.variables:
        variable.assign(variable + size * rng.normal(size=variable.shape))
    return density


def logits(density, z):
    """Those of the cumulatives in float64; z [rows, N]."""
    arrays = {
        name: variable.numpy().astype(np.float64)
        for name, variable in density.variables_by_name().items()
    }
    x = z.astype(np.float64).T[:, None]
    for i in range(sum(name.startswith("matrix") for name in arrays)):
        x = np.logaddexp(0, arrays[f"matrix_{i}"]) @ x + arrays[f"bias_{i}"]
        if f"factor_{i}" in arrays:
            x = x + np.tanh(arrays[f"factor_{i}"]) * np.tanh(x)
    return x[:, 0].T


def log_probability(density, z):
    """log(sigmoid(b) - sigmoid(a)) = log(1 - e^(a - b)) - log(1 + e^a) - log(1 + e^-b)."""
    lower, upper = logits(density, z - 0.5), logits(density, z + 0.5)
    return np.log(-np.expm1(lower - upper)) - np.logaddexp(0, lower) - np.logaddexp(0, -upper)


@pytest.mark.parametrize("num_filters", [(3, 3), (3, 3, 3), (2,)])
def test_probabilities(num_filters):
    density = moved(NoisyDensity(N, num_filters=num_filters), seed=1)
    z = 20 * INTEGERS + np.float32(0.25)
    wanted = log_probability(density, z)
    assert wanted.min() < -60 and wanted.max() > -5
    np.testing.assert_allclose(density.log_prob(z), wanted, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(density.prob(z), np.exp(wanted), rtol=2e-3, atol=1e-6)
    all_integers = np.repeat(np.arange(-1000.0, 1001.0)[:, None], N, axis=1).astype(np.float32)
    np.testing.assert_allclose(density.prob(all_integers).numpy().sum(0), 1, atol=1e-3)


def test_gradient():
    density = moved(NoisyDensity(N), seed=2)
    z = tf.constant(np.random.default_rng(0).normal(size=(20, N)) * 8, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(z)
        loss = tf.reduce_sum(density.log_prob(z))
    gradient = tape.gradient(loss, [z, *density.variables])
    assert all(np.all(np.isfinite(g)) for g in gradient)
    step = 1e-3
    ends = (log_probability(density, z.numpy().astype(np.float64) + s) for s in (-step, step))
    slope = np.subtract(*reversed(list(ends))) / (2 * step)
    np.testing.assert_allclose(gradient[0], slope, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("logit", [0.0, -6.2, 6.2])
def test_quantiles(logit):
    density = moved(NoisyDensity(N), seed=3)
    place = tf.function(density.base.quantile, autograph=False)(logit).numpy()[None]
    assert np.all(logits(density, place - 0.05) < logit)
    assert np.all(logits(density, place + 0.05) > logit)


def test_tables():
    bottleneck = FactorizedBottleneck(N)
    density = moved(bottleneck.prior, seed=4)
    cdf, first = bottleneck.tables()
    assert cdf.dtype == first.dtype == np.int32
    rows = np.split(cdf, np.flatnonzero(cdf < 0)[1:])
    lengths = [len(row) - 3 for row in rows]  # precision, 0 and the escape's end are no integers
    assert len(set(lengths)) > 1
    for channel, (row, length) in enumerate(zip(rows, lengths)):
        assert row[0] == -16 and row[1] == 0 and row[-1] == 2**16
        z = np.zeros((length, N)) + first[channel] + np.arange(length)[:, None]
        wanted = np.exp(log_probability(density, z))[:, channel]
        wanted = np.append(wanted, 1 - wanted.sum())
        assert 0 <= wanted[-1] < 2 * prior.TAIL_MASS
        np.testing.assert_allclose(np.diff(row[1:]) / 2.0**16, wanted, atol=2.0**-15)


def test_names_in_checkpoints(tmp_path):
    bottleneck = FactorizedBottleneck(N, num_filters=(3, 2))
    path = tf.train.Checkpoint(z=bottleneck).write(str(tmp_path / "checkpoint"))
    reader = tf.train.load_checkpoint(path)
    names = ["biases/0", "biases/1", "biases/2", "factors/0", "factors/1"]
    names += ["matrices/0", "matrices/1", "matrices/2"]
    for name, variable in zip(names, bottleneck.weights, strict=True):
        key = f"z/prior/_base/_{name}/.ATTRIBUTES/VARIABLE_VALUE"
        np.testing.assert_array_equal(reader.get_tensor(key), variable)
    assert bottleneck.weights[-1].name == "DeepFactorized/matrix_2:0"


def theirs_and_ours(num_filters, seed, size, folder):
    """(tensorflow-compression's density, our layer with its checkpoint's parameters)."""
    tfc = pytest.importorskip("tensorflow_compression")
    tf.keras.utils.set_random_seed(seed)
    ours = FactorizedBottleneck(N, num_filters=num_filters)
    start = [v.numpy() for v in ours.weights]
    tf.keras.utils.set_random_seed(seed)
    theirs = tf.keras.layers.Layer()
    theirs.prior = tfc.NoisyDeepFactorized(batch_shape=(N,), num_filters=num_filters)
    for mine, other in zip(start, theirs.weights, strict=True):
        np.testing.assert_array_equal(mine, other)  # where training starts
    rng = np.random.default_rng(seed)
    for variable in theirs.weights:
        variable.assign(variable + size * rng.normal(size=variable.shape))
    path = tf.train.Checkpoint(z=theirs).write(str(folder / "checkpoint"))
    tf.train.Checkpoint(z=ours).read(path).assert_existing_objects_matched()
    return theirs.prior, ours


@pytest.mark.parametrize("num_filters", [(3, 3), (3, 3, 3)])
@pytest.mark.parametrize("seed, size", [(1, 0.0), (2, 0.3), (3, 0.7), (4, 1.2)])
def test_agrees_with_tensorflow_compression(num_filters, seed, size, tmp_path):
    theirs, ours = theirs_and_ours(num_filters, seed, size, tmp_path)
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, INTEGERS.shape)
    z = tf.constant(np.concatenate([INTEGERS, INTEGERS + noise]), tf.float32)
    np.testing.assert_array_equal(ours.prior.prob(z), theirs.prob(z))
    results = []
    for density in (ours.prior, theirs):
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = density.log_prob(z)
        results.append([value, *tape.gradient(value, [z, *density.trainable_variables])])
    np.testing.assert_array_equal(results[0][0], results[1][0])
    for mine, other in zip(*results):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5 * np.abs(other).max())


@pytest.mark.parametrize("num_filters, seed, size", [((3, 3), 5, 0.7), ((3, 3, 3), 6, 0.4)])
def test_tables_and_streams_are_those_of_tensorflow_compression(num_filters, seed, size, tmp_path):
    tfc = pytest.importorskip("tensorflow_compression")
    theirs, ours = theirs_and_ours(num_filters, seed, size, tmp_path)
    settings = dict(coding_rank=3, compression=True, stateless=True, offset_heuristic=False)

    @tf.function(autograph=False)
    def build():
        model = tfc.ContinuousBatchedEntropyModel(theirs, range_coder_precision=16, **settings)
        return model.cdf, model.cdf_offset

    cdf, offset = ours.tables()
    for mine, other in zip((cdf, offset), build()):
        np.testing.assert_array_equal(mine, other)

    model = tfc.ContinuousBatchedEntropyModel(
        prior_shape=(N,), cdf=tf.constant(cdf), cdf_offset=tf.constant(offset), **settings
    )
    rng = np.random.default_rng(seed)
    z_hat = np.round(rng.normal(size=(3, 7, 4, N)) * [1, 5, 20, 100, 2000]).astype(np.float32)
    coder = range_ops.HyperCoder(cdf, offset)
    strings = coder.compress(z_hat)
    np.testing.assert_array_equal(strings, model.compress(z_hat))
    np.testing.assert_array_equal(model.decompress(strings, [7, 4]), z_hat)


def test_streams():
    bottleneck = FactorizedBottleneck(N)
    moved(bottleneck.prior, seed=7)
    cdf, offset = bottleneck.tables()
    coder = range_ops.HyperCoder(cdf, offset)
    rng = np.random.default_rng(7)
    z_hat = np.round(rng.normal(size=(2, 16, 16, N)) * 4)
    strings = coder.compress(tf.constant(z_hat, tf.float64))
    np.testing.assert_array_equal(coder.decompress(strings, [16, 16]), z_hat)
    bits = -log_probability(bottleneck.prior, z_hat[0].reshape(-1, N)).sum() / math.log(2)
    assert bits < 8 * len(strings.numpy()[0]) < 1.02 * bits + 32
    with pytest.raises(tf.errors.InvalidArgumentError):
        coder.decompress(strings, [15, 16]).numpy()
