"""The record alone is that of the whole file, and what is no model is one line."""

import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from gllmm_tf.errors import ModelError
from gllmm_tf.zoo import registry
from gllmm_tf.zoo.model_file import ModelFile
from gllmm_tf.zoo.model_info import read_info


def test_it_is_the_record_of_the_file(tiny_model_path):
    for path in (tiny_model_path, *map(registry.path_of, registry.shipped_names())):
        assert read_info(path) == ModelFile.read(path).info


@pytest.mark.parametrize(
    "text", ["", "{}", json.dumps({"a": "ä \U0001f600"}), '"' + "x" * 70000 + '"']
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_texts(tmp_path, text, order):
    path = tmp_path / "model.npz"
    np.savez_compressed(path, info=np.array(text).astype(f"{order}U{max(len(text), 1)}"))
    if text:
        assert read_info(path) == json.loads(text)
    else:
        with pytest.raises(ModelError, match="not a gllmm_tf model"):
            read_info(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        b"\x93NUMPY",
        b"\x93NUMPY\1\0\4\0what",
        b"\x93NUMPY\1\0\2\0{}",
        b"\x93NUMPY\1\0\xff\xff" + b"(" * 65535,
    ],
)
def test_what_is_no_record(tmp_path, content):
    path = tmp_path / "model.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("info.npy", content)
    with pytest.raises(ModelError, match="not a gllmm_tf model") as caught:
        read_info(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_other_files(tmp_path, tiny_model_path):
    (tmp_path / "text.npz").write_text("no zip")
    np.savez(tmp_path / "other.npz", config=np.array("{}"))
    np.savez(tmp_path / "numbers.npz", info=np.zeros(3))
    with open(tiny_model_path, "rb") as f:
        (tmp_path / "cut.npz").write_bytes(f.read()[:-40])
    for name in ("text", "other", "numbers", "cut", "gone"):
        with pytest.raises(ModelError, match=f"{name}.npz"):
            read_info(tmp_path / f"{name}.npz")


def test_models_are_listed_without_numpy():
    code = "import sys; from gllmm_tf.zoo import registry; registry.models(); print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
