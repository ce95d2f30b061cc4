"""Flags of empty channels: what is counted, which row is taken, and that streams still round-trip."""

import copy

import numpy as np
import pytest
import tensorflow as tf

from gllmm_tf import model_file
from gllmm_tf.codec import Codec
from gllmm_tf.coding import empty_channels, tables
from gllmm_tf.coding.fixed_point import FixedPointNetworks
from gllmm_tf.config import ModelConfig
from gllmm_tf.model import build

CHANNELS, QUALITIES = 8, 8


def probability_of(rows):
    return tables.load()["frequency"][rows] / 2**tables.FREQUENCY_BITS


def drawn_rows(seed=2):
    rng = np.random.default_rng(seed)
    shape = (QUALITIES, empty_channels.SIZES, CHANNELS)
    return rng.integers(0, len(tables.load()["frequency"]), shape).astype(np.uint16)


@pytest.fixture(scope="module")
def codec_with_rows(tiny_model_path):
    """The tiny model with a table, and the table."""
    stored = model_file.ModelFile.read(tiny_model_path)
    stored.exact[empty_channels.NAME] = drawn_rows()
    return Codec(stored), drawn_rows()


@pytest.mark.parametrize(
    "positions, wanted",
    [(16, 0), (31, 0), (32, 1), (63, 1), (64, 2), (1536, 6), (2**15 - 1, 10), (2**15, 11)],
)
def test_size_class(positions, wanted):
    assert int(empty_channels.size_class(tf.constant(positions))) == wanted
    assert int(empty_channels.size_class(tf.constant(2**24))) == empty_channels.SIZES - 1


def test_rows_by_quality_and_size(codec_with_rows):
    codec, rows = codec_with_rows
    for index, quality in ((0, 0), (7, 0), (8, 1), (24, 2), (112, 7)):
        taken = codec.networks.flag_rows(tf.constant(index), tf.constant(48)).numpy()
        np.testing.assert_array_equal(taken, rows[quality, 1])


def test_without_a_table_one_in_eight_is_expected_empty(tiny_codec):
    rows = tiny_codec.networks.flag_rows(tf.constant(40), tf.constant(999)).numpy()
    np.testing.assert_allclose(probability_of(rows), 0.125, rtol=0.01)


@pytest.mark.parametrize("shape", [(4, 4), (8, 12)])
def test_streams_round_trip_with_a_table(codec_with_rows, shape):
    codec, _ = codec_with_rows
    rng = np.random.default_rng(4)
    y_hat = np.round(rng.laplace(size=(*shape, CHANNELS)) * 3)
    y_hat[..., [0, 3, 7]] = 0
    z_hat = np.round(rng.normal(size=(shape[0] // 4, shape[1] // 4, CHANNELS)))
    for index in (0, 55, 112):
        z_string, y_string = codec._encode(y_hat, z_hat, index)
        z_back = codec._decode_z(z_string, [shape[0] // 4, shape[1] // 4])
        y_back, sane = codec._decode_y(z_back, y_string, index)
        np.testing.assert_array_equal(y_back, y_hat)
        assert sane


def test_flags_cost_what_the_table_says(tiny_model_path):
    stored = model_file.ModelFile.read(tiny_model_path)
    sizes = []
    for probability in (empty_channels.LEAST, 0.25, empty_channels.MOST):
        rows = empty_channels.row_of(np.full((1, empty_channels.SIZES, CHANNELS), probability))
        stored.exact[empty_channels.NAME] = rows.astype(np.uint16)
        zeros = np.zeros((4, 4, CHANNELS)), np.zeros((1, 1, CHANNELS))
        sizes.append(len(Codec(stored)._encode(*zeros, 0)[1].numpy()))
    np.testing.assert_allclose(sizes, [CHANNELS * 6 / 8, CHANNELS * 2 / 8, 0], atol=1)  # bytes


def test_the_table_is_part_of_the_identity_and_of_the_file(tiny_model_path, tmp_path):
    stored = model_file.ModelFile.read(tiny_model_path)
    other = copy.deepcopy(stored)
    other.exact[empty_channels.NAME] = drawn_rows()
    assert other.identity != stored.identity
    other.save(tmp_path / "other.npz")
    again = model_file.ModelFile.read(tmp_path / "other.npz")
    np.testing.assert_array_equal(again.exact[empty_channels.NAME], drawn_rows())
    assert again.identity == other.identity


def model_and_pictures():
    tf.keras.utils.set_random_seed(3)
    model = build(ModelConfig(num_filters=8, entropy_widths=(8, 8), lambdas=(0.001, 0.1)))
    rng = np.random.default_rng(8)
    contrast = np.geomspace(0.1, 1, 20)[:, None, None, None]
    coarse = (contrast * rng.integers(0, 256, (20, 5, 4, 3))).astype(np.uint8)
    return model, list(coarse.repeat(28, 1).repeat(35, 2))  # [140, 140, 3] each


def test_counts_are_those_of_the_channels_that_a_picture_leaves_empty():
    model, pictures = model_and_pictures()
    rows = empty_channels.fit(model, [*pictures, np.zeros((63, 300, 3), np.uint8)])
    assert rows.shape == (2, empty_channels.SIZES, 8) and rows.dtype == np.uint16
    # 140 pixels: the middle 128 x 128, 8 x 8 positions, the whole of which is class 2.
    x = np.stack([p[6:134, 6:134] for p in pictures]) / np.float32(255)
    y = model.g_a(x).numpy()
    seen = set()
    for i, gain in enumerate(model.gains(tf.constant([1.0, 2.0]))[0].numpy()[:, 0, 0]):
        used = np.round(y * gain) != 0
        counts = np.sum(~used.any((1, 2)), 0)
        quarters = used.reshape(20, 2, 4, 2, 4, 8).any((2, 4))
        for size, count, total in ((2, counts, 20), (0, np.sum(~quarters, (0, 1, 2)), 80)):
            wanted = (count + 0.5) / (total + 1)
            wanted = np.clip(wanted, empty_channels.LEAST, empty_channels.MOST)
            np.testing.assert_allclose(probability_of(rows[i, size]), wanted, rtol=0.01)
            seen.update(count.tolist())
        np.testing.assert_array_equal(rows[i, 3:], np.repeat(rows[i, 2:3], 9, 0))
    assert len(seen) > 3  # some channels are empty in some pictures


def test_too_few_pictures_give_no_table():
    model, pictures = model_and_pictures()
    assert empty_channels.fit(model, pictures[:1]) is None
    assert empty_channels.fit(model, [np.zeros((63, 64, 3), np.uint8)] * 20) is None


def test_a_fixed_rate_model_has_one_row_of_qualities():
    model = build(ModelConfig(num_filters=8, entropy_widths=(8, 8)))
    rows = empty_channels.fit(model, model_and_pictures()[1])
    assert rows.shape == (1, empty_channels.SIZES, 8)
    exact = model_file.ModelFile.from_model(model, {}, rows).exact
    networks = FixedPointNetworks(exact, 8, model.config.num_groups)
    taken = networks.flag_rows(tf.constant(0), tf.constant(64)).numpy()
    np.testing.assert_array_equal(taken, rows[0, 2])
