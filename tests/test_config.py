"""Configurations: what is refused, and the text that a model file holds."""

import pytest

from gllmm_tf import config
from gllmm_tf.errors import ModelError

LAMBDAS = (0.002, 0.01, 0.05)


def small(**fields):
    return config.gllmm(8, **{"entropy_widths": (16, 24), **fields})


@pytest.mark.parametrize(
    "fields, words",
    [
        (dict(system="x"), "system"),
        (dict(num_filters=7), "num_filters"),
        (dict(families=("logistic", "gaussian")), "families"),
        (dict(families=()), "families"),
        (dict(components=0), "components"),
        (dict(stages=0), "stages"),
        (dict(lambdas=(0.1,)), "lambdas"),
        (dict(lambdas=(0.2, 0.1)), "lambdas"),
        (dict(metric="psnr"), "metric"),
        (dict(trunk_widths=(4, 6)), "trunk_widths"),
        (dict(trunk_widths=(4, 6, 7)), "trunk_widths"),
        (dict(hyper_filters=5), "hyper_filters"),
        (dict(num_filters=8, deep_filters=8), "deep_filters"),
        (dict(deep_filters=3), "deep_filters"),
        (dict(first_quality=0), "first_quality"),
        (dict(first_quality=2.5), "first_quality"),
        (dict(base="cbd305495f79a42"), "base"),
        (dict(base=7), "base"),
        (dict(base_index=-1), "base_index"),
    ],
)
def test_bad_configurations_name_the_field(fields, words):
    with pytest.raises(ModelError, match=words):
        config.ModelConfig(**fields)


def test_config_json_round_trip():
    wanted = small(lambdas=LAMBDAS, families=("gaussian", "logistic"))
    assert config.ModelConfig.from_json(wanted.to_json()) == wanted
    wide = small(trunk_widths=(4, 6, 8))
    assert config.ModelConfig.from_json(wide.to_json()) == wide
    apart = small(hyper_filters=4, deep_filters=6, first_quality=3, lambdas=LAMBDAS)
    assert config.ModelConfig.from_json(apart.to_json()) == apart and apart.z_filters == 4
    layer = small(base="cbd305495f79a420", base_index=96, lambdas=LAMBDAS)
    assert config.ModelConfig.from_json(layer.to_json()) == layer
    # The text, and so the identity of a model, is what it was before there were these.
    later = {"trunk_widths", "hyper_filters", "deep_filters", "first_quality", "base", "base_index"}
    assert later == set(config.LATER_FIELDS) and not any(f in wanted.to_json() for f in later)
    assert config.gllmm().num_groups == 30 and config.cheng2020().num_groups == 9
    with pytest.raises(ModelError, match="cannot be read"):
        config.ModelConfig.from_json('{"colour": 3}')


def test_default_quality_is_one_that_the_model_has():
    assert small().default_quality is None
    assert small(lambdas=LAMBDAS).default_quality == 3.0
    assert small(lambdas=LAMBDAS, first_quality=3).default_quality == 4.0
    assert small(lambdas=LAMBDAS, first_quality=6).default_quality == 6.0
    assert small(lambdas=(0.1, 0.2, 0.3, 0.4, 0.5)).default_quality == config.DEFAULT_QUALITY == 4.0


def test_quality_indices_count_from_the_first_quality():
    for first in (1, 6):
        model = small(lambdas=LAMBDAS, first_quality=first)
        assert model.qualities == range(first, first + 3) and model.num_qualities == 3
        for index in (0, 1, 17, 32):
            assert model.quality_of(index) == first + index / 16
            assert model.index_of(model.quality_of(index) + 0.03) == index
    assert not small().qualities and small().quality_of(0) is None
