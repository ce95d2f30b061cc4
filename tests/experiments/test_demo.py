"""The demo: what it says is what it left behind."""

import os

import numpy as np
import pytest
from PIL import Image

from experiments import demo
from experiments.common.pictures import read_image
from experiments.common.program import ExperimentError
from gllmm_tf import metrics


def test_jpeg_is_the_best_that_fits(sample_pixels):
    picture, size, quality = demo.jpeg_of_size(sample_pixels, 3000)
    coder = demo.jpeg_coder()
    assert size == len(coder.encode(sample_pixels, str(quality))) <= 3000
    assert len(coder.encode(sample_pixels, str(quality + 1))) > 3000
    np.testing.assert_array_equal(
        picture, coder.decode(coder.encode(sample_pixels, str(quality)), "")
    )
    assert demo.jpeg_of_size(sample_pixels, 10)[2] == 1  # none fits: the smallest


def test_the_busiest_part_is_found():
    pixels = np.zeros((400, 600, 3), np.uint8)
    pixels[180:370, 300:550] = np.random.default_rng(0).integers(0, 256, (190, 250, 3))
    top, left = demo.busiest_part(pixels)
    assert abs(top - 179) <= 3 and abs(left - 297) <= 4


def test_differences_are_amplified_about_grey():
    original = np.array([[[100, 100, 100]]], np.uint8)
    other = np.array([[[101, 98, 150]]], np.uint8)
    assert demo.amplified_difference(original, other).tolist() == [[[136, 112, 255]]]


def test_all_files_are_made_and_the_report_is_of_them(
    tiny_model_path, sample_pixels, tmp_path, capsys
):
    pytest.importorskip("tensorflow")
    picture, folder = tmp_path / "p.png", tmp_path / "demo"
    Image.fromarray(sample_pixels).save(picture)
    report = demo.demonstrate(str(picture), str(folder), tiny_model_path)
    assert sorted(os.listdir(folder)) == sorted(demo.FILES)
    assert all(name in report for name in demo.FILES)
    lines = {line.split()[0]: line.split() for line in report.splitlines() if line.strip()}
    for name, file, decoded in (
        ("gllmm_tf", "picture.gllmm", "reconstruction.png"),
        ("refined", "refined.gllmm", "refined.png"),
    ):
        x_hat = read_image(str(folder / decoded))
        assert lines[name][1] == f"{os.path.getsize(folder / file):,}"
        assert f"{metrics.psnr(sample_pixels, x_hat):.2f}" in lines[name]
    assert int(lines["JPEG"][1].replace(",", "")) > 0
    commands = [line for line in capsys.readouterr().out.splitlines() if "$ gllmm" in line]
    assert len(commands) == 4 and "--effort=2" in commands[2]


def test_without_tensorflow_there_is_one_file(
    tiny_model_path, sample_pixels, tmp_path, monkeypatch
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(demo, "code", lambda *arguments: pytest.fail("it tried"))
    line = demo.refined_line(str(tmp_path), tiny_model_path, [], sample_pixels)
    assert line.startswith("  refined ") and "needs TensorFlow" in line and "\n" not in line


def test_a_failing_command_is_one_line(sample_pixels, tmp_path):
    Image.fromarray(sample_pixels).save(tmp_path / "p.png")
    with pytest.raises(ExperimentError, match="^[^\n]*no-such-model[^\n]*$"):
        demo.demonstrate(str(tmp_path / "p.png"), str(tmp_path / "demo"), "no-such-model")
