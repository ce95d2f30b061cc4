"""Muon against a NumPy reference in float64."""

import numpy as np
import pytest
import tensorflow as tf

from gllmm_tf.training import optimizers

SHAPES = {
    "tall": (3, 3, 8, 16),
    "wide": (1, 1, 16, 40),
    "square": (1, 1, 24, 24),
    "thin": (3, 3, 2, 8),
    "matrix": (20, 20),
    "bias": (16,),
}


def orthogonalize(matrix):
    """The definition, written with the other Gram matrix than the code's for tall matrices."""
    a, b, c = optimizers.NEWTON_SCHULZ
    x = matrix / np.sqrt(np.sum(matrix**2))
    for _ in range(optimizers.NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = a * x + b * gram @ x + c * gram @ gram @ x
    return x


class Reference:
    """Muon and Adam of one variable, in float64."""

    def __init__(self, value, muon, ratio):
        self.value, self.muon, self.ratio = value.astype(np.float64), muon, ratio
        self.velocity, self.first, self.second, self.count = 0.0, 0.0, 0.0, 0

    def step(self, gradient, rate):
        gradient = gradient.astype(np.float64)
        self.count += 1
        if self.muon:
            self.velocity = 0.95 * self.velocity + gradient
            ahead = gradient + 0.95 * self.velocity
            columns = ahead.shape[-1]
            matrix = ahead.reshape(-1, columns)
            update = 0.2 * np.sqrt(max(matrix.shape)) * orthogonalize(matrix)
            self.value -= rate * update.reshape(ahead.shape)
            return
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.999 * self.second + 0.001 * gradient**2
        first = self.first / (1 - 0.9**self.count)
        second = np.sqrt(self.second / (1 - 0.999**self.count))
        self.value -= rate * self.ratio * first / (second + 1e-8)


def make(shapes, **options):
    rng = np.random.default_rng(0)
    variables = [tf.Variable(rng.normal(size=s).astype(np.float32)) for s in shapes]
    optimizer = optimizers.Muon(1e-2, **options)
    optimizer.build(variables)
    return optimizer, variables


@pytest.mark.parametrize("shape", [(16, 16), (72, 32), (24, 90)])
def test_orthogonalize_is_the_definition(shape):
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=shape)
    found = optimizers.orthogonalize(tf.constant(matrix, tf.float32)).numpy()
    np.testing.assert_allclose(found, orthogonalize(matrix), atol=2e-5)
    u, _, vt = np.linalg.svd(matrix, full_matrices=False)
    values = np.diag(u.T @ found @ vt.T)
    assert values.min() > 0.6 and values.max() < 1.3
    np.testing.assert_allclose(u * values @ vt, found, atol=2e-5)  # the singular vectors stay


def test_orthogonalize_does_not_care_for_the_length():
    matrix = np.random.default_rng(1).normal(size=(30, 20)).astype(np.float32)
    found = optimizers.orthogonalize(tf.constant(matrix))
    scaled = optimizers.orthogonalize(tf.constant(1e-12 * matrix))
    np.testing.assert_allclose(scaled, found, atol=1e-5)
    np.testing.assert_array_equal(optimizers.orthogonalize(tf.zeros((30, 20))), np.zeros((30, 20)))


def test_orthogonalize_in_bfloat16_is_close():
    matrix = np.random.default_rng(1).normal(size=(72, 32)).astype(np.float32)
    found = optimizers.orthogonalize(tf.constant(matrix), "bfloat16")
    assert found.dtype == tf.float32
    values = np.linalg.svd(found.numpy(), compute_uv=False)
    assert values.min() > 0.5 and values.max() < 1.4
    np.testing.assert_allclose(found, orthogonalize(matrix), atol=0.05)


def test_matrices_of_a_batch_are_independent():
    batch = np.random.default_rng(1).normal(size=(3, 20, 30)).astype(np.float32)
    found = optimizers.orthogonalize(tf.constant(batch))
    for matrix, expected in zip(batch, found):
        np.testing.assert_allclose(optimizers.orthogonalize(matrix), expected, atol=1e-6)


def test_who_is_muons():
    optimizer, variables = make(SHAPES.values())
    muon = [name for name, v in zip(SHAPES, variables) if optimizer.uses_muon(v)]
    assert muon == ["tall", "wide", "square"]
    optimizer, variables = make(SHAPES.values(), largest_matrix=16)
    muon = [name for name, v in zip(SHAPES, variables) if optimizer.uses_muon(v)]
    assert muon == ["tall", "wide"]


@pytest.mark.parametrize("largest", [None, 16])
def test_steps_are_those_of_the_reference(largest):
    optimizer, variables = make(SHAPES.values(), adam_ratio=0.3, largest_matrix=largest)
    references = [Reference(v.numpy(), optimizer.uses_muon(v), 0.3) for v in variables]
    rng = np.random.default_rng(2)
    for rate in (1e-2, 2e-2, 5e-3, 1e-3):
        gradients = [rng.normal(size=v.shape).astype(np.float32) for v in variables]
        optimizer.learning_rate.assign(rate)
        optimizers.update(optimizer, [tf.constant(g) for g in gradients], variables)
        for reference, gradient in zip(references, gradients):
            reference.step(gradient, rate)
    for name, reference, variable in zip(SHAPES, references, variables):
        np.testing.assert_allclose(variable, reference.value, atol=3e-6, err_msg=name)


def test_kernels_of_one_shape_are_updated_as_if_alone():
    shapes = [(3, 3, 8, 16), (1, 1, 72, 16), (1, 1, 24, 24), (3, 3, 8, 16), (16,)]
    together, variables = make(shapes)
    alone, others = make(shapes)
    rng = np.random.default_rng(2)
    for _ in range(3):
        gradients = [tf.constant(rng.normal(size=s), tf.float32) for s in shapes]
        optimizers.update(together, gradients, variables)
        for gradient, variable in zip(gradients, others):
            alone.update_step(gradient, variable)
        alone.iterations.assign_add(1)
    for variable, other in zip(variables, others):
        np.testing.assert_allclose(variable, other, atol=1e-6)


def test_a_muon_step_is_as_long_as_an_adam_step():
    """Root mean square of the update over the learning rate: about 0.2 to 1 for both."""
    optimizer, variables = make([(3, 3, 48, 48)])
    before = variables[0].numpy()
    gradient = np.random.default_rng(3).normal(size=before.shape).astype(np.float32)
    optimizers.update(optimizer, [tf.constant(gradient)], variables)
    assert optimizer.iterations == 1
    length = np.sqrt(np.mean((variables[0].numpy() - before) ** 2)) / 1e-2
    assert 0.15 < length < 0.25


def test_slots_have_a_fixed_order_and_the_configuration_survives():
    optimizer, variables = make(SHAPES.values(), largest_matrix=16, momentum=0.9)
    slots = [v.shape.as_list() for v in optimizer.variables[1:]]  # after the count of steps
    tall, wide, square, thin, matrix, bias = (list(s) for s in SHAPES.values())
    expected = [tall, wide, square, square, thin, thin, matrix, matrix, bias, bias]
    assert slots == expected
    again = optimizers.Muon.from_config(optimizer.get_config())
    assert again.get_config() == optimizer.get_config()
    assert (again.largest_matrix, again.momentum) == (16, 0.9)


@pytest.mark.parametrize("size", [1e-8, 1e-15, 1e-20, 1e-25, 1e-38, 0.0])
def test_fading_momentum_never_diverges(size):
    """Behind dead units the momentum fades to denormals: no update may grow out of that."""
    rng = np.random.default_rng(0)
    faded = tf.constant(size * rng.normal(size=(48, 24)), tf.float32)
    for dtype in (tf.float32, tf.bfloat16):
        update = optimizers.orthogonalize(faded, dtype).numpy()
        assert np.abs(update).max() < 1.5
        if size <= 1e-20:
            assert np.abs(update).max() < 1e-3
