"""Packed model files: the same arrays in fewer bytes."""

import numpy as np
import pytest

from gllmm_tf.errors import ModelError
from gllmm_tf.zoo import packing, registry
from gllmm_tf.zoo.model_file import ModelFile


def every_word(dtype):
    return np.arange(2**16, dtype=np.uint16).view(dtype).reshape(256, 256)


def assert_same(back, arrays):
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype and back[name].shape == array.shape, name
        assert back[name].tobytes() == array.tobytes(), name


ARRAYS = {
    "every float": every_word(np.float16),
    "every integer": every_word(np.int16),
    "zeros": np.zeros((3, 4), np.float16),
    "signed zero": np.array([[0.0, -0.0], [1.0, -2.0]], np.float16),
    "bias": np.array([0.1, 3e-8, 60000], np.float16),
    "exponent": np.int32(3),
    "table": np.arange(5, dtype=np.int32),
    "gains": np.float32([[1.5, 2.5]]),
    "text": np.array("words"),
}


@pytest.mark.parametrize("with_base", [False, True])
def test_every_value_comes_back(with_base):
    base = None
    if with_base:
        base = {name: np.roll(array, 77) for name, array in ARRAYS.items()}
    packed = packing.pack(ARRAYS, base)
    if base:
        packed[packing.BASE] = np.array("ab" * 8)
    assert_same(packing.unpack(packed, lambda identity: base), ARRAYS)
    kinds = {name.split("/")[1] for name in packed if name.startswith(packing.PREFIX)}
    assert kinds == ({"base", "change"} if with_base else {"float16", "int16"})


def test_files(tmp_path):
    """A packed file is the same model, in fewer bytes; one with a base needs that to be found."""
    stored = registry.read_model("gllmm-n48")
    plain, packed = tmp_path / "plain.npz", tmp_path / "packed.npz"
    stored.save(plain)
    stored.save(packed, packed=True)
    assert packed.stat().st_size < 0.96 * plain.stat().st_size
    assert_same(ModelFile.read(packed).arrays(), stored.arrays())
    assert ModelFile.read(packed).identity == stored.identity

    child = ModelFile(stored.config, stored.info, dict(stored.exact), dict(stored.weights))
    child.weights["g_a"] = [w * np.float16(1.01) for w in stored.weights["g_a"]]
    child.save(packed, packed=True, base=stored)
    assert packed.stat().st_size < 0.5 * plain.stat().st_size
    assert_same(ModelFile.read(packed).arrays(), child.arrays())
    nobody = ModelFile(stored.config, {}, dict(stored.exact), {**stored.weights, "gains": []})
    child.save(packed, packed=True, base=nobody)
    with pytest.raises(ModelError, match=f"{nobody.identity.hex()}, which does not ship"):
        ModelFile.read(packed)


def test_a_file_whose_base_is_not_released_is_one_line_in_a_folder_of_models(tmp_path, monkeypatch):
    """Looking for the base among all models would read this file again, without an end."""
    stored = registry.read_model("gllmm-n48")
    other = ModelFile(stored.config, {}, dict(stored.exact), {**stored.weights, "gains": []})
    stored.save(tmp_path / "mine.npz", packed=True, base=other)
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path))
    with pytest.raises(ModelError, match=f"{other.identity.hex()}, which does not ship"):
        registry.read_model("mine")
    assert registry.name_of(bytes(8)) is None


def test_a_file_of_a_later_version_is_refused(tmp_path):
    path = tmp_path / "later.npz"
    np.savez(path, **{"packed/better/w": np.zeros((2, 3), np.uint8)})
    with pytest.raises(ModelError, match="later.npz: not a gllmm_tf model .packed as 'better'"):
        ModelFile.read(path)
    np.savez(path, **{"packed/int16/w": np.zeros((2, 3), np.int16)})
    with pytest.raises(ModelError, match="not two planes of bytes"):
        ModelFile.read(path)
