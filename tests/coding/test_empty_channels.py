"""Flags of empty channels: what is counted, which row is taken, and that streams still round-trip."""

import copy

import integer_reference
import numpy as np
import pytest
import tensorflow as tf
from integer_reference import flags_in_bytes

from gllmm_tf.codec.tensorflow_codec import TensorFlowCodec
from gllmm_tf.coding import empty_channels, symbols, tables
from gllmm_tf.coding.fixed_point import FixedPointNetworks
from gllmm_tf.coding.latent_coder import LatentCoder
from gllmm_tf.config import ModelConfig
from gllmm_tf.model.compression import build
from gllmm_tf.zoo import model_file

CHANNELS, QUALITIES = 8, 8
FREQUENCY = tables.load()["frequency"]


def probability_of(rows):
    return FREQUENCY[rows] / 2**tables.FREQUENCY_BITS


def drawn_rows(seed=2):
    rng = np.random.default_rng(seed)
    shape = (QUALITIES, empty_channels.SIZES, CHANNELS)
    return rng.integers(0, len(FREQUENCY), shape).astype(np.uint16)


@pytest.fixture(scope="module")
def codec_with_rows(tiny_model_path):
    """The tiny model with a table, and the table."""
    stored = model_file.ModelFile.read(tiny_model_path)
    stored.exact[empty_channels.NAME] = drawn_rows()
    return TensorFlowCodec(stored), drawn_rows()


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
        taken, move = codec.coder.networks.flag_rows(tf.constant(index), tf.constant(48))
        np.testing.assert_array_equal(taken.numpy(), rows[quality, 1])
        assert move


def test_without_a_table_one_in_eight_is_expected_empty(tiny_tensorflow_codec):
    rows, move = tiny_tensorflow_codec.coder.networks.flag_rows(tf.constant(40), tf.constant(999))
    np.testing.assert_allclose(probability_of(rows.numpy()), 0.125, rtol=0.01)
    assert not move


@pytest.mark.parametrize("shape", [(4, 4), (8, 12)])
def test_streams_round_trip_with_a_table(codec_with_rows, shape):
    codec, _ = codec_with_rows
    rng = np.random.default_rng(4)
    y_hat = np.round(rng.laplace(size=(*shape, CHANNELS)) * 3)
    y_hat[..., [0, 3, 7]] = 0
    z_hat = np.round(rng.normal(size=(shape[0] // 4, shape[1] // 4, CHANNELS)))
    for index in (0, 55, 112):
        streams = codec.coder.encode(y_hat, z_hat, index)
        back = codec.coder.decode(streams, z_hat.shape[:2], index)
        np.testing.assert_array_equal(back.y_hat, y_hat)


def test_flags_cost_what_the_table_says(tiny_model_path):
    stored = model_file.ModelFile.read(tiny_model_path)
    sizes = []
    for probability in (1e-4, 0.25, 1 - 1e-4):
        rows = empty_channels.row_of(np.full((1, empty_channels.SIZES, CHANNELS), probability))
        stored.exact[empty_channels.NAME] = rows.astype(np.uint16)
        zeros = np.zeros((4, 4, CHANNELS)), np.zeros((1, 1, CHANNELS))
        sizes.append(len(LatentCoder(stored).encode(*zeros, 0).y))
        cost = flags_in_bytes(rows[0, 0], np.ones(CHANNELS, bool), FREQUENCY)
        np.testing.assert_allclose(sizes[-1], cost, atol=2)  # zeros at the end are cut
    assert sizes[0] > sizes[1] >= sizes[2]


class Recorder:
    """A coder that keeps rows and bits."""

    def __init__(self):
        self.rows = []

    def code_flag(self, handle, row, bit):
        tf.py_function(lambda r: self.rows.append(int(r)), [row], [])
        return handle, bit


def test_flags_move_the_rows_of_what_follows():
    rng = np.random.default_rng(7)
    rows = rng.integers(0, len(FREQUENCY), 300).astype(np.int32)
    flags = (rng.random(300) < np.repeat([0.1, 0.9, 0.5], 100)).astype(np.int32)
    coder = Recorder()
    _, told = symbols.code_flags(coder, 0, tf.constant(flags), tf.constant(rows), True)
    np.testing.assert_array_equal(told.numpy(), flags)
    wanted = integer_reference.flag_rows(rows, flags == 0, FREQUENCY)
    assert coder.rows == wanted
    assert min(wanted) == 512 and max(wanted) == 2041 and len(set(wanted)) > 100

    still = Recorder()
    symbols.code_flags(still, 0, tf.constant(flags), tf.constant(rows), False)
    assert still.rows == rows.tolist()


def test_flags_of_two_kinds_of_pictures_cost_little_more_than_if_the_kind_were_known():
    """Channels are empty nine times in ten in one kind of picture, once in ten in the other."""
    rng = np.random.default_rng(1)
    rows = np.full(144, empty_channels.row_of(0.5))
    known = 144 / 8 * -(0.9 * np.log2(0.9) + 0.1 * np.log2(0.1))
    for chance in (0.9, 0.1):
        pictures = rng.random((20, 144)) < chance
        costs = [flags_in_bytes(rows, empty, FREQUENCY) for empty in pictures]
        assert 0.9 * known < np.mean(costs) < 1.25 * known < 0.7 * 144 / 8


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
    taken, _ = networks.flag_rows(tf.constant(0), tf.constant(64))
    np.testing.assert_array_equal(taken.numpy(), rows[0, 2])
