"""Where the range coder's operations come from, and what is said where there are none."""

import importlib.machinery
import importlib.util
import runpy

import pytest
import tensorflow as tf

from gllmm_tf.coding import range_ops
from gllmm_tf.errors import GllmmError

LOOKUP = [-1, 0, 1, 2]  # one decision of even odds


@pytest.fixture
def operations(monkeypatch):
    """`operations(packages)`: a name's operation where {package: folder} is what is installed."""

    def load(packages):
        def find(name):
            spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = [str(packages.get(name))]
            return spec if name in packages else None

        monkeypatch.setattr(importlib.util, "find_spec", find)
        return runpy.run_path(range_ops.__file__)["__getattr__"]  # a copy that has loaded nothing

    return load


def installed():
    """(package, its folder) of what is installed."""
    for name in range_ops.LIBRARIES:
        spec = importlib.util.find_spec(name)
        if spec:
            return name, spec.submodule_search_locations[0]
    raise AssertionError("no package brings the operations")


def with_broken_library(name, folder):
    path = folder / range_ops.LIBRARIES[name]
    for parent in (path.parent, folder / "cc"):
        parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"no library")


def test_the_library_is_shared_with_its_package(operations):
    """Whoever comes second gets the operations as well."""
    name, folder = installed()
    assert range_ops.create_range_encoder
    package = importlib.import_module(name)
    for create in (
        package.create_range_encoder,
        operations({name: folder})("create_range_encoder"),
    ):
        assert create([], tf.constant(LOOKUP)).dtype == tf.variant


def test_nothing_is_installed(operations):
    with pytest.raises(
        GllmmError, match="no range coder .neither is installed.: install"
    ) as caught:
        operations({})("create_range_encoder")
    assert "\n" not in str(caught.value) and tf.__version__ in str(caught.value)


def test_a_library_of_another_tensorflow(operations, tmp_path):
    folders = {name: tmp_path / name for name in range_ops.LIBRARIES}
    for name, folder in folders.items():
        with_broken_library(name, folder)
    with pytest.raises(GllmmError) as caught:
        operations(folders)("create_range_encoder")
    assert all(str(folder) in str(caught.value) for folder in folders.values())
    assert "\n" not in str(caught.value)


def test_one_of_two_that_loads(operations, tmp_path):
    name, folder = installed()
    (other,) = set(range_ops.LIBRARIES) - {name}
    with_broken_library(other, tmp_path)
    assert operations({other: tmp_path, name: folder})("create_range_decoder")


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'range_encode'"):
        range_ops.range_encode  # noqa: B018
