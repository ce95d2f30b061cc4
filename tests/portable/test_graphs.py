"""ONNX models compute what the layers say, and are well formed."""

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from portable import layer_reference, random_models  # noqa: E402
from portable.test_transforms import PARTS  # noqa: E402

from gllmm_tf.errors import GllmmError  # noqa: E402
from gllmm_tf.portable import graphs, runtime, tiling, transforms  # noqa: E402

SIDES = {"g_a": (32, 48), "g_s": (3, 2), "h_a": (8, 12)}


def path_and_input(part, name):
    model = random_models.model_file(name)
    path = PARTS[part][0](model.config, model.weights[part])
    before = 3 if part == "g_a" else model.config.num_filters
    x = np.random.default_rng(1).normal(size=(*SIDES[part], before))
    return path, before, x.astype(np.float32)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", list(random_models.CONFIGS))
def test_against_plain_sums(part, name):
    path, before, x = path_and_input(part, name)
    model = graphs.path_model(path, (before, tiling.channels(path, before)))
    y = runtime.session(model)(x.transpose(2, 0, 1)[None])
    wanted = layer_reference.run(path, x.astype(np.float64))
    error = np.abs(y[0].transpose(1, 2, 0) - wanted).max()
    assert error < 3e-6 * np.abs(wanted).max()


def test_batches():
    path, before, x = path_and_input("g_s", "variable")
    run = runtime.session(graphs.path_model(path, (before, 3)))
    x = np.stack([x, -x]).transpose(0, 3, 1, 2)
    both, single = run(x), run(x[1:])
    np.testing.assert_allclose(both[1:], single, atol=1e-5 * np.abs(single).max())


def test_models_are_well_formed():
    onnx = pytest.importorskip("onnx")
    path, before, _ = path_and_input("g_a", "variable")
    graph = graphs.Graph()
    y = graph.path(path, "x")
    y = graph.add("Reshape", y, np.array([-1, 8], np.int64))
    facts = {"model": "0123", "config": "{}"}
    shape = ("positions", 8)
    data = graph.to_bytes("analysis", {"x": (1, before, "h", "w")}, y, "y", shape, facts)
    model = onnx.load_model_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == graphs.OPSET and model.ir_version == graphs.IR_VERSION
    assert {prop.key: prop.value for prop in model.metadata_props} == facts
    assert [
        d.dim_param or d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim
    ] == [
        "positions",
        8,
    ]
    stored = {c.name: onnx.numpy_helper.to_array(c) for c in model.graph.initializer}
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    np.testing.assert_array_equal(
        stored[first.input[1]], path[0].path[0].kernel.transpose(3, 2, 0, 1)
    )
    # Written again by the package, it is the same message.
    assert onnx.load_model_from_string(model.SerializeToString()) == model


def test_unknown_layers_are_refused():
    with pytest.raises(TypeError, match="ndarray"):
        graphs.path_model([np.zeros(3)], (1, 1))


def fake_runtime(monkeypatch, error=None, version="1.32.0"):
    class Module:
        __version__ = version

    def load(name):
        assert name == "onnxruntime"
        if error:
            raise error
        return Module

    monkeypatch.setattr(runtime.importlib, "import_module", load)
    runtime.onnxruntime.cache_clear()


@pytest.fixture(autouse=True)
def forget_fakes():
    yield
    runtime.onnxruntime.cache_clear()


def test_a_missing_runtime(monkeypatch):
    fake_runtime(monkeypatch, ImportError("No module named 'onnxruntime'"))
    with pytest.raises(GllmmError, match="pip install 'onnxruntime>=1.16'") as error:
        runtime.session(b"")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("version", ["1.9.0", "0.5", "1.15.1"])
def test_an_old_runtime(monkeypatch, version):
    fake_runtime(monkeypatch, version=version)
    with pytest.raises(GllmmError, match=f"1.16 or later, not {version}"):
        runtime.session(b"")


@pytest.mark.parametrize("version", ["1.16.0", "1.32.0rc1", "2.0"])
def test_versions_that_do(monkeypatch, version):
    fake_runtime(monkeypatch, version=version)
    assert runtime.onnxruntime().__version__ == version


def test_one_by_one_is_centred_like_the_others():
    """The shortcut of stride 2 takes the samples at even places."""
    conv = transforms.Conv(np.ones([1, 1, 1, 1], np.float32), None, stride=2)
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    y = runtime.session(graphs.path_model([conv], (1, 1)))(x)
    np.testing.assert_array_equal(y[0, 0], [[0, 2], [8, 10]])
