"""Bad files, bad arguments, full disks: one line each, and nothing lost."""

import errno
import os
import pathlib
import re
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from cli.commandline import error_line, gllmm
from PIL import Image

from gllmm_tf.cli import coding, jobs
from gllmm_tf.codec.base import Codec
from gllmm_tf.errors import ModelError, OutOfMemoryError
from gllmm_tf.files import container, images
from gllmm_tf.files.metadata import pack_alpha


def sealed(body: bytes) -> bytes:
    return body + struct.pack("<I", zlib.crc32(body))


BAD_FILES = {
    "empty": (lambda data: b"", "the file is empty"),
    "cut short": (lambda data: data[:-1], "cut short"),
    "header only": (lambda data: data[:10], "cut short"),
    "bit flip": (lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:], "checksum"),
    "extended": (lambda data: data + b"\n", "checksum"),
    "noise": (lambda data: bytes(range(100, 200)), "not a .gllmm file"),
    "newer": (lambda data: data[:4] + b"\2" + data[5:], "format version 2.*update"),
    "other model": (
        lambda data: sealed(data[:7] + b"somebody" + data[15:-4]),
        "736f6d65626f6479",
    ),
    "huge": (
        lambda data: sealed(data[:15] + b"\xff\xff\xff\x7f" * 2 + b"\0"),
        "limit of 268435456.*--max_pixels",
    ),
}


@pytest.mark.parametrize("with_model", [True, False])
@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(compressed, model, capsys, name, with_model):
    damage, pattern = BAD_FILES[name]
    pathlib.Path("bad.gllmm").write_bytes(damage(compressed.read_bytes()))
    before = sorted(os.listdir())
    assert gllmm("decompress", *(model if with_model else []), "bad.gllmm") == 1
    line = error_line(capsys)
    assert line.startswith("bad.gllmm: ") and re.search(pattern, line)
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(
    "args, pattern",
    [
        (["compress", "gone.png"], "gone.png: cannot be read: No such file"),
        (["compress", "*.tif"], r"\*.tif: cannot be read: No such file"),
        (["compress", "."], "^.: cannot be read: is a directory"),
        (["compress", "photo.png", "."], "^.: is a directory"),
        (["compress", "photo.png", "gone/a.gllmm"], "gone/a.gllmm: there is no directory"),
        (["compress", "photo.png", "photo.png"], "cannot have this extension"),
        (["compress", "photo.png", "b.JPG"], "cannot have this extension.*--output_dir"),
        (["compress", "photo.png", "a", "b"], "several inputs need --output_dir"),
        (["compress", "photo.png", "linked"], "is the input itself"),
        (
            ["compress", "photo.png", "--quality", "0.99"],
            "quality is 0.99, .* 1 up .--quality",
        ),
        (["compress", "photo.png", "--quality", "nan"], "quality is nan, .* .--quality"),
        (["compress", "photo.png", "--quality", "inf"], "quality is inf, .* .--quality"),
        (["compress", "photo.png", "--max_pixels", "100"], "13824 pixels.*limit of 100"),
        (["compress", "photo.png.gllmm"], "did you mean decompress"),
        (["compress", "--output_dir", "photo.png", "photo.png"], "photo.png: File exists"),
        (["decompress", "gone"], "^gone: No such file"),
        (["decompress", "photo.png"], "PNG picture: did you mean compress"),
        (["decompress", "."], "^.: is a directory"),
        (["decompress", "photo.png.gllmm", "a.gif"], "a.gif: cannot write.*extension .gif"),
        (["decompress", "photo.png.gllmm", "a.gllmm"], "cannot have this extension"),
        (["decompress", "photo.png.gllmm", "gone/a.png"], "gone/a.png: there is no directory"),
        (["decompress", "photo.png.gllmm", "--max_pixels", "100"], "limit of 100"),
        (["info", "photo.png"], "PNG picture"),
        (["info", "gone"], "^gone: No such file"),
        (["evaluate", "gone.png"], "gone.png: cannot be read"),
        (["evaluate", "photo.png", "--csv", "gone/t.csv"], "gone/t.csv: there is no directory"),
        (["evaluate", "photo.png", "--quality", "-1"], "quality is -1, .* .--quality"),
    ],
)
def test_bad_arguments_need_no_model(compressed, capsys, monkeypatch, args, pattern):
    def no_codec():
        raise AssertionError("a codec was loaded")

    monkeypatch.setattr(jobs, "load_codec", no_codec)
    os.symlink("photo.png", "linked")
    before = {name: pathlib.Path(name).read_bytes() for name in os.listdir()}
    assert gllmm(*args) == 1
    assert re.search(pattern, error_line(capsys))
    assert before == {name: pathlib.Path(name).read_bytes() for name in os.listdir()}


def test_quality_beyond_the_model(folder, model, capsys):
    assert gllmm("compress", *model, "photo.png", "--quality", "8.5") == 1
    assert "quality is 8.5, it must be from 1 to 8 (--quality)" in error_line(capsys)


def test_quality_of_a_fixed_rate_model(folder, model, tiny_codec, capsys, monkeypatch):
    fixed = property(lambda self: range(0))
    monkeypatch.setattr(type(tiny_codec.scale), "qualities", fixed)
    assert gllmm("compress", *model, "photo.png", "--quality", "3") == 1
    assert "one fixed rate; omit the quality (--quality)" in error_line(capsys)


def test_unknown_model_ends_the_run(folder, sample_pixels, capsys):
    Image.fromarray(sample_pixels).save("b.png")
    args = ["--model", "no-such-model", "--output_dir", "out", "photo.png", "b.png"]
    assert gllmm("compress", *args) == 1
    assert error_line(capsys).startswith("no-such-model: ")
    assert os.listdir("out") == []


def test_broken_model_file(folder, capsys):
    pathlib.Path("bad.npz").write_bytes(b"PK\3\4 not really")
    assert gllmm("compress", "--model", "bad.npz", "photo.png") == 1
    assert error_line(capsys).startswith("bad.npz: ")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_full_disk(compressed, model, capsys):
    assert gllmm("compress", *model, "photo.png", "/dev/full") == 1
    assert error_line(capsys) == "/dev/full: No space left on device"


def test_names_cannot_break_the_line(folder, capsys):
    assert gllmm("compress", "a\nb\x1b[31m.png") == 1
    assert r"a\nb\x1b[31m.png: " in error_line(capsys)


@pytest.mark.parametrize(
    "error, status, pattern",
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 1, "photo.png: not enough memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 1, "photo.png: not enough memory"),
        (OutOfMemoryError("not enough memory for it"), 1, "photo.png: not enough memory for it"),
        (PermissionError(13, "Permission denied", "photo.png"), 1, "photo.png: Permission denied"),
        (ModelError("no.\n"), 1, "photo.png: no."),
    ],
)
def test_exceptions(folder, capsys, monkeypatch, error, status, pattern):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(images, "read_image", fail)
    assert gllmm("compress", "photo.png") == status
    assert error_line(capsys).startswith(pattern)
    assert os.listdir() == ["photo.png"]


EXHAUSTED = {
    "Python": MemoryError(),
    "the system": OSError(errno.ENOMEM, "Cannot allocate memory"),
    "TensorFlow": tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"),
}


@pytest.mark.parametrize("command", ["compress", "decompress", "evaluate"])
@pytest.mark.parametrize("name", EXHAUSTED)
def test_too_little_memory_for_one_file_stops_no_other(
    compressed, model, capsys, monkeypatch, command, name
):
    """Whoever runs out of it: a line with the file, and the others are done."""
    method = "decode" if command == "decompress" else "encode"
    work, first = getattr(Codec, method), [True]

    def fail_once(self, *args, **kwargs):
        if first.pop() if first else False:
            raise EXHAUSTED[name]
        return work(self, *args, **kwargs)

    monkeypatch.setattr(Codec, method, fail_once)
    monkeypatch.setattr(coding, "WORKERS", 1)
    source = pathlib.Path("photo.png.gllmm" if command == "decompress" else "photo.png")
    second = source.with_name(f"second-{source.name}")
    second.write_bytes(source.read_bytes())
    folder = [] if command == "evaluate" else ["--output_dir", "out"]
    assert gllmm(command, *model, *folder, source, second) == 1
    err = capsys.readouterr().err
    assert err == f"gllmm: {source}: not enough memory; free some\n"
    assert command == "evaluate" or os.listdir("out") == [
        "second-photo.png" if command == "decompress" else f"{second}.gllmm"
    ]


def test_faults_of_the_program_are_not_hidden(folder, monkeypatch):
    def fail(*args, **kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr(images, "read_image", fail)
    with pytest.raises(ZeroDivisionError):
        gllmm("compress", "photo.png")


def refuse_work(*args, **kwargs):
    raise AssertionError("the work was begun")


@pytest.mark.parametrize("target", ["a.jpg", "a.bmp", "a.ppm"])
def test_a_format_that_cannot_hold_the_picture_is_refused_before_the_work(
    folder, shipped, tiny_codec, sample_pixels, capsys, monkeypatch, target
):
    alpha = pack_alpha(Image.new("L", (90, 60), 100))
    data = tiny_codec.compress(sample_pixels[:60, :90], metadata={container.TAG_ALPHA: alpha})
    (folder / "a.gllmm").write_bytes(data)
    monkeypatch.setattr(Codec, "decode", refuse_work)
    assert gllmm("decompress", "a.gllmm", target) == 1
    assert "holds no alpha, this picture has it: use .png" in error_line(capsys)


def test_a_side_that_a_format_cannot_hold_is_refused_before_the_work(
    folder, shipped, tiny_codec, capsys, monkeypatch
):
    parts = container.unpack(tiny_codec.compress(np.zeros([8, 8, 3], np.uint8)))
    wide = container.Container(**{**vars(parts), "width": 17000})
    (folder / "a.gllmm").write_bytes(container.pack(wide))
    monkeypatch.setattr(Codec, "decode", refuse_work)
    assert gllmm("decompress", "a.gllmm", "a.webp") == 1
    assert "17000 x 8 pixels (16383 a side at most): use .png" in error_line(capsys)


@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    compressed, model, capsys, monkeypatch, command
):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as on a disk for reading only
    for method in ("encode", "decode"):
        monkeypatch.setattr(Codec, method, refuse_work)
    source = "photo.png" if command == "compress" else "photo.png.gllmm"
    assert gllmm(command, source, "new", *model) == 1
    assert error_line(capsys) == "new: cannot be written"
