"""The rate-distortion experiment: real bytes, resumed runs, averages."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import gllmm_tf
from experiments.common import coders
from experiments.common.pictures import find_images
from experiments.common.program import ExperimentError
from experiments.rate_distortion import rate_distortion as rd
from experiments.rate_distortion import results
from gllmm_tf.config import ModelConfig
from gllmm_tf.files import container
from gllmm_tf.model.compression import build
from gllmm_tf.zoo import registry
from gllmm_tf.zoo.model_file import export_model


def raw_coder(name="raw", settings=("0", "2")):
    """Stores each value without its lowest bits: rate and PSNR are known."""
    return coders.Coder(
        name,
        settings,
        lambda image, setting: (
            np.array(image.shape[:2], np.uint16).tobytes()
            + (image >> int(setting) << int(setting)).tobytes()
        ),
        lambda data, setting: np.frombuffer(data[4:], np.uint8).reshape(
            *np.frombuffer(data[:4], np.uint16), 3
        ),
    )


@pytest.fixture
def folder(tmp_path):
    for index, size in enumerate([(8, 6), (5, 9)]):
        pixels = np.full([size[1], size[0], 3], 7, np.uint8)  # 7 = 0b111: 2 bits cost an error of 3
        Image.fromarray(pixels).save(tmp_path / f"picture{index}.png")
    return tmp_path


def test_rows_hold_real_sizes_and_qualities(folder):
    output = str(folder / "out" / "results.csv")
    images = find_images([str(folder)])
    assert list(images) == ["picture0.png", "picture1.png"]
    assert rd.run(images, [raw_coder()], output) == 4
    rows = results.read_rows(output)
    assert [(r["image"], r["setting"]) for r in rows[:2]] == [
        ("picture0.png", "0"),
        ("picture0.png", "2"),
    ]
    assert rows[0]["bytes"] == 4 + 3 * 48
    assert rows[0]["bpp"] == pytest.approx(8 * 148 / 48, abs=1e-6)
    assert rows[0]["psnr"] == math.inf
    assert rows[1]["psnr"] == pytest.approx(20 * math.log10(255 / 3), abs=1e-4)
    assert rows[1]["ms_ssim"] is None  # too small for five scales


def test_a_run_resumes_where_it_was_cut(folder):
    output = folder / "results.csv"
    images = find_images([str(folder / "*.png")])
    rd.run(images, [raw_coder()], str(output))
    whole = output.read_text()
    lines = whole.splitlines(keepends=True)
    output.write_text("".join(lines[:3]) + lines[3][:20])  # the third row is cut off
    assert rd.run(images, [raw_coder()], str(output)) == 2
    keys = [(r["image"], r["setting"]) for r in results.read_rows(str(output))]
    assert len(keys) == len(set(keys)) == 4
    assert rd.run(images, [raw_coder()], str(output)) == 0


def test_curves_carry_their_model_and_what_it_has_seen(tiny_tensorflow_codec):
    stored = registry.read_model("gllmm-n144")
    codec = gllmm_tf.Codec.of(stored)
    assert coders.label_of(codec) == "ours, gllmm-n144, 19.5 gigapixels"
    assert coders.label_of(codec, refine=12) == "ours, gllmm-n144, 19.5 gigapixels, 12 rounds"
    both = coders.label_of(gllmm_tf.Codec.load())
    assert both == "ours, gllmm-n144 and -fine, 20.9 gigapixels"
    label = coders.label_of(tiny_tensorflow_codec, "runs/small.npz")
    assert label == "ours, small"


def test_another_model_under_the_same_label_is_refused(folder):
    output = str(folder / "results.csv")
    images = find_images([str(folder)])
    first = dataclasses.replace(raw_coder("ours"), settings=("1@aa",))
    first = dataclasses.replace(first, encode=lambda image, s: raw_coder().encode(image, s[0]))
    rd.run(images, [first], output)
    second = dataclasses.replace(first, settings=("1@bb", "2@bb"))
    with pytest.raises(ExperimentError, match="1@aa.*1@bb.*--label"):
        rd.run(images, [second], output)


def test_a_foreign_csv_is_refused(folder):
    path = folder / "other.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ExperimentError, match="columns must be"):
        rd.run(find_images([str(folder)]), [raw_coder()], str(path))
    assert path.read_text() == "a,b\n1,2\n"


def row(image, codec, setting, bpp, psnr, ms_ssim=0.9):
    numbers = {"bpp": bpp, "psnr": psnr, "ms_ssim": ms_ssim}
    return {
        **{"image": image, "codec": codec, "setting": setting, "bytes": 1},
        **{"encode_seconds": 1.0, "decode_seconds": 3.0, **numbers},
    }


def test_average_curve_takes_means_per_setting():
    rows = [
        row("x", "a", "hi", 1.0, 40.0, 0.98),
        row("y", "a", "hi", 2.0, 36.0, 0.96),
        row("x", "a", "lo", 0.2, 30.0),
        row("y", "a", "lo", 0.4, 28.0, None),
    ]
    low, high = results.average_curve(rows)["a"]
    assert (low.setting, low.bpp, low.psnr, low.ms_ssim) == ("lo", pytest.approx(0.3), 29.0, None)
    assert (high.setting, high.bpp, high.psnr) == ("hi", 1.5, 38.0)
    assert high.ms_ssim == pytest.approx(0.97)
    assert (high.encode_seconds, high.decode_seconds, high.images) == (1.0, 3.0, 2)


def test_average_curve_counts_only_pictures_that_all_have():
    rows = [row("x", "a", "1", 1, 40), row("y", "a", "1", 3, 20), row("x", "b", "1", 2, 42)]
    curves = results.average_curve(rows)
    assert curves["a"][0].psnr == 40.0
    assert curves["a"][0].images == 1
    with pytest.raises(ExperimentError, match="No picture"):
        results.average_curve([row("x", "a", "1", 1, 40), row("y", "b", "1", 1, 40)])


def test_our_settings_are_half_qualities_of_one_model(tiny_model_path, tiny_codec):
    coder = coders.learned_coder("ours", [tiny_model_path])
    qualities, identities = zip(*(setting.split("@") for setting in coder.settings))
    assert qualities == tuple(f"{half / 2:g}" for half in range(2, 17))
    assert set(identities) == {tiny_codec.identity.hex()}


@pytest.mark.parametrize(
    "name, package",
    [
        ("jpeg", "PIL"),
        ("jpeg2000", "PIL"),
        ("jpeg2000-pillow", "PIL"),
        ("webp", "PIL"),
        ("jpegxl", "imagecodecs"),
        ("heif", "pillow_heif"),
    ],
)
def test_conventional_codecs_trade_rate_for_quality(name, package):
    pytest.importorskip(package)
    coder = coders.CONVENTIONAL[name]()
    grid = np.stack(np.meshgrid(np.arange(96), np.arange(64)), -1).sum(-1)
    waves = 128 + 100 * np.sin(grid[..., None] / np.array([7.0, 9.0, 11.0]))
    noise = np.random.default_rng(0).normal(0, 12, waves.shape)
    image = np.clip(waves + noise, 0, 255).astype(np.uint8)
    points = [rd.measure(image, "waves", coder, setting) for setting in coder.settings[2::4]]
    for metric in ("bpp", "psnr"):
        values = [float(point[metric]) for point in points]
        assert values == sorted(values)
    assert float(points[-1]["psnr"]) > 25


def test_models_of_fixed_rate_keep_their_whole_names(tmp_path, sample_pixels):
    """Names end in a lambda: what follows its point is no suffix of a file."""
    config = ModelConfig(num_filters=8, entropy_widths=(24, 32))
    paths = [str(tmp_path / f"{name}.npz") for name in ("mse-0.0016", "mse-0.0075")]
    for seed, path in enumerate(paths):
        tf.keras.utils.set_random_seed(seed)
        export_model(build(config), path, {})
    coder = coders.learned_coder("ours", paths)
    assert [s.split("@")[0] for s in coder.settings] == ["mse-0.0016", "mse-0.0075"]
    identities = [gllmm_tf.Codec.load(path).identity for path in paths]
    assert [bytes.fromhex(s.split("@")[1]) for s in coder.settings] == identities
    for setting, identity in zip(coder.settings, identities):
        assert container.unpack(coder.encode(sample_pixels, setting)).model_id == identity
