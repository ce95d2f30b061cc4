"""The ONNX models of a model file: the codec's own functions, with the quality as an input."""

import numpy as np
import pytest

onnxruntime = pytest.importorskip("onnxruntime")

from portable import random_models  # noqa: E402

from gllmm_tf.portable import networks, onnx_models  # noqa: E402
from gllmm_tf.portable.graphs import OPSET  # noqa: E402


def session(data):
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", list(random_models.CONFIGS))
def test_the_functions_of_the_codec(name):
    model = random_models.model_file(name)
    ours = networks.PixelNetworks(model)
    image = np.random.default_rng(1).integers(0, 256, (64, 128, 3), np.uint8)
    x = image.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
    analysis = session(onnx_models.analysis_model(model))
    synthesis = session(onnx_models.synthesis_model(model))
    # Beyond the ends, between the sixteenths, and at the ends.
    qualities = {0.2: 0, 1: 0, 1.53: 8, 2.0625: 17, 3: 32, 99: 32}
    for quality, index in qualities.items() if model.config.lambdas else [(None, 0)]:
        rate = {}
        if quality is not None:
            quality += model.config.first_quality - 1
            rate["quality"] = np.array(quality, np.float32)
        (y,) = analysis.run(["y"], {"x": x, **rate})
        wanted, _ = ours.analyse(image, index)
        np.testing.assert_allclose(
            y[0].transpose(1, 2, 0), wanted, atol=3e-6 * np.abs(wanted).max()
        )
        (x_hat,) = synthesis.run(["x_hat"], {"y_hat": np.rint(y), **rate})
        pixels = np.rint(255 * np.clip(x_hat[0].transpose(1, 2, 0), 0, 1))
        shown = ours.synthesise(np.rint(y[0].transpose(1, 2, 0)), index, (64, 128))
        assert np.abs(pixels - shown).max() <= 1 and np.mean(pixels != shown) < 1e-3


def test_the_package_onnx_agrees():
    onnx = pytest.importorskip("onnx", exc_type=ImportError)
    model = random_models.model_file("variable")
    for make in (onnx_models.analysis_model, onnx_models.synthesis_model):
        proto = onnx.load_model_from_string(make(model))
        onnx.checker.check_model(proto, full_check=True)
        facts = {prop.key: prop.value for prop in proto.metadata_props}
        assert facts == {"model": model.identity.hex(), "config": model.config.to_json()}
        assert [(s.domain, s.version) for s in proto.opset_import] == [("", OPSET)]
