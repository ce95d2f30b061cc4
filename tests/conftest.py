"""Shared fixtures: a tiny model with random weights and a drawn picture."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.pop("GLLMM_MODELS", None)  # what a user has there is no matter of the tests
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import builtins  # noqa: E402
import importlib.util  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402

import gllmm_tf  # noqa: E402  before TensorFlow, whose Keras it chooses

DATA = os.path.join(os.path.dirname(__file__), "data")


TENSORFLOW = importlib.util.find_spec("tensorflow") is not None
"""Where it is not installed, every test that would import it is skipped, and one line says so."""


def skip_without_tensorflow(python_import):
    """What an `import` statement calls, which skips the module or the test that needs TensorFlow."""

    def importing(name, globals=None, locals=None, fromlist=(), level=0):
        if level == 0 and name.split(".")[0] in ("tensorflow", "tensorflow_compression"):
            pytest.skip("TensorFlow is not installed", allow_module_level=True)
        return python_import(name, globals, locals, fromlist, level)

    return importing


if not TENSORFLOW:
    builtins.__import__ = skip_without_tensorflow(builtins.__import__)


LONG = (
    "training/xla/test_jax",
    "test_documents",
    "codec/test_codec",
    "export/test_saved_model",
    "training/test_run",
)
"""Files that take minutes. They come first, so that no worker begins one when the others are done."""


SLOW = os.environ.get("GLLMM_SLOW_TESTS", "1") != "0"
"""Whether tests that are marked slow run; each of them has a quicker one beside it."""


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not any(name in item.nodeid for name in LONG))  # stable
    for item in items:
        if not SLOW and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: left out by GLLMM_SLOW_TESTS=0"))


@pytest.fixture(scope="session")
def tiny_model_path():
    """A variable-rate model file with N = 8, eight qualities and seeded random weights.

    What `build` of TensorFlow 2.14 and `export_model` made after `set_random_seed(1)` of
    `ModelConfig(num_filters=8, entropy_widths=(24, 32), lambdas=(0.001 * 1.8^i for i in 0..7))`.
    """
    return os.path.join(DATA, "tiny_model.npz")


@pytest.fixture(scope="session")
def tiny_codec(tiny_model_path):
    """The codec of the default backend."""
    return gllmm_tf.Codec.load(tiny_model_path)


@pytest.fixture(scope="session")
def tiny_tensorflow_codec(tiny_model_path):
    from gllmm_tf.codec.tensorflow_codec import TensorFlowCodec

    return TensorFlowCodec.load(tiny_model_path)


@pytest.fixture(scope="session")
def sample_pixels():
    """uint8 [96, 144, 3]: smooth shapes, an edge and a little noise."""
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[0:96, 0:144]
    base = 120 + 60 * np.sin(rows / 11.0) + 40 * np.cos(columns / 17.0) + 50 * (columns > 70)
    pixels = np.stack([base, 0.8 * base + 20, 255 - base], -1) + rng.normal(size=(96, 144, 3)) * 4
    return np.clip(pixels, 0, 255).astype(np.uint8)


@pytest.fixture
def eagerly(monkeypatch):
    """Training steps are not compiled, which takes longer than a few tiny steps."""
    from gllmm_tf.training import distribution

    monkeypatch.setattr(distribution.Devices, "compile", lambda self, step, *options: step)
