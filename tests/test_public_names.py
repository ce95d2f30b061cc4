"""The names at the top of the package: lazy, listed, and never hidden by a module that is imported."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

import gllmm_tf
from gllmm_tf.zoo import registry


def in_new_process(code):
    """Runs code in a Python of its own; what is imported there stays there."""
    subprocess.run([sys.executable, "-c", code], check=True)


def module_names():
    """Dotted names of all modules of the package."""
    return [module.name for module in pkgutil.walk_packages(gllmm_tf.__path__, "gllmm_tf.")]


def test_import_is_cheap():
    in_new_process("import sys, gllmm_tf; sys.exit('tensorflow' in sys.modules)")


@pytest.mark.parametrize("name", ["errors", "metrics", "config", "ModelConfig", "models"])
def test_what_needs_no_tensorflow_does_not_load_it(name):
    in_new_process(f"import sys, gllmm_tf; gllmm_tf.{name}; sys.exit('tensorflow' in sys.modules)")


def test_names_are_listed_and_found():
    assert {"Codec", "CompressionModel", "ModelConfig", "models"} < set(gllmm_tf.__all__)
    assert {"layers", "losses", "metrics", "errors"} < set(gllmm_tf.__all__)
    assert set(gllmm_tf.__all__) <= set(dir(gllmm_tf))
    for name in gllmm_tf.__all__:
        assert getattr(gllmm_tf, name) is not None
    assert gllmm_tf.models is registry.models
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        gllmm_tf.nothing  # noqa: B018


def test_modules_of_the_top_level_are_themselves():
    for name in ("config", "errors", "layers", "losses", "metrics"):
        assert getattr(gllmm_tf, name) is importlib.import_module(f"gllmm_tf.{name}")


@pytest.mark.parametrize("name", module_names())
def test_no_module_has_the_name_of_something_public(name):
    """Importing a module sets an attribute of its package, which hides what had that name there."""
    package, _, last = name.rpartition(".")
    public = vars(importlib.import_module(package)).get(last)
    listed = last in getattr(importlib.import_module(package), "__all__", ())
    assert public is None or getattr(public, "__name__", None) == name
    if package == "gllmm_tf" and listed:
        assert last in ("config", "errors", "layers", "losses", "metrics")


def test_importing_everything_hides_nothing():
    code = """
import importlib, pkgutil, gllmm_tf
for module in pkgutil.walk_packages(gllmm_tf.__path__, "gllmm_tf."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:  # an extra that is not installed
            if error.name.startswith("gllmm_tf"):
                raise
from gllmm_tf.codec.base import Codec
from gllmm_tf.config import ModelConfig
from gllmm_tf.model.compression import CompressionModel
from gllmm_tf.zoo.registry import models
for found in (Codec, ModelConfig, CompressionModel, models):
    assert getattr(gllmm_tf, found.__name__) is found, found
"""
    in_new_process(code)
