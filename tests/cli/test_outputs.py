"""What may be replaced, how outputs are called, standard input and output."""

import io
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from cli.commandline import ROOT, error_line, gllmm, process
from PIL import Image

from gllmm_tf.cli import outputs
from gllmm_tf.files import container

FOREIGN = {
    "a.data": ("JPEG", "a JPEG picture"),
    "b.anim": ("GIF", "a GIF picture"),
    "c.bin": ("BMP", "a BMP picture"),
    "d.gllmm": ("PNG", "a PNG picture"),
    "e": ("TIFF", "a TIFF picture"),
    "f.pnmx": ("PPM", "a PPM picture"),
}


@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
@pytest.mark.parametrize("name", FOREIGN)
def test_compress_replaces_no_picture(folder, model, capsys, name, flags):
    file_format, kind = FOREIGN[name]
    Image.new("RGB", (8, 8)).save(name, file_format)
    before = pathlib.Path(name).read_bytes()
    assert gllmm("compress", *model, *flags, "photo.png", name) == 1
    assert f"{name}: exists and is {kind}; give another name" in error_line(capsys)
    assert pathlib.Path(name).read_bytes() == before


@pytest.mark.parametrize("name", ["notes.txt", "letter.gllmm", "archive"])
def test_compress_replaces_other_files_only_if_asked(folder, model, capsys, name):
    pathlib.Path(name).write_bytes(b"something of value")
    assert gllmm("compress", *model, "photo.png", "-o", name) == 1
    assert "is not a .gllmm file; give another name, or --overwrite" in error_line(capsys)
    assert pathlib.Path(name).read_bytes() == b"something of value"
    assert gllmm("compress", *model, "--overwrite", "photo.png", "-o", name) == 0
    container.unpack(pathlib.Path(name).read_bytes())


def test_compress_replaces_its_own(folder, model, tiny_codec, sample_pixels):
    assert gllmm("compress", *model, "-q", "2", "photo.png") == 0
    assert gllmm("compress", *model, "photo.png") == 0
    data = pathlib.Path("photo.png.gllmm").read_bytes()
    assert data == tiny_codec.compress(sample_pixels)
    pathlib.Path("empty.gllmm").touch()
    assert gllmm("compress", *model, "photo.png", "empty.gllmm") == 0
    assert pathlib.Path("empty.gllmm").read_bytes() == data


@pytest.mark.parametrize("name", ["photo.png", "other.jpg", "c.bmp"])
def test_decompress_replaces_no_picture_unless_asked(compressed, model, capsys, name):
    Image.new("RGB", (8, 8)).save(name)
    before = pathlib.Path(name).read_bytes()
    assert gllmm("decompress", *model, compressed.name, name) == 1
    assert f"{name}: exists and is not known to be made by decompress" in error_line(capsys)
    assert pathlib.Path(name).read_bytes() == before
    assert gllmm("decompress", *model, "--overwrite", compressed.name, name) == 0
    assert Image.open(name).size == (144, 96)


def test_decompress_replaces_its_own_and_finds_names(folder, model, tiny_codec, sample_pixels):
    data = tiny_codec.compress(sample_pixels)
    for name in ("new.jpg.gllmm", "new.v2.gllmm", "plain.gllmm", "photo.png.gllmm", "x.data"):
        pathlib.Path(name).write_bytes(data)
        for _ in range(2):  # The second run replaces the output of the first.
            assert gllmm("decompress", *model, name) == 0
    made = {name for name in os.listdir() if name.endswith(".png")}
    names = {"new.png", "new.v2.png", "plain.png", "photo.png.gllmm.png", "x.data.png"}
    assert made == {"photo.png", *names}
    np.testing.assert_array_equal(np.array(Image.open("photo.png")), sample_pixels)


def test_equal_names_in_a_folder_are_told_apart(folder, model, tiny_codec, sample_pixels):
    for name in ("a.jpg.gllmm", "a.tif.gllmm"):
        pathlib.Path(name).write_bytes(tiny_codec.compress(sample_pixels))
    for _ in range(2):
        assert gllmm("decompress", *model, "--output_dir", "out", "a.*") == 0
        assert sorted(os.listdir("out")) == ["a.png", "a.tif.gllmm.png"]
    assert gllmm("decompress", *model, "--format", "webp", "--output_dir", "w", "a.jpg.gllmm") == 0
    assert Image.open("w/a.webp").format == "WEBP"


def test_what_exists_is_skipped(folder, model, capsys):
    os.mkdir("out")
    pathlib.Path("out/photo.png.gllmm").write_bytes(b"mine")
    Image.open("photo.png").save("b.png")
    line = ["compress", *model, "--skip_existing", "--output_dir", "out"]
    assert gllmm(*line, "photo.png", "b.png") == 0
    assert pathlib.Path("out/photo.png.gllmm").read_bytes() == b"mine"
    assert capsys.readouterr().out.startswith("compressed 1 of 2 files, 1 were there: ")
    assert gllmm(*line, "--json", "photo.png") == 0
    assert json.loads(capsys.readouterr().out)["skipped"] is True
    with pytest.raises(SystemExit):
        gllmm(*line, "--overwrite", "photo.png")


def test_folders(folder, model, capsys):
    for place in ("in/a.png", "in/x/b.JPG", "in/x/y/a.png"):
        pathlib.Path(place).parent.mkdir(parents=True, exist_ok=True)
        Image.open("photo.png").save(place)
    pathlib.Path("in/x/notes.txt").touch()
    assert gllmm("compress", *model, "--recursive", "in", "--output_dir", "in/out", "-j", "1") == 0
    made = sorted(str(path) for path in pathlib.Path("in/out").rglob("*.gllmm"))
    names = ["a.png.gllmm", "x/b.JPG.gllmm", "x/y/a.png.gllmm"]
    assert made == [f"in/out/{name}" for name in names]
    assert gllmm("decompress", *model, "--recursive", "in/out", "--output_dir", "back") == 0
    made = sorted(str(path) for path in pathlib.Path("back").rglob("*.png"))
    assert made == ["back/a.png", "back/x/b.png", "back/x/y/a.png"]
    capsys.readouterr()
    assert gllmm("compress", *model, "--recursive", "in") == 1
    assert error_line(capsys) == "--recursive needs --output_dir DIR"


@pytest.mark.parametrize(
    "line, text",
    [
        ("compress a.png b.png -o c.gllmm", "several inputs need --output_dir"),
        ("compress - --output_dir out", "standard input has no name"),
        ("compress a.png -o b.gllmm --output_dir out", "give one of them"),
        ("compress photo.png - --json", "not both"),
        ("compress --files_from empty", "empty: names no files"),
        ("compress photo.png --target_size 5k -q 3", "omit one of them (--target_size)"),
        ("compress photo.png --target_bpp 0", "target bpp is 0.0"),
        ("compress photo.png -o b.jpg", "cannot have this extension"),
        ("decompress a.gllmm -o b.gllmm", "cannot have this extension"),
    ],
)
def test_what_cannot_be_done_is_said_first(folder, capsys, line, text):
    pathlib.Path("empty").touch()
    assert gllmm(*line.split()) == 1
    assert text in error_line(capsys)
    assert sorted(os.listdir()) == ["empty", "photo.png"]


def test_no_input_is_a_wrong_line(capsys):
    with pytest.raises(SystemExit) as caught:
        gllmm("compress", "--output_dir", "out")
    assert caught.value.code == 2 and "name an input" in capsys.readouterr().err


# ---------------------------------------------------------------------- standard input and output


@pytest.fixture
def stdin(monkeypatch):
    def give(data):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return give


def test_pipes(folder, model, tiny_codec, sample_pixels, stdin, capsysbinary):
    data = tiny_codec.compress(sample_pixels)
    picture = pathlib.Path("photo.png").read_bytes()
    for line, given, wanted in (
        (["photo.png", "-"], b"", data),
        (["-"], picture, data),
        (["-", "-", "-v"], picture, data),
        (["photo.png", "-o", "-"], b"", data),
    ):
        stdin(given)
        assert gllmm("compress", *model, *line) == 0
        out, err = capsysbinary.readouterr()
        assert out == wanted
        assert (b"standard input: 144 x 96" in err) == ("-v" in line)
    stdin(picture)
    assert gllmm("compress", *model, "-", "a.gllmm") == 0
    assert pathlib.Path("a.gllmm").read_bytes() == data
    stdin(data)
    assert gllmm("decompress", *model, "-") == 0
    shown = capsysbinary.readouterr().out
    np.testing.assert_array_equal(
        np.array(Image.open(io.BytesIO(shown))), tiny_codec.decompress(data)
    )
    stdin(data)
    assert gllmm("decompress", *model, "-", "-", "--format", "tiff") == 0
    assert Image.open(io.BytesIO(capsysbinary.readouterr().out)).format == "TIFF"
    stdin(data)
    assert gllmm("info", "-") == 0
    assert capsysbinary.readouterr().out.startswith(b"standard input\n")
    assert sorted(os.listdir()) == ["a.gllmm", "photo.png"]


@pytest.mark.parametrize(
    "command, data, text",
    [
        ("compress", b"", "standard input: "),
        ("compress", b"GIF8 and no more", "standard input: "),
        ("decompress", b"", "standard input: the file is empty"),
        ("decompress", b"\x89GLM\1", "standard input: cut short"),
        ("decompress", b"\x89PNG", "standard input: not a .gllmm file but a PNG picture"),
    ],
)
def test_bad_standard_input_is_named(folder, model, stdin, capsys, command, data, text):
    stdin(data)
    assert gllmm(command, *model, "-", "out") == 1
    assert error_line(capsys).startswith(text)
    assert os.listdir() == ["photo.png"]


def test_no_binary_on_a_terminal(folder, model, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert gllmm("compress", *model, "photo.png", "-") == 1
    assert "standard output is a terminal" in error_line(capsys)


@pytest.mark.skipif(os.name != "posix", reason="closes streams by their numbers")
@pytest.mark.parametrize(
    "line, status, text",
    [
        ("compress --model MODEL photo.png a.gllmm", 0, ""),
        ("info photo.png.gllmm", 1, "gllmm: standard output is closed\n"),
        ("compress --model MODEL photo.png -", 1, "gllmm: standard output is closed\n"),
    ],
)
def test_closed_standard_output(compressed, tiny_model_path, line, status, text):
    command = [
        sys.executable,
        str(ROOT / "compress.py"),
        *line.replace("MODEL", tiny_model_path).split(),
    ]
    done = subprocess.run(
        ["bash", "-c", '"$@" >&-', "bash", *command],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (status, text)


# ------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("letter", ["\U0001f600", "\u65e5", "e\u0301", "x", "\udcff"])
def test_names_up_to_the_limit_of_the_file_system(folder, model, capsys, letter):
    room = os.pathconf(".", "PC_NAME_MAX") - len(".png.gllmm")
    name = letter * (room // len(os.fsencode(letter))) + ".png"
    os.link("photo.png", name)
    assert gllmm("compress", *model, name) == 0
    assert gllmm("decompress", *model, f"{name}.gllmm", f"{name[:-4]}.bmp") == 0
    assert len(os.listdir()) == 4
    assert gllmm("compress", *model, "photo.png", f"{name}.gllmm.too_long") == 1
    assert "File name too long; give a shorter name" in error_line(capsys)


def test_names_that_look_like_options(folder, model):
    os.link("photo.png", "-q.png")
    os.link("photo.png", "- .png")
    assert gllmm("compress", *model, "--", "-q.png") == 0
    assert gllmm("compress", *model, "./- .png") == 0
    os.link("photo.png", "-")
    assert gllmm("compress", *model, "./-", "-o", "./-.gllmm") == 0
    assert {"-q.png.gllmm", "- .png.gllmm", "-.gllmm"} < set(os.listdir())


def test_a_folder_that_cannot_be_written_to(folder, model, capsys, monkeypatch):
    os.mkdir("locked")
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("locked"))
    assert gllmm("compress", *model, "photo.png", "locked/a.gllmm") == 1
    assert "locked/a.gllmm: cannot be written" in error_line(capsys)


# -------------------------------------------------------------------------------------------- JSON


def lines_of(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_json(folder, model, tiny_codec, capsys):
    pathlib.Path("broken.png").write_bytes(b"")
    Image.open("photo.png").convert("CMYK").save("c.jpg")
    args = ["--json", "-v", "--output_dir", "out", "photo.png", "broken.png", "c.jpg"]
    assert gllmm("compress", *model, *args) == 1
    first, bad, last = lines_of(capsys)
    size = os.path.getsize("out/photo.png.gllmm")
    assert (first["input"], first["output"]) == ("photo.png", "out/photo.png.gllmm")
    assert first["bytes"] == size and first["bpp"] == size * 8 / (144 * 96)
    assert first["quality"] == 4 and first["model"] == tiny_codec.identity.hex()
    assert set(first["seconds"]) == {"analysis", "entropy coding", "container"}
    assert first["psnr"] > 5 and first["ms_ssim"] is None and first["metadata"] == {}
    assert bad["input"] == "broken.png" and "broken.png" in bad["error"]
    assert "CMYK" in last["notes"][0]
    assert gllmm("decompress", *model, "--json", "out/photo.png.gllmm", "a.png") == 0
    (line,) = lines_of(capsys)
    assert line["output"] == "a.png" and "synthesis" in line["seconds"] and line["quality"] == 4
    assert gllmm("info", "--json", "out/photo.png.gllmm", "out/c.jpg.gllmm") == 0
    found = lines_of(capsys)
    assert [line["bytes"] for line in found] == [first["bytes"], last["bytes"]]
    assert found[0]["y_bytes"] < size
    assert gllmm("evaluate", *model, "--json", "photo.png") == 0
    assert lines_of(capsys)[0]["bytes"] == size


def test_quiet(folder, model, capsys):
    Image.open("photo.png").convert("CMYK").save("c.jpg")
    args = ["--quiet", "-v", "--output_dir", "out", "photo.png", "c.jpg", "gone.png"]
    assert gllmm("compress", *model, *args) == 1
    assert "gone.png" in error_line(capsys)


def test_targets_say_the_quality_that_was_taken(folder, model, tiny_codec, sample_pixels, capsys):
    most = len(tiny_codec.compress(sample_pixels, 8)) - 1
    assert gllmm("compress", *model, "--target_size", str(most), "photo.png", "a.gllmm") == 0
    data = pathlib.Path("a.gllmm").read_bytes()
    quality = 1 + container.unpack(data).quality_index / 16
    assert len(data) <= most
    assert f"photo.png: {len(data)} bytes, " in (out := capsys.readouterr().out)
    assert out.endswith(f"quality {quality:g}\n")
    assert gllmm("compress", *model, "--target_size", "40", "photo.png", "b.gllmm") == 1
    assert "photo.png: cannot be held in 40 bytes" in (line := error_line(capsys))
    assert line.endswith("(--target_size)") and not os.path.exists("b.gllmm")
    assert gllmm("compress", *model, "--target_bpp", "8", "--json", "photo.png", "c.gllmm") == 0
    assert lines_of(capsys)[0]["bpp"] <= 8


def test_version():
    done = process("--version")
    assert done.returncode == 0 and done.stdout.startswith("gllmm 0.")


def test_names_of_pictures():
    assert outputs.picture_name("gone/a.jpeg.gllmm", ".png", set()) == "gone/a.png"
    assert outputs.picture_name("gone/a.jpeg.GLLMM", ".tif", {"gone/a.tif"}).endswith("GLLMM.tif")
    assert outputs.picture_name("gone/.gllmm", ".png", set()) == "gone/.gllmm.png"
