"""Many files at once: order, room, codecs, names."""

import argparse
import concurrent.futures
import io
import os
import pathlib
import re
import sys
import threading
import time

import pytest
from cli.commandline import gllmm
from PIL import Image

from gllmm_tf.cli import jobs, reports
from gllmm_tf.cli.parser import parse_args


@pytest.mark.parametrize("command", ["compress", "decompress", "evaluate"])
def test_tile_and_memory_reach_the_codec(monkeypatch, command):
    seen = []
    monkeypatch.setattr(jobs, "load_codec", lambda name, **settings: seen.append((name, settings)))
    for flags, settings in (
        ([], {}),
        (["--tile", "200"], {"tile": 200}),
        (["--backend", "tensorflow"], {"backend": "tensorflow"}),
        (["--memory", "70", "--tile", "1"], {"tile": 1, "memory": 70}),
    ):
        args = parse_args(["gllmm", command, "a", "--model", "m", *flags])
        jobs.Codecs(args).chosen()
        assert seen.pop() == ("m", {"backend": "auto", **settings})


def test_several_files(folder, model, sample_pixels, capsys):
    os.mkdir("in")
    for name in ("a.png", "b.png"):
        Image.fromarray(sample_pixels).save(f"in/{name}")
    pathlib.Path("in/broken.png").write_bytes(b"not a picture")
    os.mkdir("in/folder.png")
    status = gllmm("compress", *model, "--output_dir", "out/deep", "in/*.png", "photo.png", "gone")
    assert status == 1
    out, err = capsys.readouterr()
    assert sorted(os.listdir("out/deep")) == ["a.png.gllmm", "b.png.gllmm", "photo.png.gllmm"]
    size = sum(path.stat().st_size for path in pathlib.Path("out/deep").iterdir())
    bpp = size * 8 / (3 * 96 * 144)
    assert out == f"compressed 3 of 5 files: {size} bytes, {bpp:.4f} bpp\n"
    lines = err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("gllmm: in/broken.png: not a readable picture")
    assert lines[1] == "gllmm: gone: cannot be read: No such file or directory"

    assert gllmm("decompress", *model, "--output_dir", "back", "out/deep/*.gllmm") == 0
    assert capsys.readouterr() == ("decompressed 3 of 3 files\n", "")
    assert len(os.listdir("back")) == 3


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_bar_on_a_terminal_only(folder, model, monkeypatch, terminal):
    stderr = io.StringIO()
    stderr.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", stderr)
    os.link("photo.png", "b.png")
    args = ["--output_dir", "out", "photo.png", "b.png"]
    assert gllmm("compress", *model, *args) == 0
    assert ("0/2" in stderr.getvalue()) == terminal
    stderr.truncate(0)
    assert gllmm("compress", *model, "photo.png") == 0
    assert stderr.getvalue() == ""


def test_many_files_keep_their_order(folder, model, sample_pixels, capsys):
    names = [f"{i}.png" for i in range(9)]
    for i, name in enumerate(names):
        Image.fromarray(sample_pixels[: 90 - 9 * i, : 9 * i + 2]).save(name)
    pathlib.Path("3.png").write_bytes(b"not a picture")
    args = ["compress", *model, "--verbose", "--output_dir", "out", *names]
    assert gllmm(*args) == 1
    out, err = capsys.readouterr()
    assert re.findall(r"^(\d.png):", out, re.M) == [name for name in names if name != "3.png"]
    assert "compressed 8 of 9 files" in out and err.count("\n") == 1 and "3.png" in err
    for name in set(names) - {"3.png"}:
        assert gllmm("compress", *model, name, "alone.gllmm") == 0
        alone = pathlib.Path("alone.gllmm").read_bytes()
        assert pathlib.Path("out", f"{name}.gllmm").read_bytes() == alone


def test_a_large_picture_has_room_alone():
    room = jobs.Room(10)
    inside, most = [], []

    def work(pixels):
        with room.take(pixels):
            inside.append(pixels)
            most.append(list(inside))
            time.sleep(0.01)
            inside.remove(pixels)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(work, [4, 5, 99, 4, 5, 99, 1]))
    assert len(most) == 7
    for together in most:
        assert sum(together) <= 10 or len(together) == 1


VOICE = reports.Voice(argparse.Namespace(quiet=True, json=False))


def test_a_fault_stops_what_has_not_begun():
    begun = []

    def work(job):
        begun.append(job)
        if job.source == "1":
            raise ZeroDivisionError
        return lambda: None

    with pytest.raises(ZeroDivisionError):
        jobs.each([jobs.Job(str(i)) for i in range(100)], work, VOICE, workers=2)
    assert len(begun) < 10


def test_an_interrupt_waits_for_nobody(monkeypatch):
    """What is under way goes on in its thread; whoever was waiting for it goes at once."""
    go_on, ended = threading.Event(), threading.Event()

    def work(job):
        if job.source == "a":
            raise KeyboardInterrupt
        go_on.wait(60)
        ended.set()
        return lambda: None

    with pytest.raises(KeyboardInterrupt):
        jobs.each([jobs.Job(name) for name in "abcd"], work, VOICE, workers=2)
    assert not ended.is_set()
    go_on.set()
    assert ended.wait(60)
