"""Layers are read in the order of model files, and files that do not fit are refused."""

import numpy as np
import pytest
from portable import random_models

from gllmm_tf.codec.tiling import inputs_per_output
from gllmm_tf.errors import ModelError
from gllmm_tf.portable import tiling, transforms

PARTS = {
    "g_a": (transforms.analysis, 16),
    "g_s": (transforms.synthesis, 1 / 16),
    "h_a": (transforms.hyper_analysis, 4),
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", list(random_models.CONFIGS))
def test_strides_and_channels(part, name):
    model = random_models.model_file(name)
    make, stride = PARTS[part]
    path = make(model.config, model.weights[part])
    n = model.config.num_filters
    assert inputs_per_output(path) == stride
    behind = {"g_a": n, "g_s": 3, "h_a": model.config.z_filters}[part]
    assert tiling.channels(path, 3 if part == "g_a" else n) == behind


@pytest.mark.parametrize("part", PARTS)
def test_weights_that_do_not_fit(part):
    model = random_models.model_file("widths")
    make, _ = PARTS[part]
    weights = model.weights[part]
    wrong = [weights[:-1], [*weights, weights[0]], weights[1:]]
    wrong.append([*weights[:-1], np.append(weights[-1], 0)])
    for arrays in wrong:
        with pytest.raises(ModelError, match=f"weights of {part} do not fit"):
            make(model.config, arrays)


def test_gdn_parameters_are_positive():
    """Stored values below the bound count as the bound, whose square is the smallest value."""
    model = random_models.model_file("variable")
    path = transforms.analysis(model.config, model.weights["g_a"])
    gdn = path[0].path[-1]
    stored = model.weights["g_a"][5]
    assert stored.min() < 0 and gdn.gamma.min() == 0
    assert gdn.beta.min() >= 0.99e-6
    np.testing.assert_allclose(gdn.gamma[stored > 0.01], stored[stored > 0.01] ** 2, rtol=1e-3)
