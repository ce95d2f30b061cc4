"""The process as such: usage, start-up, pipes, interrupts."""

import os
import pathlib
import signal
import struct
import subprocess
import sys
import time
import zlib

import pytest
from cli.commandline import ROOT, process
from PIL import Image

from gllmm_tf.cli import main as cli
from gllmm_tf.files import container

MODEL_NAME = "tiny-for-tests"


@pytest.mark.parametrize("args", [[], ["sing"], ["compress"], ["compress", "a", "--quality", "x"]])
def test_usage_errors(capsys, args):
    with pytest.raises(SystemExit) as caught:
        cli.parse_args(["gllmm", *args])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: gllmm")


@pytest.mark.parametrize("args", [["--help"], ["compress", "--help"], ["decompress", "photo.png"]])
def test_quick_answers_need_no_tensorflow(folder, args):
    code = (
        "import sys; from gllmm_tf.cli import main as cli\n"
        f"sys.argv = ['gllmm', *{args!r}]\n"
        "try: cli.run()\n"
        "finally: assert 'tensorflow' not in sys.modules"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    start = time.perf_counter()
    result = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert time.perf_counter() - start < 5  # 0.2 s on an idle machine.
    assert "Traceback" not in result.stderr
    assert result.returncode == (0 if "--help" in args else 1)


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


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_interrupted_process(folder, sample_pixels, tiny_model_path):
    """Control-C between two files: status 130, one line, whole files only."""
    for i in range(40):
        Image.fromarray(sample_pixels).save(f"{i:02}.png")
    command = [sys.executable, str(ROOT / "compress.py"), "compress", "--model", tiny_model_path]
    running = subprocess.Popen(
        [*command, "--output_dir", "out", *[f"{i:02}.png" for i in range(40)]],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs, and what they start, ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not os.path.exists("out/00.png.gllmm") and time.monotonic() < deadline:
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=120)
    assert (running.returncode, out, err) == (130, "", "gllmm: interrupted\n")
    done = os.listdir("out")
    assert 0 < len(done) < 40
    for name in done:
        container.unpack(pathlib.Path("out", name).read_bytes())
