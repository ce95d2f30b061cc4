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
    """{package: its folder} of what is installed."""
    specs = {name: importlib.util.find_spec(name) for name in range_ops.PACKAGES}
    return {name: spec.submodule_search_locations[0] for name, spec in specs.items() if spec}


@pytest.mark.parametrize("name", range_ops.PACKAGES)
def test_either_package_will_do(operations, name):
    """Under the other's name, that is: on one TensorFlow only one of them loads."""
    (folder, *_) = installed().values()
    operation = operations({name: folder})
    handle = operation("create_range_encoder")([], tf.constant(LOOKUP))
    assert operation("entropy_encode_finalize")(handle).dtype == tf.string


def test_nothing_is_installed(operations):
    with pytest.raises(
        GllmmError, match="no range coder .neither is installed.: install"
    ) as caught:
        operations({})("create_range_encoder")
    assert "\n" not in str(caught.value) and tf.__version__ in str(caught.value)


def test_a_library_of_another_tensorflow(operations, tmp_path):
    folders = {}
    for name in range_ops.PACKAGES:
        folders[name] = tmp_path / name
        path = folders[name] / range_ops.LIBRARY
        path.parent.mkdir(parents=True)
        path.write_bytes(b"no library")
    with pytest.raises(GllmmError) as caught:
        operations(folders)("create_range_encoder")
    assert all(str(folder) in str(caught.value) for folder in folders.values())
    assert "\n" not in str(caught.value)


def test_one_of_two_that_loads(operations, tmp_path):
    (folder, *_) = installed().values()
    path = tmp_path / range_ops.LIBRARY
    path.parent.mkdir()
    path.write_bytes(b"no library")
    operation = operations(
        {"tensorflow_compression_ops": tmp_path, "tensorflow_compression": folder}
    )
    assert operation("create_range_decoder")


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'range_encode'"):
        range_ops.range_encode  # noqa: B018
