"""Signals: one line, a status that says which, no half file, and soon."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from cli.commandline import ROOT

from gllmm_tf.files import container

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs signals")

# A codec whose stages take long and hear nothing, as networks on large pictures do.
PROGRAM = """
import os, sys, threading, time
import numpy as np
from gllmm_tf.cli import commands, jobs, main as cli
from gllmm_tf.codec.encoding import Encoded

class Slow:
    identity, qualities = bytes(8), range(1, 9)
    def check_quality(self, quality): pass
    def encode(self, pixels, *args, **options):
        os.write(1, b"at work\\n")
        threading.Event().wait(60)
        return Encoded(b"", {}, None)

jobs.load_codec = lambda *args, **options: Slow()
sys.argv = ["gllmm", *sys.argv[1:]]
cli.run()
"""


@pytest.fixture
def start(folder):
    """Starts a compression of several pictures, with a slow codec, and waits until it is at work."""
    running = []

    def popen(*args, ignored=(), **options):
        def prepare():  # A shell's background jobs, and what they start, ignore SIGINT.
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)

        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "compress", *args],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=prepare,
            **options,
        )
        running.append(process)
        return process

    yield popen
    for process in running:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "signals, word",
    [
        ([signal.SIGINT], "interrupted"),
        ([signal.SIGINT, signal.SIGINT], "interrupted"),
        ([signal.SIGTERM], "terminated"),
        ([signal.SIGHUP, signal.SIGTERM], "terminated"),
    ],
)
def test_pictures_under_way_are_left(start, folder, signals, word):
    for name in ("b.png", "c.png", "d.png"):
        os.link("photo.png", name)
    process = start("--output_dir", "out", "photo.png", "b.png", "c.png", "d.png")
    assert process.stdout.readline() == "at work\n"
    begin = time.monotonic()
    for number in signals:
        process.send_signal(number)
    err = process.communicate(timeout=60)[1]
    assert time.monotonic() - begin < 10  # Two seconds on a machine that has time.
    assert process.returncode - 128 in signals
    assert err in ((f"gllmm: {word}\n",) if len(signals) == 1 else (f"gllmm: {word}\n", ""))
    assert os.listdir("out") == []


def test_one_picture_is_left_too(start, folder):
    process = start("photo.png")
    assert process.stdout.readline() == "at work\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[1] == "gllmm: interrupted\n"
    assert process.returncode == 130 and os.listdir() == ["photo.png"]


def test_a_signal_that_is_ignored_stays_ignored(start, folder):
    """`nohup gllmm compress ...`."""
    process = start("photo.png", ignored=[signal.SIGHUP])
    assert process.stdout.readline() == "at work\n"
    process.send_signal(signal.SIGHUP)
    time.sleep(0.1)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143


def test_temporary_files_are_removed(tmp_path):
    """Also those of threads that are still writing."""
    code = """
import os, sys, threading, time
from gllmm_tf.cli import main as cli
from gllmm_tf.files import atomic

def write():
    with atomic.replacing(os.path.join(sys.argv[1], "a.gllmm")) as temporary:
        open(temporary, "wb").write(b"half")
        begun.set()
        threading.Event().wait(60)

begun = threading.Event()
threading.Thread(target=write, daemon=True).start()
begun.wait()
print(os.listdir(sys.argv[1]))
atomic.abandon()
atomic.abandon()
try:
    atomic.write_bytes_atomic(os.path.join(sys.argv[1], "b"), b"late")
except KeyboardInterrupt:
    print(os.listdir(sys.argv[1]), flush=True)
os._exit(0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    first, second = done.stdout.splitlines()
    assert ".a.gllmm." in first and second == "[]"


def test_whole_files_stay(folder, sample_pixels, tiny_model_path):
    """Control-C between two files."""
    for i in range(40):
        os.link("photo.png", f"{i:02}.png")
    command = [sys.executable, str(ROOT / "compress.py"), "compress", "--model", tiny_model_path]
    running = subprocess.Popen(
        [*command, "--output_dir", "out", *[f"{i:02}.png" for i in range(40)]],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
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
