"""Pillow opens and saves .gllmm files, lazily, and fails as Pillow's own formats do."""

import dataclasses
import io
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

import gllmm_tf
from gllmm_tf.files import container
from gllmm_tf.files.colour import make_profile
from gllmm_tf.zoo import registry

NAME = "tiny-for-pillow"
OPENS_WITHOUT_CODEC = """
import sys, gllmm_tf
gllmm_tf.register_pillow()
from PIL import Image
with Image.open(sys.argv[1]) as image:
    print(image.format, image.size, image.mode, image.info["quality"], image.get_format_mimetype())
    image.verify()
sys.exit(any(name in sys.modules for name in ("tensorflow", "onnxruntime", "gllmm_tf.codec.base")))
"""


@pytest.fixture(scope="module", autouse=True)
def shipped(tiny_model_path, tmp_path_factory):
    """The tiny model is the default one, and Pillow knows the format."""
    models = tmp_path_factory.mktemp("shipped")
    shutil.copy(tiny_model_path, models / f"{NAME}.npz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "FOLDER", str(models))
        patch.setattr(registry, "DEFAULT_MODEL", NAME)
        patch.setattr(registry, "DEFAULT_CONTINUATION", None)
        gllmm_tf.register_pillow()
        yield


@pytest.fixture(scope="module")
def pixels(sample_pixels):
    return sample_pixels[:40, :70]


@pytest.fixture
def saved(pixels, tmp_path):
    """The path of a file that Pillow saved, at quality 3."""
    path = tmp_path / "a.gllmm"
    Image.fromarray(pixels).save(path, quality=3)
    return path


def file_of(image, **options):
    """The bytes that Pillow saves."""
    file = io.BytesIO()
    image.save(file, "GLLMM", **options)
    return file.getvalue()


def test_files_and_pixels_are_those_of_the_codec(saved, pixels, tiny_codec):
    assert saved.read_bytes() == tiny_codec.compress(pixels, 3)
    assert file_of(Image.fromarray(pixels)) == tiny_codec.compress(pixels)
    expected = tiny_codec.decompress(saved.read_bytes())
    np.testing.assert_array_equal(np.asarray(Image.open(saved)), expected)
    with saved.open("rb") as file:
        np.testing.assert_array_equal(np.asarray(Image.open(file)), expected)
    again = Image.open(io.BytesIO(saved.read_bytes()))
    assert again.info["quality"] == 3 and again.info["model"] == tiny_codec.identity.hex()
    np.testing.assert_array_equal(np.asarray(again.crop((5, 6, 20, 30))), expected[6:30, 5:20])


def test_opening_reads_the_header_alone(saved, tmp_path):
    text = subprocess.run(
        [sys.executable, "-c", OPENS_WITHOUT_CODEC, saved],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert text == "GLLMM (70, 40) RGB 3.0 image/x-gllmm\n"
    data, reads = saved.read_bytes(), []

    class Watched(io.BytesIO):
        def read(self, size=-1):
            reads.append(size)
            return super().read(size)

    image = Image.open(Watched(data), formats=["GLLMM"])  # others look at the data in any order
    assert -1 not in reads and sum(reads) < 64 < len(data)
    assert image.load() and -1 in reads


def test_a_strip_is_no_exception(pixels):
    """Limits count a side below 64 as 64."""
    again = Image.open(io.BytesIO(file_of(Image.fromarray(pixels[:1]))))
    again.verify()
    assert Image.open(io.BytesIO(file_of(Image.fromarray(pixels[:1])))).convert("L").size == (70, 1)


def test_alpha_is_kept_exactly_and_not_read_before_it_is_needed(pixels, tiny_codec):
    alpha = np.arange(pixels[..., 0].size, dtype=np.uint8).reshape(pixels.shape[:2])
    image = Image.fromarray(np.dstack([pixels, alpha]))
    data = file_of(image, quality=5)
    again = Image.open(io.BytesIO(data))
    assert again.mode == "RGBA"
    np.testing.assert_array_equal(np.asarray(again)[..., 3], alpha)
    np.testing.assert_array_equal(np.asarray(again)[..., :3], tiny_codec.decompress(data))


def profile_of_gamma(gamma):
    """An RGB profile that is not sRGB's."""
    return make_profile((0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06), (gamma,))


def test_colour_profile_is_kept_replaced_or_left_out(pixels):
    first, second = (profile_of_gamma(gamma) for gamma in (1.8, 2.4))
    image = Image.fromarray(pixels)
    image.info["icc_profile"] = first
    for given, kept in (
        ({}, first),
        ({"icc_profile": second}, second),
        ({"icc_profile": None}, None),
    ):
        again = Image.open(io.BytesIO(file_of(image, **given)))
        assert again.info.get("icc_profile") == kept
    assert image.info["icc_profile"] == first


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGBX", "RGBa", "YCbCr", "CMYK", "I;16", "F"]
)
def test_other_modes_are_converted_as_compress_does(pixels, mode, recwarn):
    with_alpha = mode in ("PA", "RGBa")
    image = Image.fromarray(pixels).convert("RGBA" if with_alpha else "RGB")
    if mode in ("I;16", "F"):
        grey = np.asarray(image.convert("L"))
        image = Image.fromarray(grey * np.uint16(257) if mode == "I;16" else grey / np.float32(255))
    else:
        image = image.convert(mode)
    again = Image.open(io.BytesIO(file_of(image, quality=8)))
    assert again.size == image.size
    assert again.mode == ("L" if mode in ("1", "L", "LA", "I;16", "F") else "RGB")
    assert np.asarray(again).ndim == len(again.getbands()) // 2 + 2
    warned = [str(w.message) for w in recwarn if "gllmm_tf" in str(w.message)]
    assert any("CMYK" in text for text in warned) == (mode == "CMYK")
    assert any("to 8 bits" in text for text in warned) == (mode in ("I;16", "F"))


def test_grey_with_alpha(pixels):
    alpha = np.arange(pixels[..., 0].size, dtype=np.uint8).reshape(pixels.shape[:2])
    image = Image.fromarray(np.dstack([pixels[..., 0], alpha]), "LA")
    again = Image.open(io.BytesIO(file_of(image)))
    assert again.mode == "LA"
    np.testing.assert_array_equal(np.asarray(again)[..., 1], alpha)


def test_exif_and_xmp_are_kept_where_they_are_given(pixels):
    image, exif = Image.fromarray(pixels), Image.Exif()
    exif[0x010F], exif[0x0112] = "maker", 6  # make; orientation: the top is on the right
    for given in (exif, exif.tobytes()):
        again = Image.open(io.BytesIO(file_of(image, exif=given, xmp=b"<x:xmpmeta/>")))
        assert again.size == image.size[::-1]
        assert again.getexif()[0x010F] == "maker" and again.getexif().get(0x0112, 1) == 1
        assert again.info["xmp"] == b"<x:xmpmeta/>"
    image.info["exif"] = exif.tobytes()
    assert not {"exif", "xmp"} & set(Image.open(io.BytesIO(file_of(image))).info)


@pytest.mark.parametrize("mode", ["LAB", "HSV"])
def test_modes_that_cannot_be_saved(mode):
    with pytest.raises(OSError, match=f"pictures of mode {mode} are not supported"):
        file_of(Image.new(mode, (8, 8)))


@pytest.mark.parametrize(
    "given, message",
    [
        ({"quality": 75}, "quality is 75, it must be from 1 to 8"),
        ({"quality": 0.5}, "quality is 0.5, it must be from 1 to 8"),
        ({"model": "nowhere"}, "nowhere: no model has this name"),
    ],
)
def test_arguments_that_cannot_be_used(pixels, tmp_path, given, message):
    path = tmp_path / "a.gllmm"
    with pytest.raises(ValueError, match=message) as caught:
        Image.fromarray(pixels).save(path, **given)
    assert "\n" not in str(caught.value)
    assert not path.exists()


def changed(data, place):
    data = bytearray(data)
    data[place] ^= 1
    return bytes(data)


@pytest.mark.parametrize(
    "name, make, message",
    [
        ("cut in the start", lambda data: data[:9], "cut short after 9 bytes"),
        ("cut in the size", lambda data: data[:16], "cut short in the height"),
        ("newer", lambda data: data[:4] + b"\x02" + data[5:], "written by a newer gllmm_tf"),
        ("flags", lambda data: data[:5] + b"\x80" + data[6:], "unknown flags 0x80"),
        ("no size", lambda data: data[:15] + b"\x00" + data[16:], "neither may be 0"),
        ("other magic", lambda data: b"\x88" + data[1:], "cannot identify image file"),
        ("empty", lambda data: b"", "cannot identify image file"),
    ],
)
def test_what_cannot_be_opened(saved, tmp_path, name, make, message):
    path = tmp_path / f"{name}.gllmm"
    path.write_bytes(make(saved.read_bytes()))
    with pytest.raises(UnidentifiedImageError, match=message) as caught:
        Image.open(path)
    assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda data: data[:-9], "cut short or damaged, its checksum does not match"),
        (lambda data: changed(data, len(data) // 2), "its checksum does not match"),
        (lambda data: changed(data, 8), "its checksum does not match"),
        (lambda data: data + b"\n", "its checksum does not match"),
    ],
)
@pytest.mark.parametrize("method", ["load", "verify"])
def test_what_cannot_be_decoded(saved, make, message, method):
    saved.write_bytes(make(saved.read_bytes()))
    image = Image.open(saved)
    with pytest.raises(OSError, match=f"a.gllmm: .*{message}"):
        getattr(image, method)()
    image.close()


def test_file_of_a_model_that_is_not_there(saved):
    parts = container.unpack(saved.read_bytes())
    other = dataclasses.replace(parts, model_id=bytes(8))
    saved.write_bytes(container.pack(other))
    with pytest.raises(OSError, match="a.gllmm: written by model 0000000000000000"):
        Image.open(saved).load()


def test_a_file_that_changed_after_it_was_opened(saved, pixels, tiny_codec):
    file = io.BytesIO(saved.read_bytes())
    image = Image.open(file)
    file.seek(0)
    file.truncate()
    file.write(tiny_codec.compress(pixels[:20], 3))
    with pytest.raises(OSError, match="changed since it was opened"):
        image.load()


def test_limits_are_those_of_pillow(saved, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(saved).load()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(saved)


def test_files_are_closed(saved):
    image = Image.open(saved)
    file = image.fp
    image.load()
    assert file.closed
    with Image.open(saved) as image:
        file = image.fp
    assert file.closed
    saved.unlink()
    assert not pathlib.Path(saved).exists()
