"""Programs that measure speed, as far as no clock decides: their figures and their two sides."""

import types

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from experiments.common.program import ExperimentError
from experiments.speed import entropy_speed, folder_speed, large_images, speed, stages
from gllmm_tf.codec.tensorflow_codec import TensorFlowCodec
from gllmm_tf.zoo.registry import read_model


def test_a_folder_is_compared_with_and_without_its_start():
    row = folder_speed.row_of("compress", [6.0, 6.0, 6.0], 9.0, 5.0)
    assert (row["pictures"], row["loop_per_minute"], row["folder_per_minute"]) == (3, 10, 20)
    assert (row["ratio"], row["net"]) == (2, 0.75)


def test_mosaics_begin_alike(tmp_path, sample_pixels):
    for i in range(2):
        picture = Image.fromarray(np.roll(sample_pixels, 30 * i, 1)).resize((300, 260))
        picture.save(tmp_path / f"{i}.png")
    paths = [f"{tmp_path}/{i}.png" for i in range(2)]
    small, large = (large_images.mosaic(paths, size) for size in (0.36, 1.0))
    assert small.shape == (600, 600, 3) and large.shape == (1000, 1000, 3)
    np.testing.assert_array_equal(small[:, :500], large[:600, :500])
    assert np.all(large.std((0, 1)) > 10)


def test_rates_per_megapixel_are_net_of_the_start():
    rows = [
        {"step": "compress", "megapixels": size, "seconds": seconds}
        for size, seconds in ((1.0, 7.0), (4.0, 15.0))
    ]
    large_images.add_rates(rows, {"compress": 5.0})
    assert [row["s_per_mp"] for row in rows] == [7.0, 3.75]
    assert [row["net_s_per_mp"] for row in rows] == [2.0, 2.5]
    assert [row["ratio"] for row in rows] == [1.0, 1.25]


@pytest.fixture(scope="module")
def setup():
    return entropy_speed.Setup(num_filters=4, seed=2)


def test_both_sides_code_the_same_symbols(setup):
    assert setup.y.shape == (32, 48, 4) and np.abs(setup.y).max() > 0
    assert len(entropy_speed.time_ours(setup, 1)) == 1


def test_the_loops_networks_are_one_function(setup):
    rng = np.random.default_rng(0)
    y = rng.integers(-3, 4, (5, 5, 4)).astype(np.float32)
    phi = rng.normal(size=(5, 5, 8)).astype(np.float32)
    released = entropy_speed.window_network(setup)(y, phi)
    lenient = entropy_speed.position_network(setup)(y, phi)
    assert released.shape == (30, 4)
    np.testing.assert_allclose(released, lenient, rtol=1e-4, atol=1e-5)


def test_the_loops_probabilities_are_one_distribution():
    rng = np.random.default_rng(1)
    p = rng.normal(size=(30, 2))
    p[27:] = np.abs(p[27:]) / np.abs(p[27:]).sum(0)
    for family in range(3):
        weights = np.abs(p[9 * family : 9 * family + 9 : 3])
        p[9 * family : 9 * family + 9 : 3] = weights / weights.sum(0)
    released = entropy_speed.released_masses(p, 1, 40)
    np.testing.assert_allclose(entropy_speed.lenient_masses(p, 1, 40), released, atol=1e-12)
    assert released.sum() == pytest.approx(1, abs=1e-6)
    table = entropy_speed.frequency_table(released)
    assert table[0] == 0 and len(table) == 82 and np.all(np.diff(table) >= 1)


@pytest.mark.slow
def test_stages_add_up_to_whole_calls(tiny_model_path, sample_pixels):
    pixels = np.ascontiguousarray(sample_pixels[:64, :128])
    stored = read_model(tiny_model_path)
    encoded = TensorFlowCodec(stored).encode(pixels)
    table = stages.stages_of(stored, encoded, pixels, {"encode": 2.0, "decode": 3.0}, 1)
    assert sum(table["encode"].values()) == pytest.approx(2.0)
    assert sum(table["decode"].values()) == pytest.approx(3.0)
    assert all(table["gmac"][name] > 0 and table["share"][name] > 0 for name in ("g_a", "g_s"))
    assert 0 < table["bits_per_symbol"] < 8 * len(encoded.data)


def test_sides_work_in_turns():
    order = []

    def side(name, seconds):
        return lambda work: order.append((name, work)) or seconds

    times = speed.take_turns({"ours": side("ours", 2.0), "theirs": side("theirs", 5.0)}, 2)
    assert order[:4] == [
        ("ours", "encode"),
        ("theirs", "encode"),
        ("ours", "decode"),
        ("theirs", "decode"),
    ]
    assert speed.ratios_of(times) == {"encode": 2.5, "decode": 2.5}
    assert speed.ratios_of({"ours": times["ours"]}) == {}


def test_random_models_have_the_spread_that_was_asked_for(tmp_path):
    pixels = speed.draw_picture(128, 192, seed=1)
    path = str(tmp_path / "random.npz")
    speed.write_random_model(path, 16, 2.0, pixels, seed=1)
    y_hat, _ = TensorFlowCodec.load(path).encode(pixels).latents
    assert np.mean(np.std(y_hat, (0, 1))) == pytest.approx(2.0, rel=0.15)  # of each channel


def test_pictures_are_cut_to_multiples_of_64(tmp_path, sample_pixels):
    path = tmp_path / "p.png"
    Image.fromarray(sample_pixels).save(path)
    options = types.SimpleNamespace(image=str(path))
    np.testing.assert_array_equal(speed.picture_of(options), sample_pixels[:64, :128])
    options.image = str(tmp_path / "none.png")
    with pytest.raises(ExperimentError, match="none.png: No such file"):
        speed.picture_of(options)


def test_convolutions_are_counted_per_second():
    assert stages.convolution_rate(4, (64, 64), 1) > 0
    assert tf.executing_eagerly()
