"""Shared fixtures: a tiny model with random weights and a drawn picture."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.pop("GLLMM_MODELS", None)  # what a user has there is no matter of the tests
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import numpy as np  # noqa: E402
import pytest  # noqa: E402

DATA = os.path.join(os.path.dirname(__file__), "data")


@pytest.fixture(scope="session")
def tiny_model_path(tmp_path_factory):
    """A variable-rate model file with N = 8, eight qualities and seeded random weights."""
    import tensorflow as tf

    from gllmm_tf.config import ModelConfig
    from gllmm_tf.model.compression import build
    from gllmm_tf.zoo.model_file import export_model

    tf.keras.utils.set_random_seed(1)
    lambdas = tuple(0.001 * 1.8**i for i in range(8))
    model = build(ModelConfig(num_filters=8, entropy_widths=(24, 32), lambdas=lambdas))
    path = tmp_path_factory.mktemp("models") / "tiny.npz"
    export_model(model, path, {"name": "tiny", "steps": 0})
    return str(path)


@pytest.fixture(scope="session")
def tiny_codec(tiny_model_path):
    import gllmm_tf

    return gllmm_tf.Codec.load(tiny_model_path, backend="tensorflow")


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
