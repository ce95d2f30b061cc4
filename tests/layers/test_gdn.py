"""GDN against its formula, the gradient of its bounds, and tensorflow-compression's own class."""

import numpy as np
import pytest
import tensorflow as tf

from gllmm_tf.layers import GDN
from gllmm_tf.layers.gdn import OFFSET, NonNegative, lower_bound

C = 4
KEYS = [f"layer/_{name}_parameter/variable" for name in ("beta", "gamma")]


def moved(layer, seed=0):
    """The layer, built, with random parameters, some of them below their bounds."""
    layer.build([None, None, None, C])
    rng = np.random.default_rng(seed)
    for variable in layer.weights:
        variable.assign(variable + rng.normal(size=variable.shape) * 0.3)
    assert any(np.min(v) < 0 for v in layer.get_weights())
    return layer


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("shape", [(3, C), (2, 5, C), (2, 1, 3, C)])
def test_formula(inverse, shape):
    layer = moved(GDN(inverse))
    x = np.random.default_rng(1).normal(size=(2, *shape)).astype(np.float32)
    stored = [v.astype(np.float64) for v in layer.get_weights()]
    bounds = [np.sqrt(minimum + OFFSET**2) for minimum in (1e-6, 0)]
    beta, gamma = (np.maximum(v, b) ** 2 - OFFSET**2 for v, b in zip(stored, bounds))
    norm = np.sqrt(beta + np.square(x.astype(np.float64)) @ gamma)
    np.testing.assert_allclose(layer(x), x * norm if inverse else x / norm, rtol=2e-5)


def test_starts_near_the_identity():
    layer = GDN()
    layer.build([None, C])
    np.testing.assert_array_equal(layer.beta, np.ones(C))
    np.testing.assert_allclose(layer.gamma, 0.1 * np.eye(C), atol=1e-8)


def test_gradient_passes_below_the_bound_towards_it_alone():
    x = tf.constant([-1.0, -1.0, 0.5, 2.0, 2.0])
    upstream = tf.constant([3.0, -3.0, 1.0, -4.0, 4.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = lower_bound(x, tf.constant(0.5))
    np.testing.assert_array_equal(y, [0.5, 0.5, 0.5, 2, 2])
    np.testing.assert_array_equal(tape.gradient(y, x, upstream), [0, -3, 1, -4, 4])


def test_a_parameter_at_its_minimum_can_leave_it():
    parameter = NonNegative(tf.zeros([2]), "gamma")
    np.testing.assert_array_equal(parameter(tf.float32), [0, 0])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(parameter(tf.float32) * tf.constant([1.0, -1.0]))
    gradient = tape.gradient(loss, parameter.variable)
    assert gradient[0] > 0 > gradient[1]


def test_names_in_checkpoints(tmp_path):
    layer = moved(GDN())
    path = tf.train.Checkpoint(layer=layer).write(str(tmp_path / "checkpoint"))
    reader = tf.train.load_checkpoint(path)
    for key, variable in zip(KEYS, layer.weights, strict=True):
        np.testing.assert_array_equal(
            reader.get_tensor(f"{key}/.ATTRIBUTES/VARIABLE_VALUE"), variable
        )
    assert [v.name for v in layer.weights] == ["reparam_beta:0", "reparam_gamma:0"]


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_agrees_with_tensorflow_compression(inverse, policy, tmp_path):
    tfc = pytest.importorskip("tensorflow_compression")
    theirs = tfc.GDN(inverse, alpha_parameter=2, epsilon_parameter=0.5, dtype=policy)
    ours = GDN(inverse, dtype=policy)
    for layer in (theirs, ours):
        layer.build([None, None, None, C])
    for mine, other in zip(ours.weights, theirs.weights, strict=True):
        assert mine.name == other.name
        np.testing.assert_array_equal(mine, other)  # where training starts

    tf.train.Checkpoint(layer=moved(theirs)).write(str(tmp_path / "checkpoint"))
    saved = tf.train.Checkpoint(layer=ours).read(str(tmp_path / "checkpoint"))
    saved.assert_existing_objects_matched()

    x = tf.constant(np.random.default_rng(2).normal(size=(2, 6, 5, C)), ours.compute_dtype)
    results = []
    for layer in (ours, theirs):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            loss = tf.reduce_sum(tf.square(tf.cast(y, tf.float32) - 0.3))
        results.append([y, *tape.gradient(loss, [x, *layer.trainable_variables])])
    tolerance = 2e-2 if policy == "mixed_bfloat16" else 2e-5
    for mine, other in zip(*results):
        mine, other = (tf.cast(t, tf.float32).numpy() for t in (mine, other))
        np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance * abs(other).max())
