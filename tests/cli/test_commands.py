"""Every command from end to end, with a tiny model."""

import csv
import json
import os
import pathlib
import re
import shutil

import numpy as np
import pytest
from cli.commandline import error_line, gllmm, process
from PIL import Image

from gllmm_tf.cli import evaluation, model_table
from gllmm_tf.files import container
from gllmm_tf.files.colour import make_profile
from gllmm_tf.zoo import registry

MODEL_NAME = "tiny-for-tests"


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
    profile = make_profile((0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06), (2.2,))
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


def test_what_is_left_out_is_said_once_a_run(folder, model, capsys):
    for name in ("a.jpg", "b.jpg"):
        Image.open("photo.png").save(name, comment=b"hello")
    Image.open("photo.png").convert("CMYK").save("c.jpg")
    Image.open("photo.png").convert("CMYK").save("d.jpg")
    assert gllmm("compress", *model, "--output_dir", "out", "*.jpg") == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "gllmm: a.jpg: note: left out: comment"
    assert [line.split(":")[1] for line in lines[1:]] == [" c.jpg", " d.jpg"]
    assert gllmm("compress", *model, "--verbose", "--output_dir", "out", "*.jpg") == 0
    assert "b.jpg: note: left out: comment" in capsys.readouterr().err


def test_exif_is_kept_shown_and_stripped(folder, model, capsys):
    exif = Image.Exif()
    exif[0x10F], exif[0x112] = "Maker", 6
    Image.open("photo.png").save("a.jpg", exif=exif)
    assert gllmm("compress", *model, "a.jpg") == 0
    assert gllmm("decompress", *model, "a.jpg.gllmm", "a.webp") == 0
    with Image.open("a.webp") as image:
        assert image.size == (96, 144) and image.getexif()[0x10F] == "Maker"
    capsys.readouterr()
    assert gllmm("info", "a.jpg.gllmm") == 0
    assert re.search(r"metadata   EXIF \d+ bytes\n", capsys.readouterr().out)
    assert gllmm("compress", *model, "--strip", "exif,xmp", "a.jpg", "b.gllmm") == 0
    assert not container.unpack(pathlib.Path("b.gllmm").read_bytes()).metadata
    assert gllmm("decompress", *model, "a.jpg.gllmm", "a.ppm") == 0
    assert "left out: EXIF, for which PPM has no place" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        gllmm("compress", *model, "--strip", "gps", "a.jpg")
    assert caught.value.code == 2
    assert "cannot strip 'gps'; give some of exif, xmp, icc or all" in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_grey_is_grey_again(folder, model, mode, capsys):
    image = Image.open("photo.png").convert("L").convert(mode)
    if mode == "LA":
        image.putalpha(Image.effect_noise(image.size, 50))
    image.save("grey.png")
    assert gllmm("compress", *model, "--verbose", "grey.png") == 0
    shown = float(re.search(r"PSNR ([\d.]+)", capsys.readouterr().out)[1])
    assert gllmm("decompress", *model, "grey.png.gllmm", "out.png") == 0
    with Image.open("out.png") as out:
        assert out.mode == mode
        if mode == "L":
            error = np.asarray(out, float) - np.asarray(image)
            assert 20 * np.log10(255 / np.sqrt(np.mean(error**2))) == pytest.approx(
                shown, abs=0.006
            )
    assert gllmm("info", "grey.png.gllmm") == 0
    assert "grey 0 bytes" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["b.gif", "b.HEIC", "b.jxl", "b.avif", "b.pgm"])
def test_a_second_picture_is_no_output(folder, model, name, capsys):
    (folder / name).write_bytes(b"a picture")
    assert gllmm("compress", *model, "photo.png", name) == 1
    assert f"{name}: an output of compress cannot have this extension" in error_line(capsys)
    assert (folder / name).read_bytes() == b"a picture"


def test_model_is_found_by_identity(compressed, shipped, capsys):
    assert gllmm("decompress", compressed, "out.png") == 0
    assert gllmm("compress", "photo.png", "again.gllmm") == 0
    assert pathlib.Path("again.gllmm").read_bytes() == compressed.read_bytes()
    assert gllmm("info", compressed) == 0
    assert f"model      {MODEL_NAME} (" in capsys.readouterr().out


def test_models(shipped, capsys, tmp_path, monkeypatch, tiny_model_path):
    """The default has a star; what a record lacks is a dash; everything with -v and --json."""
    shutil.copy(tiny_model_path, tmp_path / "another.npz")
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path))
    assert gllmm("models") == 0
    head, *rows, note = capsys.readouterr().out.splitlines()
    names = [row.split("  ")[0] for row in rows]
    assert names == sorted([f"{MODEL_NAME} *", "another"]) and note.startswith("* the default")
    identity = registry.identity_of("another").hex()
    assert identity in rows[0] and head.index("identity") == rows[0].index(identity)
    assert rows[0].split()[-2] == "-"  # gigapixels seen
    assert gllmm("models", "-v") == 0
    assert f"  file: {tmp_path}/another.npz" in capsys.readouterr().out
    assert gllmm("models", "--json") == 0
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [o["default"] for o in objects] == [False, True]
    assert [o["identity"] for o in objects] == [identity] * 2


def test_facts_of_a_model():
    """What it started from counts as seen; both ends of its range are told."""
    started = {"pixels_seen": 2_000_000_000, "started_from": {"pixels_seen": 500_000_000}}
    ends = [{"bpp": 0.1, "psnr": 27.0}, {"bpp": 0.5, "psnr": 31.0}, {"bpp": 1.0, "psnr": 35.0}]
    info = {
        "metric": "mse",
        "lambdas": [0.01, 0.02, 0.03],
        "validation": {"qualities": ends},
        "pixels_seen": 1_000_000_000,
        "started_from": started,
    }
    row = dict(zip(model_table.HEAD[2:], model_table.cells(info)))
    assert row == {
        "trained for": "mse",
        "qualities": "1 to 3",
        "bpp": "0.100 to 1.000",
        "PSNR, dB": "27.0 to 35.0",
        "gigapixels seen": "3.5",
    }
    fixed = model_table.cells({"lambda": 0.01, "validation": {"qualities": ends[:1]}})
    assert fixed == ("-", "fixed", "0.100", "27.0", "-")


# ------------------------------------------------------------------------------- several files


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
    assert lines[0].split() == list(evaluation.Row._fields)
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
