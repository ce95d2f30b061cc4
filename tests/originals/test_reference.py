"""Our networks against the golden vectors of the published ones."""

import os

import numpy as np
import pytest
from conftest import DATA

from experiments.inside import check_reference
from gllmm_tf import config
from gllmm_tf.errors import ModelError
from gllmm_tf.model.compression import build
from gllmm_tf.originals.names import load_original, original_variables


@pytest.mark.parametrize("name", ["gllmm_n16", "cheng_n16"])
def test_golden_vectors(name):
    errors = check_reference.relative_errors(os.path.join(DATA, "reference", name))
    assert {"y", "z", "phi", "means", "scales", "probs0", "x_hat"} <= set(errors)
    for tensor, error in errors.items():
        assert error <= check_reference.TOLERANCE.get(tensor, 1e-5), tensor


@pytest.mark.parametrize("make", [config.gllmm, config.cheng2020])
def test_every_weight_has_an_original_name(make):
    model = build(make(8))
    named = sum(int(np.prod(entry.variable.shape)) for entry in original_variables(model).values())
    prior = sum(int(np.prod(v.shape)) for v in model.z_bottleneck.variables)
    assert named + prior == model.count_params()


def test_import_names_what_does_not_fit():
    model = build(config.cheng2020(8))
    arrays = {
        name: np.zeros(entry.variable.shape) for name, entry in original_variables(model).items()
    }
    arrays["surprise"] = arrays.pop("hyper_analysis/layer_0/bias")
    arrays["hyper_analysis/layer_1/bias"] = np.zeros(9)
    with pytest.raises(ModelError) as error:
        load_original(model, arrays)
    for part in ("missing hyper_analysis/layer_0/bias", "unknown surprise", "(9,), wanted (8,)"):
        assert part in str(error.value)


def test_ablations_without_an_original_have_no_names():
    with pytest.raises(ModelError, match="3 stages"):
        original_variables(build(config.gllmm(8, stages=3)))
