"""ONNX files against the Keras layers, run by onnxruntime; all weights random, none symmetric."""

import os

import numpy as np
import pytest
import tensorflow as tf

from gllmm_tf import config
from gllmm_tf.cli import main as cli
from gllmm_tf.cli.parser import parse_args
from gllmm_tf.export import onnx
from gllmm_tf.export.saved_model import ExportedCodec
from gllmm_tf.model.compression import build
from gllmm_tf.zoo.model_file import ModelFile

LAMBDAS = (0.001, 0.004, 0.02)


def random_model(settings):
    """A `ModelFile` whose biases, gains and GDN matrices are random too."""
    rng = np.random.default_rng(4)
    tf.keras.utils.set_random_seed(4)
    stored = ModelFile.from_model(build(settings), {})
    for part in ("g_a", "g_s", "gains"):
        for array in stored.weights[part]:
            if array.ndim <= 2:  # positive: GDN's parameters are stored as square roots
                array += rng.uniform(0, 0.03, array.shape).astype(array.dtype)
    return stored


CONFIGS = {
    "variable": config.gllmm(8, entropy_widths=(8, 8), lambdas=LAMBDAS),
    "plain": config.cheng2020(8, entropy_widths=(8, 8)),
    "three stages": config.gllmm(6, entropy_widths=(8, 8), stages=3),
}


@pytest.fixture(scope="module", params=CONFIGS)
def exported(request, tmp_path_factory):
    """(model file, `ExportedCodec`, {name: session})."""
    runtime = pytest.importorskip("onnxruntime")
    stored = random_model(CONFIGS[request.param])
    folder = tmp_path_factory.mktemp("onnx") / "new"
    assert onnx.save(stored, folder) == ["analysis.onnx", "synthesis.onnx"]
    sessions = {
        name: runtime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"])
        for name in ("analysis", "synthesis")
    }
    return stored, ExportedCodec(stored), sessions


def run(session, value, quality=None):
    """NHWC in, NHWC out."""
    inputs = {session.get_inputs()[0].name: np.transpose(value, (0, 3, 1, 2))}
    if quality is not None:
        inputs["quality"] = np.array(quality, np.float32)
    return session.run(None, inputs)[0].transpose(0, 2, 3, 1)


def assert_close(value, wanted):
    np.testing.assert_allclose(value, wanted, atol=1e-5 * np.max(np.abs(wanted)))


@pytest.mark.parametrize("batch, rows, columns", [(1, 1, 1), (2, 3, 5)])
def test_files_compute_what_the_layers_compute(exported, batch, rows, columns):
    stored, functions, sessions = exported
    rng = np.random.default_rng(rows)
    x = rng.random((batch, 16 * rows, 16 * columns, 3), np.float32)
    y_hat = np.round(rng.normal(0, 5, (batch, rows, columns, stored.config.num_filters)))
    y_hat = y_hat.astype(np.float32)
    for quality in (1.0, 1.5, 3.0) if stored.config.num_qualities else (None,):
        rate = {} if quality is None else {"quality": tf.constant(quality)}
        y = functions.analysis(tf.constant(x), **rate)["y"].numpy()
        x_hat = functions.synthesis(tf.constant(y_hat), **rate)["x_hat"].numpy()
        assert_close(run(sessions["analysis"], x, quality), y)
        assert_close(run(sessions["synthesis"], y_hat, quality), x_hat)


def test_files_say_what_they_are(exported):
    stored, _, sessions = exported
    n = stored.config.num_filters
    rate = [("quality", [])] if stored.config.num_qualities else []
    x = ("x", ["batch", 3, "height", "width"])
    y = ["batch", n, "rows", "columns"]
    described = {
        name: [(v.name, v.shape) for v in (*session.get_inputs(), *session.get_outputs())]
        for name, session in sessions.items()
    }
    assert described["analysis"] == [x, *rate, ("y", y)]
    assert described["synthesis"] == [("y_hat", y), *rate, ("x_hat", x[1])]


@pytest.mark.parametrize("exported", ["variable"], indirect=True)
def test_quality_is_limited_and_rounded_to_sixteenths(exported, sample_pixels):
    _, _, sessions = exported
    x = sample_pixels[None, :64, :64] / np.float32(255)
    for quality, same in ((0, 1), (99, 3), (2.02, 2), (2.04, 2.0625)):
        y, wanted = run(sessions["analysis"], x, quality), run(sessions["analysis"], x, same)
        np.testing.assert_array_equal(y, wanted)


def test_command_writes_what_the_codec_shows(
    tiny_model_path, tiny_codec, sample_pixels, tmp_path, capsys
):
    runtime = pytest.importorskip("onnxruntime")
    folder = tmp_path / "new"
    arguments = ["export", str(folder), "--format", "onnx", "--model", tiny_model_path]
    assert cli.main(parse_args(["gllmm", *arguments])) == 0
    assert sorted(os.listdir(folder)) == ["analysis.onnx", "synthesis.onnx"]
    assert capsys.readouterr().out.startswith(f"{folder}: model ")
    assert cli.main(parse_args(["gllmm", *arguments])) == 1
    assert "not an empty folder" in capsys.readouterr().err

    encoded = tiny_codec.encode(sample_pixels, 2.5)
    session = runtime.InferenceSession(
        folder / "synthesis.onnx", providers=["CPUExecutionProvider"]
    )
    x_hat = run(session, encoded.latents[0][None].astype(np.float32), 2.5)[0, :96, :144]
    pixels = np.round(255 * np.clip(x_hat, 0, 1))
    assert np.max(np.abs(pixels - tiny_codec.decompress(encoded.data))) <= 1
