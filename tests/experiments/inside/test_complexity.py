"""Counting parameters and multiply-accumulates, against counts by hand."""

import pytest
import tensorflow as tf

from experiments.common import doc_tables, places
from experiments.inside import complexity
from gllmm_tf import layers
from gllmm_tf.config import ModelConfig
from gllmm_tf.zoo import registry


def built(layer, shape):
    layer(tf.zeros(shape))
    return layer


@pytest.mark.parametrize(
    "layer, shape, macs",
    [
        (layers.Conv2D(6, 3), (1, 8, 4, 5), 8 * 4 * 9 * 5 * 6),
        (layers.Conv2D(6, 3, strides=2), (2, 8, 4, 5), 2 * 4 * 2 * 9 * 5 * 6),
        (layers.SubPixelConv2D(6, 1), (1, 8, 4, 5), 8 * 4 * 5 * 24),
        (layers.TransposedConv2D(6), (1, 8, 4, 5), 8 * 4 * 9 * 5 * 6),
        (layers.GDN(), (1, 8, 4, 5), 8 * 4 * 25),
        (layers.ResidualBlock(5), (1, 8, 4, 5), 2 * 8 * 4 * 9 * 25),
    ],
)
def test_layers_count_as_by_hand(layer, shape, macs):
    assert complexity.count_macs(built(layer, shape), shape) == macs


def test_what_is_not_counted_is_refused():
    with pytest.raises(ValueError, match="MatMul is not counted"):
        complexity.count_macs(lambda x: tf.matmul(x, x), (4, 4))


@pytest.fixture(scope="module")
def small():
    config = ModelConfig(num_filters=8, entropy_widths=(12, 20), families=("gaussian",))
    return complexity.complexity_of(config)


def test_entropy_network_counts_used_taps_only(small):
    n, groups = 8, 9
    matrices = 12 * n * 2 * n + 4 * n * 12 + 12 * 20 + 20 * groups * n
    biases = 2 * n + 12 + 20  # the last layer has none
    assert small.parameters["entropy"] == matrices + biases
    assert small.macs["entropy"] == matrices / 256  # per pixel


def test_sums(small):
    macs = small.macs
    assert small.encoder == pytest.approx(macs["g_a"] + macs["h_a"] + macs["h_s"] + macs["entropy"])
    assert small.decoder == pytest.approx(macs["g_s"] + macs["h_s"] + macs["entropy"])
    table = complexity.format_counts({"small": small})
    assert f"| small | {sum(small.parameters.values()) / 1e6:.1f} M |" in table


def test_h_a_by_hand(small):
    n = 8
    positions = 1 / 256 * (1 + 1 + 1 / 4 + 1 / 4 + 1 / 16)  # of five 3x3 layers, per pixel
    assert small.macs["h_a"] == pytest.approx(9 * n * n * positions)
    assert small.parameters["h_a"] == 5 * (9 * n * n + n)


@pytest.mark.parametrize("name", registry.shipped_names())
def test_published_table_has_every_model(name):
    table = doc_tables.extract(f"{places.DOCS}/figures.md", "complexity")
    assert f"| `{name}` |" in table, "out of date: python -m experiments.inside.complexity"


def test_stages_of_the_codec_are_timed(tiny_codec, sample_pixels):
    seconds = complexity.stage_seconds(tiny_codec, sample_pixels, repeats=1)
    assert {"encoding: analysis", "decoding: synthesis"} <= set(seconds)
    assert all(s >= 0 for s in seconds.values()) and seconds["decoding: synthesis"] > 0
    table = complexity.format_seconds({"tiny": dict.fromkeys(seconds, 1.25)}, (96, 144), 1)
    assert "144 x 96 pixels" in table and "| `tiny` | 1.25 |" in table
