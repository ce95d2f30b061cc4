"""A folder with a picture, and the tiny model as the command line finds it."""

import shutil

import pytest
from PIL import Image

from gllmm_tf.cli import jobs
from gllmm_tf.zoo import registry

MODEL_NAME = "tiny-for-tests"


@pytest.fixture
def folder(tmp_path, monkeypatch, sample_pixels):
    """A working directory that holds photo.png and nothing else."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(sample_pixels).save("photo.png")
    return tmp_path


@pytest.fixture
def model(tiny_model_path, tiny_codec, monkeypatch):
    """The arguments that choose the tiny model, which is loaded once for all tests."""
    load = jobs.load_codec
    loaded = {}

    def load_once(name=None, **settings):
        if name != tiny_model_path:
            return load(name, **settings)
        if settings and str(settings) not in loaded:
            loaded[str(settings)] = load(name, **settings)
        return loaded[str(settings)] if settings else tiny_codec

    monkeypatch.setattr(jobs, "load_codec", load_once)
    return ["--model", tiny_model_path]


@pytest.fixture
def shipped(tiny_model_path, tiny_codec, tmp_path_factory, monkeypatch):
    """Makes the tiny model the only one that ships, and the default."""
    models = tmp_path_factory.mktemp("shipped")
    shutil.copy(tiny_model_path, models / f"{MODEL_NAME}.npz")
    monkeypatch.setattr(registry, "FOLDER", str(models))
    monkeypatch.setattr(registry, "DEFAULT_MODEL", MODEL_NAME)
    monkeypatch.setattr(registry, "DEFAULT_CONTINUATION", None)
    monkeypatch.setattr(jobs, "load_codec", lambda name=None, **settings: tiny_codec)


@pytest.fixture
def compressed(folder, tiny_codec, sample_pixels):
    """photo.png.gllmm beside photo.png."""
    path = folder / "photo.png.gllmm"
    path.write_bytes(tiny_codec.compress(sample_pixels))
    return path
