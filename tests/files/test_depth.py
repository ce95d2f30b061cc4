"""More than 8 bits, signed and floating-point samples: reduced right, or refused."""

import io
import struct

import numpy as np
import pytest
from files.pictures import assert_refused, png
from PIL import Image

from gllmm_tf.files.images import read_image

RAMP = np.linspace(0, 1, 256)[None].repeat(2, 0)


def tiff(samples, bits, sample_format=1, photometric=1):
    """An uncompressed TIFF file of samples [H, W] or [H, W, 3], from scratch."""
    order = ">" if samples.dtype.byteorder == ">" else "<"
    height, width = samples.shape[:2]
    channels = 1 if samples.ndim == 2 else 3
    pixels = samples.tobytes()
    count = 11
    extra = 8 + 2 + 12 * count + 4
    values = struct.pack(order + "6H", *[bits] * 3, *[sample_format] * 3)
    entries = [(256, 3, 1, width), (257, 3, 1, height),
               (258, 3, channels, bits if channels == 1 else extra), (259, 3, 1, 1),
               (262, 3, 1, photometric), (273, 4, 1, extra + 12), (277, 3, 1, channels),
               (278, 3, 1, height), (279, 4, 1, len(pixels)), (284, 3, 1, 1),
               (339, 3, channels, sample_format if channels == 1 else extra + 6)]  # fmt: skip
    data = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HIH", 42, 8, count)
    for tag, kind, number, value in entries:
        place = [value, 0] if kind == 3 and number == 1 else [value]
        kinds = "HH" if len(place) == 2 else "I"
        data += struct.pack(f"{order}HHI{kinds}", tag, kind, number, *place)
    return data + bytes(4) + values + pixels


@pytest.mark.parametrize("colour_type, channels", [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bit_png(tmp_path, colour_type, channels):
    values = (RAMP[..., None].repeat(channels, -1) * 65535).astype(">u2")
    raw = b"".join(b"\0" + row.tobytes() for row in values)
    (tmp_path / "a.png").write_bytes(png(256, 2, 16, colour_type, raw))
    picture = read_image(tmp_path / "a.png")
    off = np.abs(picture.pixels - 255 * RAMP[..., None])[:, 8:]
    assert off.max() < (1.01 if channels > 1 else 0.51)  # Of colours, Pillow gives the upper bytes.
    assert "reduced from 16 to 8 bits" in picture.note


@pytest.mark.parametrize(
    "values, bits, sample_format, photometric",
    [
        (np.uint16(RAMP * 65535), 16, 1, 1),
        (np.uint16((1 - RAMP) * 65535), 16, 1, 0),
        (np.int16(RAMP * 65535 - 32768), 16, 2, 1),
        (np.int8(np.round(RAMP * 255) - 128), 8, 2, 1),
        (np.float32(RAMP), 32, 3, 1),
        (np.float32(1 - RAMP), 32, 3, 0),
        (np.uint16(RAMP * 65535)[..., None].repeat(3, -1), 16, 1, 2),
        (np.int16(RAMP * 65535 - 32768)[..., None].repeat(3, -1), 16, 2, 2),
        (np.int8(np.round(RAMP * 255) - 128)[..., None].repeat(3, -1), 8, 2, 2),
        (np.uint16((1 - RAMP) * 65535).astype(">u2"), 16, 1, 0),
        (np.int8(127 - np.round(RAMP * 255)), 8, 2, 0),
    ],
    ids=[
        "16",
        "16, 0 is white",
        "signed 16",
        "signed 8",
        "float",
        "float, 0 is white",
        "RGB 16",
        "signed RGB 16",
        "signed RGB 8",
        "big-endian",
        "signed, lowest is white",
    ],
)
def test_tiff(tmp_path, values, bits, sample_format, photometric):
    (tmp_path / "a.tif").write_bytes(tiff(values, bits, sample_format, photometric))
    picture = read_image(tmp_path / "a.tif")
    assert np.abs(picture.pixels - 255 * RAMP[..., None]).max() < (
        1.01 if values.ndim > 2 else 0.51
    )
    assert picture.notes


def test_12_bit_tiff(tmp_path):
    values = np.round(RAMP * 4095).astype(int).reshape(-1, 2)
    packed = np.stack(
        [values[:, 0] >> 4, (values[:, 0] & 15) << 4 | values[:, 1] >> 8, values[:, 1] & 255], -1
    )
    data = tiff(np.zeros((2, 256), np.uint8), 12)[:-512] + np.uint8(packed).tobytes()
    (tmp_path / "a.tif").write_bytes(data.replace(struct.pack("<HHII", 279, 4, 1, 512),
                                                  struct.pack("<HHII", 279, 4, 1, 768)))  # fmt: skip
    picture = read_image(tmp_path / "a.tif")
    assert np.abs(picture.pixels - 255 * RAMP[..., None]).max() < 0.53
    assert "from 12 to 8" in picture.note


@pytest.mark.parametrize(
    "values, bits, sample_format, pattern",
    [
        (np.uint32(RAMP * 1000), 32, 1, "32-bit integers"),
        (np.int32(RAMP * 1000), 32, 2, "32-bit integers"),
        (np.float32(RAMP * 255), 32, 3, "from 0 to 255; scale"),
        (np.float32(RAMP - 0.5), 32, 3, "from -0.5 to 0.5"),
        (np.full((2, 2), np.nan, np.float32), 32, 3, "nan"),
        (np.full((2, 2), np.inf, np.float32), 32, 3, "inf"),
        (np.float32(RAMP)[..., None].repeat(3, -1), 32, 3, "a TIFF picture, damaged or of a rare"),
        (np.float64(RAMP), 64, 3, "a TIFF picture, damaged or of a rare kind"),
    ],
)
def test_what_has_no_black_and_white_is_refused(tmp_path, values, bits, sample_format, pattern):
    photometric = 2 if values.ndim > 2 else 1
    (tmp_path / "a.tif").write_bytes(tiff(values, bits, sample_format, photometric))
    assert_refused(tmp_path / "a.tif", pattern)


@pytest.mark.parametrize("maxval", [1, 100, 255, 1000, 65535])
@pytest.mark.parametrize("kind", ["P2", "P3", "P5", "P6"])
def test_ppm_of_any_depth(tmp_path, kind, maxval):
    channels = 3 if kind in ("P3", "P6") else 1
    values = np.round(RAMP * maxval).astype(int)[..., None].repeat(channels, -1)
    header = f"{kind}\n# a comment\n256 2\n{maxval}\n".encode()
    if kind in ("P2", "P3"):
        body = " ".join(map(str, values.ravel())).encode()
    else:
        body = values.astype(">u2" if maxval > 255 else np.uint8).tobytes()
    (tmp_path / "a.ppm").write_bytes(header + body)
    picture = read_image(tmp_path / "a.ppm")
    assert ("from 16 to 8 bits" in picture.note) == (maxval > 255)
    expected = 255 * np.round(RAMP * maxval)[..., None] / maxval
    assert np.abs(picture.pixels - expected).max() < 1


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pfm(tmp_path, channels, order):
    values = np.stack([RAMP[0], RAMP[0, ::-1]])[..., None].repeat(channels, -1)
    header = f"{'PF' if channels == 3 else 'Pf'}\n256 2\n{'-' if order == '<' else ''}1.0\n"
    path = tmp_path / "a.pfm"
    path.write_bytes(header.encode() + values[::-1].astype(f"{order}f4").tobytes())
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, np.round(255 * values[..., :1]).repeat(3, -1))
    path.write_bytes(path.read_bytes()[:-1])
    assert_refused(path, "cut short")
    path.write_bytes(header.encode() + (2 * values).astype(f"{order}f4").tobytes())
    assert_refused(path, "from 0 to 2")
    assert_refused(path, "512 pixels.*limit of 16383", max_pixels=16383)


@pytest.mark.parametrize("header", [b"Pf\n", b"Pf\n0 1\n1\n", b"Pf\n1 1\nx\n", b"PF\n-1 -1\n1\n"])
def test_damaged_pfm(tmp_path, header):
    (tmp_path / "a.pfm").write_bytes(header + bytes(100))
    assert_refused(tmp_path / "a.pfm", "not the header of a PFM picture")


def test_orientation_of_deep_pictures(tmp_path):
    values = np.uint16(RAMP * 65535)
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG", exif=exif)
    (tmp_path / "a.png").write_bytes(file.getvalue())
    assert read_image(tmp_path / "a.png").pixels.shape == (256, 2, 3)
