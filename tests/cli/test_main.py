"""The process as such: usage, start-up, pipes, interrupts."""

import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from cli.commandline import ROOT, gllmm, process
from conftest import TENSORFLOW
from PIL import Image

from gllmm_tf.cli import commands, parser
from gllmm_tf.files import container
from gllmm_tf.zoo import registry


@pytest.mark.parametrize("args", [[], ["sing"], ["compress"], ["compress", "a", "--quality", "x"]])
def test_usage_errors(capsys, args):
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(["gllmm", *args])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: gllmm")


@pytest.mark.parametrize("crop", ["1,2,3", "1,2,3,4,5", "a,b,c,d", ""])
def test_crop_that_is_none(capsys, crop):
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(["gllmm", "decompress", "a.gllmm", "--crop", crop])
    assert caught.value.code == 2
    assert "--crop" in capsys.readouterr().err


QUICK = {
    "--help": 0,
    "compress --help": 0,
    "train --help": 0,
    "info photo.png.gllmm": 0,
    "models": 0,
    "completion bash": 0,
    "--version": 0,
    "decompress photo.png": 1,
    "compress photo.png --quality nan": 1,
    "compress photo.png --model gone.npz": 1,
    "train": 1,
    "train --run_dir=a --train_glob=b --steps=-1": 1,
}


@pytest.mark.parametrize("line", QUICK)
def test_quick_answers_need_no_tensorflow(compressed, line):
    code = (
        "import sys; from gllmm_tf.cli import main as cli\n"
        f"sys.argv = ['gllmm', *{line!r}.split()]\n"
        "try: cli.run()\n"
        "finally: assert not {'tensorflow', 'tensorflow_compression'} & set(sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert "Traceback" not in result.stderr
    assert result.returncode == QUICK[line]
    program = "gllmm train: " if line.startswith("train") else "gllmm: "
    assert result.stderr.startswith(program if QUICK[line] else "")
    assert result.stderr.count("\n") == QUICK[line] and bool(result.stdout) != QUICK[line]


def test_module_is_the_command(folder):
    """`python -m gllmm_tf.cli` where the package is on the path and the command is not."""
    command = [sys.executable, "-m", "gllmm_tf.cli"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([*command, "--help"], env=env, capture_output=True, text=True)
    assert result.returncode == 0 and result.stdout.startswith("usage: gllmm ")
    for name in (*commands.COMMANDS, "train"):
        assert re.search(rf"^    {name}\s", result.stdout, re.M)
    result = subprocess.run([*command, "compress", "gone"], env=env, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == "gllmm: gone: cannot be read: No such file or directory\n"


def test_training_and_the_use_of_what_was_trained(tmp_path, sample_pixels, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkdir("photos")
    for i in range(4):
        Image.fromarray(np.roll(sample_pixels, 9 * i, 1)).save(f"photos/{i}.png")
    line = (
        "--train_glob=photos/*.png --run_dir=run --num_filters=8 --entropy_widths=24,32 --patch=64"
    )
    line += " --batch=1 --steps=20 --log_every=10 --validation_images=1 --precision=float32"
    line += " --validation_size=64"
    trained = process("train", *line.split())
    if not TENSORFLOW:
        assert trained.returncode == 1 and trained.stderr.count("\n") == 1
        assert "needs TensorFlow, which is not installed: pip install" in trained.stderr
        return
    assert trained.returncode == 0, trained.stderr
    with open("run/metrics.jsonl") as file:
        rows = [json.loads(row) for row in file]
    assert rows[-1]["step"] == 20 and rows[-1]["validation"]

    assert gllmm("compress", "--model", "run", "photos/0.png", "a.gllmm") == 0
    identity = container.unpack(pathlib.Path("a.gllmm").read_bytes()).model_id
    assert identity == registry.read_model("run").identity
    assert gllmm("decompress", "--model", "run", "a.gllmm", "b.png") == 0
    assert Image.open("b.png").size == (144, 96)


def test_huge_png_is_one_line(folder):
    """Pillow's own limit must not speak first."""
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
    data += struct.pack(">I", zlib.crc32(chunk)) + struct.pack(">I", 0) + b"IDAT" + b"5\xaf\x06\x1e"
    pathlib.Path("huge.png").write_bytes(data)
    result = process("compress", "huge.png")
    assert result.returncode == 1
    assert result.stderr == (
        "gllmm: huge.png: 100000 x 100000 = 10000000000 pixels, more than the limit of 268435456: "
        "raise max_pixels (--max_pixels)\n"
    )


def test_closed_pipe(compressed):
    """`gllmm info ... | head -0`."""
    command = [sys.executable, str(ROOT / "compress.py"), "info", *["photo.png.gllmm"] * 3]
    read, write = os.pipe()
    os.close(read)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, env=env, timeout=120)
    os.close(write)
    assert result.stderr == b""
