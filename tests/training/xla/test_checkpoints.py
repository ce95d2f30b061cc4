"""Checkpoints in pieces."""

import os

import numpy as np
import pytest

from gllmm_tf import errors
from gllmm_tf.training.xla.runner import checkpoints

ARRAYS = {
    "average/0": np.arange(700, dtype=np.float32).reshape(7, 100),
    "model/a": np.arange(5, dtype=np.float64),
    "model/large": np.arange(3000, dtype=np.float32).reshape(3, 1000),
    "step": np.array(2**40, np.int64),
    "empty": np.zeros((0, 3), np.float32),
    "last": np.arange(1500, dtype=np.int32),
}


@pytest.fixture
def checkpoint(tmp_path):
    path = str(tmp_path / "checkpoint-00000007")
    checkpoints.write(path, ARRAYS, {"step": 7}, piece_bytes=6000)
    return path


def test_checkpoint_comes_back_from_its_pieces(checkpoint):
    facts, arrays = checkpoints.read(checkpoint)
    assert facts == {"step": 7}
    assert list(arrays) == list(ARRAYS)
    for name, value in ARRAYS.items():
        assert (arrays[name].dtype, arrays[name].shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(arrays[name], value)
    pieces = [name for name in os.listdir(checkpoint) if name.endswith(".npz")]
    assert len(pieces) > 4
    assert max(os.path.getsize(os.path.join(checkpoint, name)) for name in pieces) <= 6000
    with np.load(os.path.join(checkpoint, "state-00.npz")) as first:  # readable without this code
        np.testing.assert_array_equal(first["average/0"], ARRAYS["average/0"])
    assert not os.path.exists(f"{checkpoint}.tmp")


def test_part_of_a_checkpoint_needs_part_of_its_files(checkpoint):
    os.remove(os.path.join(checkpoint, "state-04.npz"))
    _, arrays = checkpoints.read(checkpoint, lambda name: name.startswith("average/"))
    np.testing.assert_array_equal(arrays["average/0"], ARRAYS["average/0"])
    with pytest.raises(errors.GllmmError, match="state-04.npz: cannot be read .*; copy"):
        checkpoints.read(checkpoint)


def test_damaged_checkpoints_are_named(checkpoint):
    path = os.path.join(checkpoint, "state-01.npz")
    with open(path, "r+b") as f:
        f.seek(300)
        byte = f.read(1)
        f.seek(300)
        f.write(bytes([byte[0] ^ 1]))
    with pytest.raises(errors.GllmmError, match="state-01.npz: is damaged, its checksum is wrong"):
        checkpoints.read(checkpoint)
    with open(os.path.join(checkpoint, "checkpoint.json"), "w") as f:
        f.write('{"format": 99}')
    with pytest.raises(
        errors.GllmmError, match="has format 99, not 2; use the version that wrote it"
    ):
        checkpoints.read(checkpoint)
    os.remove(os.path.join(checkpoint, "checkpoint.json"))
    with pytest.raises(errors.GllmmError, match="checkpoint.json: is missing"):
        checkpoints.read(checkpoint)


def test_unfinished_checkpoints_do_not_count(checkpoint):
    folder = os.path.dirname(checkpoint)
    os.makedirs(os.path.join(folder, "checkpoint-00000009.tmp"))
    checkpoints.write(os.path.join(folder, "checkpoint-100000000"), {}, {})
    names = [os.path.basename(path) for path in checkpoints.found_in(folder)]
    assert names == ["checkpoint-00000007", "checkpoint-100000000"]
    assert checkpoints.found_in(os.path.join(folder, "none")) == []
