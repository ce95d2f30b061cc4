"""Checkpoints in pieces, pictures in every form, crops: what both sides share."""

import hashlib
import os
import sys

import numpy as np
import pytest
from conftest import ROOT
from training.xla.exported_runs import (
    call,
)

from gllmm_tf.training import crops, data
from gllmm_tf.training.xla import export, runner
from gllmm_tf.training.xla import state as state_lib


def test_neither_crops_nor_runner_needs_tensorflow():
    code = (
        "import sys; sys.modules['tensorflow'] = sys.modules['jax'] = None\n"
        "import gllmm_tf.training.crops, gllmm_tf.training.xla.runner"
    )
    done = call(sys.executable, "-c", code, PYTHONPATH=ROOT)
    assert done.returncode == 0, done.stderr


def test_crops_are_those_of_data(exported):
    paths, _ = data.split(data.find_pictures(exported.settings.data.train_glob), 1)
    decoded = [data.decode(path) for path in paths]
    flat = np.concatenate([picture.reshape(-1) for picture in decoded])
    pictures = crops.Pictures([picture.shape[:2] for picture in decoded], flat)
    packed, _ = runner.open_pictures(exported.pictures)
    assert packed.shapes == pictures.shapes
    for step in range(20):
        expected = data.Crops(pictures, 64, 5, 3).batch(step, 3)
        actual = crops.Crops(packed, 64, 5, 3).batch(step, 3)
        for a, b in zip(actual, expected):
            np.testing.assert_array_equal(a, b)


def test_crops_are_pinned():
    """The rule must never change: runs that were interrupted would go on with other crops."""
    pixels = np.random.default_rng(1).integers(0, 256, 40 * 50 * 3 + 30 * 20 * 3, np.uint8)
    rule = crops.Crops(crops.Pictures([(40, 50), (30, 20)], pixels), 24, 7, 4)
    assert (len(rule), rule.num_small) == (1, 1)
    digest = hashlib.sha256()
    for step in (0, 1, 1000):
        for array in rule.batch(step, 3):
            digest.update(array.tobytes())
    assert digest.hexdigest()[:16] == "5fd0b4e73ca3ad00"


def test_pictures_in_every_form(folder, exported, tmp_path):
    wanted, _ = runner.open_pictures(exported.pictures)
    encoded = str(tmp_path / "encoded.npz")
    assert export.write_pictures(exported.settings, encoded, encoded=True) == len(wanted)
    for i, picture in enumerate(runner.open_pictures(encoded)[0]):
        np.testing.assert_array_equal(picture, wanted[i])
    same = np.arange(2 * 5 * 7 * 3, dtype=np.uint8).reshape(2, 5, 7, 3)
    np.save(tmp_path / "same.npy", same)
    mapped, _ = runner.open_pictures(str(tmp_path / "same.npy"))
    assert mapped.shapes == [(5, 7)] * 2
    np.testing.assert_array_equal(mapped[1], same[1])
    np.save(tmp_path / "grey.npy", same[..., 0])
    np.savez(tmp_path / "other.npz", a=same)
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("grey.npy", "other.npz", "text.npz", "none.npz"):
        with pytest.raises(runner.RunError, match=f"{name}: is no file of pictures .*; write one"):
            runner.open_pictures(str(tmp_path / name))


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
    state_lib.write_checkpoint(path, ARRAYS, {"step": 7}, piece_bytes=6000)
    return path


def test_checkpoint_comes_back_from_its_pieces(checkpoint):
    facts, arrays = state_lib.read_checkpoint(checkpoint)
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
    _, arrays = state_lib.read_checkpoint(checkpoint, lambda name: name.startswith("average/"))
    np.testing.assert_array_equal(arrays["average/0"], ARRAYS["average/0"])
    with pytest.raises(runner.RunError, match="state-04.npz: cannot be read .*; copy"):
        state_lib.read_checkpoint(checkpoint)


def test_damaged_checkpoints_are_named(checkpoint):
    path = os.path.join(checkpoint, "state-01.npz")
    with open(path, "r+b") as f:
        f.seek(300)
        byte = f.read(1)
        f.seek(300)
        f.write(bytes([byte[0] ^ 1]))
    with pytest.raises(runner.RunError, match="state-01.npz: is damaged, its checksum is wrong"):
        state_lib.read_checkpoint(checkpoint)
    with open(os.path.join(checkpoint, "checkpoint.json"), "w") as f:
        f.write('{"format": 99}')
    with pytest.raises(runner.RunError, match="has format 99, not 1"):
        state_lib.read_checkpoint(checkpoint)
    os.remove(os.path.join(checkpoint, "checkpoint.json"))
    with pytest.raises(runner.RunError, match="checkpoint.json: is missing"):
        state_lib.read_checkpoint(checkpoint)


def test_unfinished_checkpoints_do_not_count(checkpoint):
    folder = os.path.dirname(checkpoint)
    os.makedirs(os.path.join(folder, "checkpoint-00000009.tmp"))
    state_lib.write_checkpoint(os.path.join(folder, "checkpoint-100000000"), {}, {})
    names = [os.path.basename(path) for path in state_lib.checkpoints(folder)]
    assert names == ["checkpoint-00000007", "checkpoint-100000000"]
    assert state_lib.checkpoints(os.path.join(folder, "none")) == []
