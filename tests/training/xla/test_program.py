"""The step as a program: what it takes, what it needs, what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from training.xla.exported_runs import (
    FIRST,
    OUTSIDE,
    manifest_of,
    program_of,
)

from gllmm_tf.training.meter import METRICS
from gllmm_tf.training.xla import program
from gllmm_tf.training.xla.runner import checkpoints


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_program_takes_the_arguments_and_every_variable_of_the_step(exported, precision):
    step = program_of(exported, precision)
    variables = program.variables_of(exported.learner)
    assert set(variables) >= OUTSIDE
    assert step.parameters[:4] == list(program.ARGUMENTS)
    assert sorted(step.parameters[4:]) == sorted(set(variables) - OUTSIDE)
    assert all(step.is_used(name) for name in program.ARGUMENTS)
    assert step.results[0] == "metrics"
    assert sorted(step.results[1:]) == sorted(step.parameters[4:])  # all are assigned
    shape = step.module.host_program_shape
    for name, parameter in zip(step.parameters[4:], shape.parameters[4:]):
        assert list(parameter.dimensions) == variables[name].shape.as_list(), name
    assert list(shape.parameters[0].dimensions) == [2, 64, 64, 3]
    assert list(shape.result.tuple_shapes[0].dimensions) == [len(METRICS)]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_program_needs_no_tensorflow(exported, precision):
    codes = program_of(exported, precision).opcodes()
    assert codes["convolution"] > 100
    assert codes["rng-bit-generator"] == 2 * 2  # y and z, each in a computation and its caller
    assert codes["conditional"] == 1  # the skip of a step that is not finite
    assert not {"custom-call", "rng", "infeed", "outfeed", "fft"} & set(codes)


def test_parameter_count(exported):
    shapes = manifest_of(exported)["variables"]
    count = {"model": 0, "average": 0}
    for name, entry in shapes.items():
        part = name.split("/")[0]
        if part in count:
            count[part] += int(np.prod(entry["shape"]))
    expected = sum(int(np.prod(v.shape)) for v in exported.learner.model.trainable_variables)
    assert count == {"model": expected, "average": expected}


def test_initial_state_is_that_of_the_latest_checkpoint(exported):
    facts, state = checkpoints.read(f"{exported.step}/initial")
    assert (facts["step"], facts["seconds"], facts["skipped"]) == (FIRST, 12.5, 0)
    variables = program.variables_of(exported.learner)
    assert sorted(state) == sorted(set(variables) - OUTSIDE)
    for name, value in state.items():
        np.testing.assert_array_equal(value, variables[name].numpy(), name)


class Steps(tf.train.Checkpoint):
    """What `compile_step` needs of a learner, around one function."""

    def __init__(self, function, **tracked):
        super().__init__(**tracked)
        self.checkpoint = self
        self.config = SimpleNamespace(lambdas=(1, 2))
        signature = [
            tf.TensorSpec((2,), tf.uint8),
            tf.TensorSpec((2,), tf.float32),
            tf.TensorSpec((2,), tf.int32),
            tf.TensorSpec((), tf.float32),
        ]
        self.train_step = tf.function(function, signature, autograph=False)


def test_compile_step_refuses_what_cannot_leave():
    kept, lost = tf.Variable(1.0), tf.Variable(2.0)

    def good(crops, quality, seed, rate):
        kept.assign_add(rate * tf.reduce_sum(tf.cast(crops, tf.float32) * quality))
        return tf.cast(tf.reduce_sum(seed), tf.float32)[None]

    step = program.compile_step(Steps(good, kept=kept))
    assert step.parameters == [*program.ARGUMENTS, "kept"]
    assert step.results == ["metrics", "kept"]

    def without_seed(crops, quality, seed, rate):
        return good(crops, quality, tf.zeros_like(seed), rate)

    with pytest.raises(RuntimeError, match="does not depend on its argument 'seed'"):
        program.compile_step(Steps(without_seed, kept=kept))

    def with_another_variable(crops, quality, seed, rate):
        return good(crops, quality, seed, rate) + lost

    with pytest.raises(RuntimeError, match="which no checkpoint holds"):
        program.compile_step(Steps(with_another_variable, kept=kept))

    def two_results(crops, quality, seed, rate):
        return good(crops, quality, seed, rate), rate

    with pytest.raises(RuntimeError, match="2 results of the step are no variables"):
        program.compile_step(Steps(two_results, kept=kept))

    def stateful_noise(crops, quality, seed, rate):
        return good(crops, quality, seed, rate) + tf.random.uniform((1,))

    with pytest.raises(RuntimeError, match="which do not travel"):
        program.compile_step(Steps(stateful_noise, kept=kept))
