"""The mixture against SciPy's distributions in float64, in the ordinary range and far outside."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from gllmm_tf.model.mixture import FAMILIES, Mixture, num_parameters

SUBSETS = [s for n in (1, 2, 3) for s in itertools.combinations(FAMILIES, n)]
SCIPY = {"gaussian": stats.norm, "laplacian": stats.laplace, "logistic": stats.logistic}


def log_survival(family, z):
    """ln P(Z > z) in float64; `scipy.stats.laplace.logsf` is -inf far out."""
    if family == "gaussian":
        return special.log_ndtr(-z)
    if family == "logistic":
        return -np.logaddexp(0.0, z)
    return np.where(z > 0.0, -z - np.log(2.0), np.log1p(-0.5 * np.exp(np.minimum(z, 0.0))))


def log_bin(family, y, mean, scale):
    """ln P(y - 1/2 < Y <= y + 1/2) in float64, for one component."""
    y, mean, scale = (np.asarray(v, np.float64) for v in (y, mean, scale))
    lower = np.where(y >= mean, (y - 0.5) - mean, mean - (y + 0.5))
    a, b = lower / scale, (lower + 1.0) / scale
    center = (lower + 0.5) / scale
    law = SCIPY[family]
    with np.errstate(all="ignore"):
        log_a, log_b = log_survival(family, a), log_survival(family, b)
        tail = log_a + np.log(-np.expm1(log_b - log_a))
        middle = np.log1p(-law.sf(-a) - law.sf(b))  # bins that hold the mean
        # Bins that are narrow in units of the scale: Gauss-Legendre quadrature of the density,
        # on the two sides of the kink of the Laplacian.
        nodes, weights = np.polynomial.legendre.leggauss(12)
        cut = np.clip(0.0, a, b)
        pieces = []
        for left, right in ((a, cut), (cut, b)):
            points = left[..., None] + (right - left)[..., None] * (nodes + 1.0) / 2.0
            peak = law.logpdf(center)[..., None]
            mass = np.sum(weights * np.exp(np.minimum(law.logpdf(points) - peak, 50.0)), axis=-1)
            pieces.append(mass * (right - left) / 2.0)
        narrow = law.logpdf(center) + np.log(pieces[0] + pieces[1])
    narrow_bin = np.maximum(np.abs(center), 1.0) < 0.5 * scale
    return np.where(narrow_bin, narrow, np.where(a < 0.0, middle, tail))


def draw(rng, shape, families, components, spread=3.0):
    """Random params [*shape[:-1], groups * N] in the published layout, N = shape[-1]."""
    groups = num_parameters(families, components)
    params = rng.normal(size=(*shape[:-1], groups, shape[-1]))
    params[..., 1 : 3 * len(families) * components : 3, :] *= spread
    return params.reshape(*shape[:-1], -1).astype(np.float32)


def oracle(params, families, components):
    """Float64 logits, means, scales [..., F, K, N] and joint log weights, group by group."""
    groups = num_parameters(families, components)
    params = np.asarray(params, np.float64)
    num = params.shape[-1] // groups
    group = [params[..., i * num : (i + 1) * num] for i in range(groups)]
    shape = (*params.shape[:-1], len(families), components, num)
    parts = [np.empty(shape) for _ in range(3)]
    for f, k, part in itertools.product(range(len(families)), range(components), range(3)):
        parts[part][..., f, k, :] = group[3 * (f * components + k) + part]
    logits, means, raw = parts
    log_weights = special.log_softmax(logits, axis=-2)
    if len(families) > 1:
        family_logits = np.stack(group[-len(families) :], axis=-2)
        log_weights = log_weights + special.log_softmax(family_logits, axis=-2)[..., None, :]
    return log_weights, means, np.maximum(np.abs(raw), 1e-6)


def oracle_log_likelihood(y, params, families, components):
    log_weights, means, scales = oracle(params, families, components)
    y = np.asarray(y, np.float64)[..., None, :]
    logs = [
        log_bin(family, y, means[..., f, :, :], scales[..., f, :, :])
        for f, family in enumerate(families)
    ]
    return special.logsumexp(np.stack(logs, axis=-3) + log_weights, axis=(-3, -2))


def single(family, y, mean, scale):
    """ln P and its gradients to y, mean and scale, for arrays of single components [n]."""
    y, mean, scale = (tf.constant(np.asarray(v, np.float32)[:, None]) for v in (y, mean, scale))
    with tf.GradientTape() as tape:
        tape.watch((y, mean, scale))
        mixture = Mixture(
            (family,), 1, tf.zeros_like(y)[..., None], mean[..., None], scale[..., None]
        )
        value = mixture.log_likelihood(y)
    gradients = tape.gradient(value, (y, mean, scale))
    return tuple(t.numpy()[:, 0] for t in (value, *gradients))


def extremes():
    """A grid of y, mean and scale out to |y|, |mean| = 1e4 and scales 1e-6 .. 1e4, as float32."""
    points = np.array([0.0, 0.3, 0.5, 1.0, 1.5, 2.0, 10.0, 100.0, 1e3, 9999.5, 1e4])
    points = np.concatenate([-points[:0:-1], points])
    near = np.array([0.49, 0.4999, 0.5, 0.500001, 0.51])
    means = np.concatenate([points, near, -near, [1e-7, -1e-7]])
    scales = np.geomspace(1e-6, 1e4, 21)
    grid = np.meshgrid(points, means, scales, indexing="ij")
    return tuple(v.ravel().astype(np.float32) for v in grid)


# Layout


@pytest.mark.parametrize(
    "families, components, expected",
    [(FAMILIES, 3, 30), (("gaussian",), 3, 9), (FAMILIES[:2], 2, 14), (("logistic",), 1, 3)],
)
def test_num_parameters(families, components, expected):
    assert num_parameters(families, components) == expected


@pytest.mark.parametrize(
    "families, components",
    [((), 3), (("gaussian", "gaussian"), 3), (("cauchy",), 3), (FAMILIES, 0)],
)
def test_num_parameters_rejects(families, components):
    with pytest.raises(ValueError):
        num_parameters(families, components)


def test_from_parameters_rejects_channels():
    with pytest.raises(ValueError, match="multiple of 30"):
        Mixture.from_parameters(tf.zeros([1, 31]), FAMILIES, 3)


@pytest.mark.parametrize("families", SUBSETS)
@pytest.mark.parametrize("components", [1, 3])
def test_layout(families, components):
    params = draw(np.random.default_rng(0), (2, 3, 2, 4), families, components)
    mixture = Mixture.from_parameters(params, families, components)
    log_weights, means, scales = oracle(params, families, components)
    np.testing.assert_array_equal(mixture.means, means.astype(np.float32))
    np.testing.assert_array_equal(mixture.scales, scales.astype(np.float32))
    np.testing.assert_allclose(mixture.weights, np.exp(log_weights), rtol=2e-6)
    component, family = mixture.component_weights.numpy(), mixture.family_weights.numpy()
    assert family.shape == (2, 3, 2, len(families), 4)
    np.testing.assert_allclose(component.sum(axis=-2), 1.0, rtol=1e-6)
    np.testing.assert_allclose(family.sum(axis=-2), 1.0, rtol=1e-6)
    np.testing.assert_allclose(component * family[..., None, :], mixture.weights, rtol=1e-6)


def test_scale_min():
    params = np.array([[0.0, 0.0, -0.2], [0.0, 0.0, 0.05], [0.0, 0.0, 0.0]], np.float32)
    mixture = Mixture.from_parameters(params, ("gaussian",), 1, scale_min=0.1)
    np.testing.assert_allclose(mixture.scales.numpy().ravel(), [0.2, 0.1, 0.1], rtol=1e-6)


# Values


@pytest.mark.parametrize("families", SUBSETS)
@pytest.mark.parametrize("components", [1, 3])
def test_log_likelihood(families, components):
    rng = np.random.default_rng(1)
    params = draw(rng, (2, 4, 4, 8), families, components)
    y = np.round(8.0 * rng.normal(size=(2, 4, 4, 8))).astype(np.float32)
    mixture = Mixture.from_parameters(params, families, components)
    expected = oracle_log_likelihood(y, params, families, components)
    value = mixture.log_likelihood(y).numpy()
    assert value.dtype == np.float32 and value.shape == y.shape
    assert np.max(np.abs(value - expected) / np.maximum(np.abs(expected), 1.0)) < 2e-6
    np.testing.assert_allclose(mixture.bits(y), -value / np.log(2.0), rtol=1e-6)
    np.testing.assert_allclose(mixture.likelihood(y), np.exp(value), rtol=1e-5, atol=1e-37)


@pytest.mark.parametrize("family", FAMILIES)
def test_tails_and_extremes(family):
    y, mean, scale = extremes()
    value, *gradients = single(family, y, mean, scale)
    expected = log_bin(family, y, mean, scale)
    # An absolute error of 2e-6 nats for probable bins, a relative one for improbable bins.
    assert np.max(np.abs(value - expected) / np.maximum(np.abs(expected), 1.0)) < 2e-6
    assert np.all(value <= 1e-6)
    for gradient in gradients:
        assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_tails_are_symmetric(family, sign):
    y = np.arange(0.0, 400.0, dtype=np.float32)
    value = single(family, sign * y, np.full_like(y, sign * 0.25), np.full_like(y, 2.0))[0]
    mirrored = single(family, -sign * y, np.full_like(y, -sign * 0.25), np.full_like(y, 2.0))[0]
    np.testing.assert_array_equal(value, mirrored)
    assert np.all(np.diff(value) < 0.0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("scale", [1e-6, 1e-3, 0.1, 0.5, 0.99, 2.0, 2.1, 30.0, 1e3, 1e4])
@pytest.mark.parametrize("mean", [0.0, 0.5, -7.3, 1e4])
def test_bins_sum_to_one(family, scale, mean):
    reach = np.ceil(22.0 * scale) + 2.0
    y = np.round(mean) + np.arange(-reach, reach + 1.0)
    mixture = Mixture((family,), 1, [[[0.0]]], [[[mean]]], [[[scale]]])
    total = np.sum(mixture.likelihood(y[:, None]).numpy(), dtype=np.float64)
    assert abs(total - 1.0) < 1e-6


def test_mixture_bins_sum_to_one():
    params = draw(np.random.default_rng(2), (1, 16), FAMILIES, 3)
    mixture = Mixture.from_parameters(params, FAMILIES, 3)
    likelihood = mixture.likelihood(np.arange(-120.0, 121.0)[:, None])
    assert likelihood.shape == (241, 16)
    np.testing.assert_allclose(np.sum(likelihood, axis=0, dtype=np.float64), 1.0, atol=1e-6)


@pytest.mark.parametrize("families", SUBSETS)
def test_cdf(families):
    params = draw(np.random.default_rng(3), (1, 8), families, 3)
    mixture = Mixture.from_parameters(params, families, 3)
    x = np.linspace(-40.0, 40.0, 641, dtype=np.float32)[:, None]
    value = mixture.cdf(x).numpy()
    log_weights, means, scales = oracle(params, families, 3)
    expected = np.zeros((641, 8))
    for f, k in itertools.product(range(len(families)), range(3)):
        law = SCIPY[families[f]](means[:, f, k], scales[:, f, k])
        expected += np.exp(log_weights[:, f, k]) * law.cdf(x.astype(np.float64))
    np.testing.assert_allclose(value, expected, atol=5e-7)
    assert np.all(np.diff(value, axis=0) >= -2e-7)
    assert np.all((value >= 0.0) & (value <= 1.0))
    far = mixture.cdf(np.array([[-1e9], [1e9]])).numpy()
    np.testing.assert_allclose(far, [[0.0] * 8, [1.0] * 8], atol=5e-7)


@pytest.mark.parametrize("family", FAMILIES)
def test_bins_are_differences_of_cdf(family):
    mixture = Mixture((family,), 1, [[[0.0]]], [[[0.3]]], [[[1.7]]])
    y = np.arange(-8.0, 9.0)[:, None]
    difference = mixture.cdf(y + 0.5) - mixture.cdf(y - 0.5)
    np.testing.assert_allclose(mixture.likelihood(y), difference, atol=3e-7)


# Gradients


@pytest.mark.parametrize("families", SUBSETS)
def test_gradients(families):
    rng = np.random.default_rng(4)
    params = draw(rng, (64, 1), families, 2)
    # Away from scales so small that the finite differences are wrong.
    scale_groups = slice(2, 6 * len(families), 3)
    params[:, scale_groups] += 0.2 * np.sign(params[:, scale_groups])
    y = (4.0 * rng.normal(size=(64, 1))).astype(np.float32)
    inputs = (tf.constant(y), tf.constant(params))
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = Mixture.from_parameters(inputs[1], families, 2).log_likelihood(inputs[0])
    to_y, to_params = (g.numpy() for g in tape.gradient(value, inputs))

    def difference(index):
        step = 1e-5
        both = np.concatenate([y, params], axis=-1).astype(np.float64)
        values = []
        for sign in (-1.0, 1.0):
            moved = both.copy()
            moved[:, index] += sign * step
            values.append(oracle_log_likelihood(moved[:, :1], moved[:, 1:], families, 2)[:, 0])
        return (values[1] - values[0]) / (2.0 * step)

    np.testing.assert_allclose(to_y[:, 0], difference(0), rtol=1e-4, atol=2e-5)
    for index in range(params.shape[-1]):
        expected = difference(index + 1)
        np.testing.assert_allclose(to_params[:, index], expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("scale", [0.3, 1.0, 1.9, 2.1, 50.0, 3e3])
def test_gradients_across_forms(family, scale):
    """Where one closed form hands over to another, and where y meets the mean."""
    mean = np.array([-3 * scale, -0.51, -0.49, -0.2, 0.2, 0.49, 0.51, 1.0, scale, 9 * scale, 2e3])
    mean = mean.astype(np.float32)
    y, s = np.zeros_like(mean), np.full_like(mean, scale)
    _, to_y, to_mean, to_scale = single(family, y, mean, s)
    np.testing.assert_array_equal(to_y, -to_mean)
    step = 1e-6 * scale
    for gradient, args in ((to_mean, (0, step, 0)), (to_scale, (0, 0, step))):
        high, low = (
            log_bin(family, *(np.float64(v) + sign * d for v, d in zip((y, mean, s), args)))
            for sign in (1.0, -1.0)
        )
        expected = (high - low) / (2.0 * step)
        bound = 2e-5 * np.maximum(np.abs(expected), 1.0 / scale)
        assert np.all(np.abs(gradient - expected) < bound)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_vanishes_at_the_mean(family):
    gradient = single(family, [3.0, -2.0], [3.0, -2.0], [0.7, 40.0])[1]
    np.testing.assert_allclose(gradient, 0.0, atol=1e-7)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_at_the_edge_of_a_bin(family):
    """With y - mean = 1/2 exactly the gradient is that of the limit, not twice it."""
    exact, beside = single(family, [1.0, 1.0], [0.5, 0.4999], [0.25, 0.25])[1]
    assert exact == pytest.approx(beside, rel=2e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_point_to_the_data(family):
    y, mean, scale = extremes()
    _, to_y, to_mean, _ = single(family, y, mean, scale)
    # Nothing but bins that do not hold the mean: inside, a small scale has no gradient.
    distance = y.astype(np.float64) - mean
    outside = np.abs(distance) > 0.5001
    assert np.all(np.sign(to_mean[outside]) == np.sign(distance[outside]))
    assert np.all(np.sign(to_y[outside]) == -np.sign(distance[outside]))


@pytest.mark.parametrize("families", SUBSETS)
def test_gradients_of_broadcast_parameters(families):
    """One distribution for many y: its gradient is the sum over y."""
    params = tf.constant(draw(np.random.default_rng(7), (1, 4), families, 2))
    y = tf.range(-5.0, 6.0)[:, tf.newaxis]
    gradients = []
    for given in (params, tf.repeat(params, 11, axis=0)):
        with tf.GradientTape() as tape:
            tape.watch(given)
            value = Mixture.from_parameters(given, families, 2).log_likelihood(y)
        gradients.append(tf.reduce_sum(tape.gradient(value, given), axis=0))
    np.testing.assert_allclose(*gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_mixture_finite_in_extremes(jit_compile):
    """All families, with extreme logits too, as a TensorFlow graph and compiled by XLA."""
    rng = np.random.default_rng(5)
    shape = (500, 4)
    params = np.empty((500, 30, 4))
    params[:] = rng.choice([-1e4, -50.0, 0.0, 50.0, 1e4], size=params.shape)
    params[:, 1:27:3] = rng.choice([-1e4, -1.0, 0.0, 0.5, 1e4], size=(500, 9, 4))
    params[:, 2:27:3] = rng.choice([0.0, 1e-6, -1e-3, 1.0, -2.0, 1e4], size=(500, 9, 4))
    params = params.reshape(500, 120).astype(np.float32)
    y = rng.choice([-1e4, -3.0, 0.0, 0.25, 1.0, 1e4], size=shape).astype(np.float32)

    @tf.function(jit_compile=jit_compile)
    def run(y, params):
        with tf.GradientTape() as tape:
            tape.watch((y, params))
            value = Mixture.from_parameters(params, FAMILIES, 3).log_likelihood(y)
        return (value, *tape.gradient(value, (y, params)))

    value, *gradients = (t.numpy() for t in run(y, params))
    expected = oracle_log_likelihood(y, params, FAMILIES, 3)
    assert np.max(np.abs(value - expected) / np.maximum(np.abs(expected), 1.0)) < 1e-5
    for gradient in gradients:
        assert np.all(np.isfinite(gradient))


def test_low_precision_inputs_are_cast():
    params = tf.cast(draw(np.random.default_rng(6), (4, 8), FAMILIES, 3), tf.bfloat16)
    y = tf.zeros([4, 8], tf.bfloat16)
    value = Mixture.from_parameters(params, FAMILIES, 3).bits(y)
    exact = Mixture.from_parameters(tf.cast(params, tf.float32), FAMILIES, 3).bits(tf.zeros([4, 8]))
    assert value.dtype == tf.float32
    np.testing.assert_array_equal(value, exact)
