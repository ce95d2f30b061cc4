"""The step: what is not finite is skipped, gradients are bounded, every system learns."""

import numpy as np
import pytest
import tensorflow as tf
from training.tiny_runs import LAMBDAS, TINY, assert_same, batch, state, tiny

from gllmm_tf.training.learner import Learner, WeightAverage
from gllmm_tf.training.settings import Settings


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_step_that_is_not_finite_changes_nothing(learner, value):
    crops, qualities = batch(learner)
    weight = learner.variables[0]
    good = weight.numpy()
    bad = good.copy()
    bad.flat[3] = value
    weight.assign(bad)
    before, skipped = state(learner), int(learner.skipped)
    values = learner.take_step(crops, qualities, 6)
    after = state(learner)
    weight.assign(good)
    assert values["good"] == 0
    assert_same(after[:-3], before[:-3])  # all but the counters
    assert int(learner.skipped) == skipped + 1
    assert int(after[-3]) == int(before[-3]) + 1  # the step has passed
    assert int(after[-1]) == int(before[-1]) + 2 * 64 * 64
    assert any(learner.optimizer.uses_muon(v) for v in learner.variables)
    assert learner.take_step(crops, qualities, 7)["good"] == 1
    assert all(np.all(np.isfinite(v)) for v in state(learner))


def test_clipping_bounds_the_update(learner):
    values = learner.take_step(*batch(learner), 8)
    assert values["gradient_norm"] > 1.0 == learner.settings.optimizer.clip_norm
    adam = [
        (v, first)
        for v, (first, *rest) in zip(learner.variables, learner.optimizer.moments)
        if rest
    ]
    # The first moment of Adam is a mean of gradients, whose norms together are at most 1.
    assert np.sqrt(sum(np.sum(first.numpy() ** 2) for _, first in adam)) <= 1.0


def test_average_follows_the_weights():
    source = tf.Variable([2.0])
    average = WeightAverage([source], 0.9)
    expected = 2.0
    for step, value in enumerate([3.0, -1.0, 5.0, 4.0], 1):
        source.assign([value])
        average.update(tf.constant(step, tf.int64))
        decay = min(0.9, (1 + step) / (10 + step))
        expected += (1 - decay) * (value - expected)
        np.testing.assert_allclose(average.averages[0], [expected], rtol=1e-6)
    with average.applied():
        np.testing.assert_allclose(source, [expected], rtol=1e-6)
    np.testing.assert_array_equal(source, [4.0])


SYSTEMS = {
    "gaussian": dict(families=("gaussian",), components=3),
    "laplacian": dict(families=("laplacian",)),
    "logistic": dict(families=("logistic",)),
    "gaussian and laplacian": dict(families=("gaussian", "laplacian")),
    "gaussian and logistic": dict(families=("gaussian", "logistic"), rounding="noise"),
    "laplacian and logistic": dict(families=("laplacian", "logistic"), lambdas=LAMBDAS),
    "all": dict(families=(), components=3, stages=2, lambdas=LAMBDAS, precision="bfloat16"),
    "cheng2020": dict(system="cheng2020", families=(), components=3, stages=0, optimizer="adam"),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_system_learns(eagerly, name):
    """The loss of one batch falls in a few steps, and is finite in each."""
    learner = Learner(tiny(warmup=0, flat=1.0, ema=0.0, **SYSTEMS[name]))
    if name == "cheng2020":
        assert learner.config.families == ("gaussian",) and learner.config.stages == 1
    crops, qualities = batch(learner)
    rows = [learner.take_step(crops, qualities, step) for step in range(8)]
    assert all(row["good"] and np.isfinite(row["loss"]) for row in rows)
    assert rows[-1]["loss"] < 0.9 * rows[0]["loss"]
    for row in rows:
        assert row["bpp"] == pytest.approx(row["y_bpp"] + row["z_bpp"], rel=1e-5)


def test_ms_ssim_learns(eagerly):
    settings = tiny(metric="ms-ssim", lambdas=(12.0,), patch=192, validation_size=192, ema=0.0)
    learner = Learner(settings)
    crops, qualities = batch(learner, 192)
    rows = [learner.take_step(crops, qualities, step) for step in range(3)]
    assert all(row["good"] and 0 < row["ms_ssim"] < 1 for row in rows)
    assert rows[-1]["loss"] < rows[0]["loss"]
    expected = 12 * (1 - rows[0]["ms_ssim"]) + rows[0]["bpp"]
    assert rows[0]["loss"] == pytest.approx(expected, rel=1e-5)


def test_a_learner_needs_no_pictures_and_no_folder():
    learner = Learner(Settings.of(**TINY))
    assert learner.settings.data.train_glob == () and learner.settings.run.run_dir == ""
    assert learner.start == {"started_from": None, "held_back": None}
