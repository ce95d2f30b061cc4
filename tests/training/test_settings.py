"""Settings: groups and flat names, types, the schedule, refusals of one line."""

import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from training.tiny_runs import tiny

from gllmm_tf import config as config_lib
from gllmm_tf import errors
from gllmm_tf.training.settings import FIELDS, Settings


def test_learning_rate_schedule():
    settings = tiny(steps=1000, warmup=10, flat=0.2, learning_rate=1e-3)
    rates = np.array([settings.learning_rate_at(step) for step in range(1000)])
    np.testing.assert_allclose(rates[:10], 1e-4 * np.arange(1, 11))
    np.testing.assert_allclose(rates[9:201], 1e-3)
    progress = (np.arange(200, 1000) - 200) / 800
    np.testing.assert_allclose(rates[200:], 5e-4 * (1 + np.cos(np.pi * progress)))
    constant = tiny(steps=1000, warmup=0, flat=1.0, learning_rate=1e-4)
    assert {constant.learning_rate_at(step) for step in range(1000)} == {1e-4}


def test_published_values_fill_what_is_empty():
    empty = dict(families=(), stages=0, entropy_widths=())
    assert tiny(**empty).model.config() == config_lib.gllmm(8, components=1)
    cheng = tiny(system="cheng2020", **empty).model.config()
    assert cheng == config_lib.cheng2020(8, components=1)
    assert tiny(system="cheng2020", **{**empty, "stages": 3}).model.stages == 3


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(patch=100), "patch=100 cannot be used; give a positive multiple of 64"),
        (dict(metric="ms-ssim"), "at least 176 pixels a side, patch is 64; take a larger one"),
        (dict(metric="ms-ssim", patch=192), "176 pixels a side, validation_size is 64"),
        (dict(metric="ssim"), "metric='ssim' cannot be used; choose one of mse, ms-ssim"),
        (dict(lambdas="0.01,x"), "lambdas='0.01,x' cannot be used; give numbers with commas"),
        (dict(lambdas=(-1.0,)), "lambdas=(-1.0,) cannot be used; give positive numbers"),
        (dict(lambdas=()), "lambdas=() cannot be used; give positive numbers"),
        (dict(lambdas=(0.03, 0.01)), "lambdas is (0.03, 0.01), it must be"),
        (dict(lambdas=0.01), "lambdas=0.01 cannot be used; give a list of float"),
        (dict(families=("gaussian", 3)), "families=3 cannot be used; it must be of type str"),
        (dict(steps="6"), "steps='6' cannot be used; it must be of type int"),
        (dict(system="jpeg"), "system='jpeg' cannot be used; choose one of gllmm, cheng2020"),
        (dict(families=("cauchy",)), "families is ('cauchy',), it must be"),
        (dict(num_filters=7), "num_filters is 7, it must be an even whole number"),
        (dict(entropy_widths=(8,)), "entropy_widths is (8,), it must be two widths"),
        (dict(optimizer="sgd"), "optimizer='sgd' cannot be used; choose one of muon, adam"),
        (dict(precision="float16"), "choose one of float32, bfloat16"),
        (dict(rounding="up"), "rounding='up' cannot be used; choose one of ste, noise"),
        (dict(ema=1.0), "ema=1.0 cannot be used; give a decay from 0 to below 1"),
        (dict(flat=1.5), "flat=1.5 cannot be used; give a fraction from 0 to 1"),
        (dict(learning_rate=0.0), "learning_rate=0.0 cannot be used; give a positive number"),
        (dict(seed=-1), "seed=-1 cannot be used; give a number from 0 to 2^31 - 1"),
        (dict(steps=0), "steps=0 cannot be used; give 1 or more"),
        (dict(strategy="all"), "strategy='all' cannot be used; choose one of one, mirrored"),
        (dict(strategy="mirrored", jit=True), "jit=True cannot be used; leave it out with several"),
        (dict(validation_files=-1), "validation_files=-1 cannot be used; give 0 or more"),
        (dict(colour="red"), "'colour' is no setting"),
    ],
)
def test_bad_settings_are_one_line(changes, message):
    with pytest.raises(errors.GllmmError) as caught:
        tiny(**changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_are_nested_and_flat():
    settings = tiny(lambdas=[0.01, 0.02], seed=3)
    assert settings.model.lambdas == (0.01, 0.02) and settings.run.seed == 3
    flat = settings.flat()
    assert set(flat) == set(FIELDS) and Settings.of(**flat) == settings
    assert Settings.of(**json.loads(json.dumps(flat))) == settings
    assert settings.replace(batch=7).data.batch == 7 and settings.data.batch == 2


def test_settings_and_schedule_need_no_tensorflow():
    code = (
        "import sys; from gllmm_tf.training import flags, folder, meter, settings; "
        "settings.Settings().learning_rate_at(5); assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
