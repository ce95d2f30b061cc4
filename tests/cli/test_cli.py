"""The command line from end to end, with a tiny model."""

import concurrent.futures
import csv
import io
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from gllmm_tf.cli import main as cli
from gllmm_tf.errors import ModelError
from gllmm_tf.files import container, images
from gllmm_tf.zoo import registry

ROOT = pathlib.Path(__file__).parents[2]
MODEL_NAME = "tiny-for-tests"


def gllmm(*args) -> int:
    """Runs the command in this process and returns its exit status."""
    return cli.main(cli.parse_args(["gllmm", *map(str, args)]))


def process(*args, **kwargs):
    """Runs compress.py in a process of its own."""
    return subprocess.run(
        [sys.executable, str(ROOT / "compress.py"), *map(str, args)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        **kwargs,
    )


def error_line(capsys) -> str:
    """The one line on stderr; stdout must be empty."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("gllmm: ") and err.endswith("\n") and err.count("\n") == 1
    return err[len("gllmm: ") : -1]


@pytest.fixture
def folder(tmp_path, monkeypatch, sample_pixels):
    """A working directory that holds photo.png and nothing else."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(sample_pixels).save("photo.png")
    return tmp_path


@pytest.fixture
def model(tiny_model_path, tiny_codec, monkeypatch):
    """The arguments that choose the tiny model, which is loaded once for all tests."""
    load = cli._load_codec
    loaded = {}

    def load_once(name=None, **settings):
        if name != tiny_model_path:
            return load(name, **settings)
        if settings and str(settings) not in loaded:
            loaded[str(settings)] = load(name, **settings)
        return loaded[str(settings)] if settings else tiny_codec

    monkeypatch.setattr(cli, "_load_codec", load_once)
    return ["--model", tiny_model_path]


@pytest.fixture
def shipped(tiny_model_path, tiny_codec, tmp_path_factory, monkeypatch):
    """Makes the tiny model the only one that ships, and the default."""
    models = tmp_path_factory.mktemp("shipped")
    shutil.copy(tiny_model_path, models / f"{MODEL_NAME}.npz")
    monkeypatch.setattr(registry, "FOLDER", str(models))
    monkeypatch.setattr(registry, "DEFAULT_MODEL", MODEL_NAME)
    monkeypatch.setattr(cli, "_load_codec", lambda name=None, **settings: tiny_codec)


@pytest.fixture
def compressed(folder, tiny_codec, sample_pixels):
    """photo.png.gllmm beside photo.png."""
    path = folder / "photo.png.gllmm"
    path.write_bytes(tiny_codec.compress(sample_pixels))
    return path


# ---------------------------------------------------------------------- compress and decompress


def test_round_trip(folder, model, tiny_codec, sample_pixels, capsys):
    assert gllmm("compress", *model, "photo.png") == 0
    data = (folder / "photo.png.gllmm").read_bytes()
    assert data == tiny_codec.compress(sample_pixels)
    assert gllmm("decompress", *model, "photo.png.gllmm") == 0
    np.testing.assert_array_equal(
        np.array(Image.open("photo.png.gllmm.png")), tiny_codec.decompress(data)
    )
    assert sorted(os.listdir()) == ["photo.png", "photo.png.gllmm", "photo.png.gllmm.png"]
    assert capsys.readouterr() == ("", "")


def test_decoding_in_another_process(compressed, tiny_model_path, tiny_codec):
    result = process("decompress", "--model", tiny_model_path, compressed, "out.png")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    np.testing.assert_array_equal(
        np.array(Image.open("out.png")), tiny_codec.decompress(compressed.read_bytes())
    )


def test_profile_and_alpha_come_back(folder, model, sample_pixels):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    alpha = np.random.default_rng(0).integers(0, 256, sample_pixels.shape[:2], dtype=np.uint8)
    rgba = np.dstack([sample_pixels, alpha])
    Image.fromarray(rgba).save("in.png", icc_profile=profile)
    assert gllmm("compress", *model, "in.png", "out.gllmm") == 0
    assert gllmm("decompress", *model, "out.gllmm", "out.webp") == 0
    out = Image.open("out.webp")
    assert out.info["icc_profile"] == profile
    np.testing.assert_array_equal(np.array(out)[:, :, 3], alpha)


@pytest.mark.parametrize("shape", [(1, 1), (1, 70), (65, 3)])
def test_any_size(folder, model, shape):
    Image.fromarray(np.full((*shape, 3), 99, np.uint8)).save("in.png")
    assert gllmm("compress", *model, "in.png", "a.gllmm") == 0
    assert gllmm("decompress", *model, "a.gllmm", "out.png") == 0
    assert Image.open("out.png").size == shape[::-1]


def test_tiles(folder, model, tiny_codec, sample_pixels):
    pixels = np.tile(sample_pixels, (1, 2, 1))
    Image.fromarray(pixels).save("large.png")
    assert gllmm("compress", *model, "--tile", "64", "large.png") == 0
    data = pathlib.Path("large.png.gllmm").read_bytes()
    decoded = tiny_codec.decode(data)
    untiled = tiny_codec.encode(pixels).latents[0]
    assert np.mean(decoded.latents[0] != untiled) < 1e-3  # Ties may be rounded otherwise.
    assert gllmm("decompress", *model, "--tile", "64", "large.png.gllmm", "out.png") == 0
    difference = np.array(Image.open("out.png")).astype(int) - decoded.image
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("command", ["compress", "decompress", "evaluate"])
def test_tile_and_memory_reach_the_codec(monkeypatch, command):
    seen = []
    monkeypatch.setattr(cli, "_load_codec", lambda name, **settings: seen.append((name, settings)))
    for flags, settings in (
        ([], {}),
        (["--tile", "200"], {"tile": 200}),
        (["--memory", "70", "--tile", "1"], {"tile": 1, "memory": 70}),
    ):
        args = cli.parse_args(["gllmm", command, "a", "--model", "m", *flags])
        cli._Codecs(args).chosen()
        assert seen.pop() == ("m", settings)


def test_crop(compressed, model, tiny_codec, capsys):
    whole = tiny_codec.decompress(compressed.read_bytes()).astype(int)
    assert gllmm("decompress", *model, "--crop", "37,11,50,20", compressed, "out.png") == 0
    part = np.array(Image.open("out.png"))
    assert np.abs(part - whole[11:31, 37:87]).max() <= 1
    assert gllmm("decompress", *model, "--crop", "100,11,50,20", compressed, "b.png") == 1
    assert "the region 100,11,50,20" in error_line(capsys)
    assert not os.path.exists("b.png")


def test_crop_of_a_picture_with_alpha(folder, model, sample_pixels):
    alpha = np.random.default_rng(0).integers(0, 256, sample_pixels.shape[:2], dtype=np.uint8)
    Image.fromarray(np.dstack([sample_pixels, alpha])).save("in.png")
    assert gllmm("compress", *model, "in.png", "a.gllmm") == 0
    assert gllmm("decompress", *model, "--crop", "3,5,20,10", "a.gllmm", "out.png") == 0
    np.testing.assert_array_equal(np.array(Image.open("out.png"))[..., 3], alpha[5:15, 3:23])


def test_quality(folder, model):
    sizes = []
    for quality in ("1", "4.5", "8"):
        assert gllmm("compress", *model, "--quality", quality, "photo.png", "a.gllmm") == 0
        contents = container.unpack(pathlib.Path("a.gllmm").read_bytes())
        assert contents.quality_index == 16 * (float(quality) - 1)
        sizes.append(len(contents.y_stream))
    assert sizes[0] < sizes[2]


def test_verbose(folder, model, tiny_codec, sample_pixels, capsys):
    from gllmm_tf import metrics

    Image.fromarray(np.tile(sample_pixels, (2, 2, 1))).save("large.png")
    pixels = np.array(Image.open("large.png"))
    assert gllmm("compress", *model, "--verbose", "large.png") == 0
    out = capsys.readouterr().out
    data = (folder / "large.png.gllmm").read_bytes()
    bpp = len(data) * 8 / (288 * 192)
    decoded = tiny_codec.decompress(data)
    assert f"large.png: 288 x 192, {len(data)} bytes, {bpp:.4f} bpp" in out
    assert f"PSNR {metrics.psnr(pixels, decoded):.2f} dB" in out
    assert f"MS-SSIM {metrics.ms_ssim(pixels, decoded):.4f}" in out
    assert re.search(r"\n  analysis \d+\.\d\d s, .*; together \d+\.\d\d s\n$", out)

    assert gllmm("decompress", *model, "--verbose", "large.png.gllmm") == 0
    out = capsys.readouterr().out
    assert f"{len(data)} bytes, {bpp:.4f} bpp" in out and "synthesis" in out


def test_notes_go_to_stderr(folder, model, capsys):
    Image.open("photo.png").convert("CMYK").save("in.tif")
    assert gllmm("compress", *model, "in.tif") == 0
    assert "in.tif: note: converted from CMYK" in error_line(capsys)


def test_existing_output_is_replaced(folder, model, tiny_codec, sample_pixels):
    (folder / "out.gllmm").write_bytes(b"old")
    assert gllmm("compress", *model, "photo.png", "out.gllmm") == 0
    assert (folder / "out.gllmm").read_bytes() == tiny_codec.compress(sample_pixels)


def test_model_is_found_by_identity(compressed, shipped, capsys):
    assert gllmm("decompress", compressed, "out.png") == 0
    assert gllmm("compress", "photo.png", "again.gllmm") == 0
    assert pathlib.Path("again.gllmm").read_bytes() == compressed.read_bytes()
    assert gllmm("info", compressed) == 0
    assert f"model      {MODEL_NAME} (" in capsys.readouterr().out
    assert gllmm("models") == 0
    assert MODEL_NAME in capsys.readouterr().out


# ------------------------------------------------------------------------------- several files


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
    assert lines[0].startswith("gllmm: in/broken.png: not a readable 8-bit picture")
    assert lines[1] == "gllmm: gone: cannot be read: No such file or directory"

    assert gllmm("decompress", *model, "--output_dir", "back", "out/deep/*.gllmm") == 0
    assert capsys.readouterr() == ("decompressed 3 of 3 files\n", "")
    assert len(os.listdir("back")) == 3


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_bar_on_a_terminal_only(folder, model, monkeypatch, terminal):
    stderr = io.StringIO()
    stderr.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", stderr)
    args = ["--output_dir", "out", "photo.png", "photo.png"]
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
    room = cli._Room(10)
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


def test_a_fault_stops_what_has_not_begun():
    begun = []

    def work(job):
        begun.append(job)
        if job == 1:
            raise ZeroDivisionError

    outcomes = cli._in_order(range(100), work, 2)
    with pytest.raises(ZeroDivisionError):
        for _, outcome in outcomes:
            outcome()
    outcomes.close()
    assert len(begun) < 10


@pytest.mark.parametrize("crop", ["1,2,3", "1,2,3,4,5", "a,b,c,d", ""])
def test_crop_that_is_none(capsys, crop):
    with pytest.raises(SystemExit) as caught:
        cli.parse_args(["gllmm", "decompress", "a.gllmm", "--crop", crop])
    assert caught.value.code == 2
    assert "--crop" in capsys.readouterr().err


def test_equal_names_do_not_overwrite_each_other(folder, model, sample_pixels, capsys):
    os.mkdir("other")
    Image.fromarray(sample_pixels[::-1]).save("other/photo.png")
    status = gllmm("compress", *model, "--output_dir", "out", "photo.png", "other/photo.png")
    assert status == 1
    assert "other/photo.png: would overwrite out/photo.png.gllmm" in capsys.readouterr().err
    assert gllmm("compress", *model, "photo.png", "single.gllmm") == 0
    first = pathlib.Path("out/photo.png.gllmm").read_bytes()
    assert first == pathlib.Path("single.gllmm").read_bytes()


def test_pattern_characters_in_a_name(folder, model):
    os.rename("photo.png", "photo[1].png")
    assert gllmm("compress", *model, "photo[1].png") == 0
    assert os.path.exists("photo[1].png.gllmm")


# ------------------------------------------------------------------------- info, evaluate, models


def test_info(compressed, tiny_codec, capsys):
    data = compressed.read_bytes()
    contents = container.unpack(data)
    assert gllmm("info", "photo.png.gllmm") == 0
    out = capsys.readouterr().out
    assert "144 x 96 pixels" in out
    assert f"{len(data)} bytes, {len(data) * 8 / (144 * 96):.4f} bpp" in out
    assert tiny_codec.identity.hex() in out
    assert "quality    4" in out
    assert f"z {len(contents.z_stream)} bytes, y {len(contents.y_stream)} bytes" in out
    overhead = len(data) - len(contents.z_stream) - len(contents.y_stream)
    assert f"container  {overhead} bytes" in out and overhead <= 32


def test_info_lists_metadata_and_never_decodes(folder, capsys):
    contents = container.Container(bytes(8), 1 << 20, 1 << 20, 0, b"", b"", {1: b"x", 9: b""})
    pathlib.Path("a.gllmm").write_bytes(container.pack(contents))
    assert gllmm("info", "a.gllmm") == 0
    out = capsys.readouterr().out
    assert "colour profile 1 bytes, unknown (9) 0 bytes" in out
    assert "not among the shipped ones (0000000000000000)" in out


def test_evaluate(folder, model, tiny_codec, sample_pixels, capsys):
    from gllmm_tf import metrics

    os.mkdir("in")
    Image.fromarray(sample_pixels).save("in/a.png")
    large = np.tile(sample_pixels, (2, 2, 1))
    Image.fromarray(large).save("in/b.png")
    assert gllmm("evaluate", *model, "--quality", "6", "in/*", "--csv", "t.csv") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == list(cli._Row._fields)
    assert [line.split()[0] for line in lines[1:]] == ["a.png", "b.png", "mean"]

    with open("t.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    bpps, psnrs = [], []
    for row, line, pixels in zip(rows, lines[1:], (sample_pixels, large)):
        data = tiny_codec.compress(pixels, 6)
        decoded = tiny_codec.decompress(data)
        bpps.append(len(data) * 8 / (pixels.shape[0] * pixels.shape[1]))
        psnrs.append(metrics.psnr(pixels, decoded))
        assert row["bytes"] == str(len(data)) == line.split()[1]
        assert row["bpp"] == f"{bpps[-1]:.4f}" == line.split()[2]
        assert row["psnr"] == f"{psnrs[-1]:.2f}" == line.split()[3]
    assert rows[0]["ms_ssim"] == "" and lines[1].split()[4] == "-"
    assert rows[1]["ms_ssim"] == lines[2].split()[4] == lines[3].split()[4]
    assert lines[3].split()[2] == f"{np.mean(bpps):.4f}"
    assert lines[3].split()[3] == f"{np.mean(psnrs):.2f}"


def test_evaluate_counts_all_bytes(folder, model, capsys):
    """The rate is that of the file, header and metadata included."""
    image = Image.open("photo.png").convert("RGBA")
    image.putalpha(Image.effect_noise(image.size, 50))
    image.save("alpha.png")
    assert gllmm("evaluate", *model, "photo.png", "alpha.png") == 0
    lines = capsys.readouterr().out.splitlines()
    assert int(lines[2].split()[1]) > int(lines[1].split()[1]) + 1000


def test_evaluate_goes_on_after_a_bad_file(folder, model, capsys):
    pathlib.Path("broken.png").write_bytes(b"")
    assert gllmm("evaluate", *model, "broken.png", "photo.png") == 1
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and "broken.png: not a readable" in err
    assert len(out.splitlines()) == 2


def test_evaluate_never_overwrites_a_picture(folder, model, capsys):
    before = pathlib.Path("photo.png").read_bytes()
    assert gllmm("evaluate", *model, "photo.png", "--csv", "photo.png") == 1
    assert "is the input itself" in error_line(capsys)
    assert pathlib.Path("photo.png").read_bytes() == before


# ------------------------------------------------------------------------------------- bad input


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
        (["compress", "photo.png", "--quality", "0.99"], "--quality is 0.99"),
        (["compress", "photo.png", "--quality", "nan"], "--quality is nan"),
        (["compress", "photo.png", "--quality", "inf"], "--quality is inf"),
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
        (["evaluate", "photo.png", "--quality", "-1"], "--quality is -1"),
    ],
)
def test_bad_arguments_need_no_model(compressed, capsys, monkeypatch, args, pattern):
    def no_codec():
        raise AssertionError("a codec was loaded")

    monkeypatch.setattr(cli, "_load_codec", no_codec)
    os.symlink("photo.png", "linked")
    before = {name: pathlib.Path(name).read_bytes() for name in os.listdir()}
    assert gllmm(*args) == 1
    assert re.search(pattern, error_line(capsys))
    assert before == {name: pathlib.Path(name).read_bytes() for name in os.listdir()}


def test_quality_beyond_the_model(folder, model, capsys):
    assert gllmm("compress", *model, "photo.png", "--quality", "8.5") == 1
    assert "--quality is 8.5; it must lie in 1..8" in error_line(capsys)


def test_quality_of_a_fixed_rate_model(folder, model, tiny_codec, capsys, monkeypatch):
    monkeypatch.setattr(type(tiny_codec), "num_qualities", None)
    assert gllmm("compress", *model, "photo.png", "--quality", "3") == 1
    assert "fixed-rate" in error_line(capsys)


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
        (PermissionError(13, "Permission denied", "photo.png"), 1, "photo.png: Permission denied"),
        (ModelError("no.\n"), 1, "photo.png: no."),
    ],
)
def test_exceptions(folder, capsys, monkeypatch, error, status, pattern):
    def fail(*args):
        raise error

    monkeypatch.setattr(images, "read_image", fail)
    assert gllmm("compress", "photo.png") == status
    assert error_line(capsys).startswith(pattern)
    assert os.listdir() == ["photo.png"]


def test_faults_of_the_program_are_not_hidden(folder, monkeypatch):
    def fail(*args):
        raise ZeroDivisionError

    monkeypatch.setattr(images, "read_image", fail)
    with pytest.raises(ZeroDivisionError):
        gllmm("compress", "photo.png")


# -------------------------------------------------------------------------- the process as such


@pytest.mark.parametrize("args", [[], ["sing"], ["compress"], ["compress", "a", "--quality", "x"]])
def test_usage_errors(capsys, args):
    with pytest.raises(SystemExit) as caught:
        cli.parse_args(["gllmm", *args])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: gllmm")


@pytest.mark.parametrize("args", [["--help"], ["compress", "--help"], ["decompress", "photo.png"]])
def test_quick_answers_need_no_tensorflow(folder, args):
    code = (
        "import sys; from gllmm_tf import cli\n"
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
        "raise --max_pixels\n"
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
