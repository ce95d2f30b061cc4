"""Colours keep their meaning: profiles, PNG's chunks, code points."""

import struct
import zlib

import numpy as np
import pytest
from files.pictures import assert_refused, png, png_chunk
from PIL import Image

from gllmm_tf.files import colour
from gllmm_tf.files.container import TAG_ICC
from gllmm_tf.files.images import read_image, write_image

ADOBE = (0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
P3 = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
SRGB = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)


def gama(exponent):
    return png_chunk(b"gAMA", struct.pack(">I", round(100000 * exponent)))


def chrm(points):
    return png_chunk(b"cHRM", struct.pack(">8I", *(round(100000 * v) for v in points)))


def cicp(*numbers):
    return png_chunk(b"cICP", bytes(numbers))


def read_with(path, *chunks, value=55, channels=3):
    """A picture of one value under these chunks of a PNG file."""
    colour_type = {1: 0, 3: 2}[channels]
    path.write_bytes(
        png(2, 1, 8, colour_type, b"\0" + bytes([value] * 2 * channels), b"".join(chunks))
    )
    return read_image(path)


def shown(profile, rgb):
    """What a colour under a profile is in sRGB, without rounding to a grid by a table."""
    image = Image.new("RGB", (1, 1), tuple(rgb))
    return np.array(colour.to_srgb(image, profile, flags=colour.NO_OPTIMIZATION))[0, 0]


def expected_shown(points, gamma, rgb):
    """The same from primaries: to XYZ, to sRGB's primaries (both D65), to sRGB's curve."""

    def matrix(points):
        xyz = np.array([(x / y, 1, (1 - x - y) / y) for x, y in zip(points[::2], points[1::2])])
        return xyz[1:].T * np.linalg.solve(xyz[1:].T, xyz[0])

    linear = (np.array(rgb) / 255) ** gamma
    linear = np.clip(np.linalg.solve(matrix(SRGB), matrix(points) @ linear), 0, 1)
    coded = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    return np.round(255 * coded)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "exponent, value", [(1.0, 128), (1 / 1.8, 71), (0.45455, 55), (0.45, 55), (1 / 2.4, 44)]
)
def test_gamma_is_converted(tmp_path, exponent, value, channels):
    picture = read_with(tmp_path / "a.png", gama(exponent), channels=channels)
    assert np.abs(picture.pixels.astype(int) - value).max() <= 1
    assert picture.metadata == {}
    assert bool(picture.notes) == (value != 55)


def test_gamma_of_16_bits_keeps_dark_levels(tmp_path):
    samples = np.array([0, 64, 128, 256, 65535], ">u2")
    (tmp_path / "a.png").write_bytes(png(5, 1, 16, 0, b"\0" + samples.tobytes(), gama(1.0)))
    values = read_image(tmp_path / "a.png").pixels[0, :, 0]
    assert values.tolist() == [0, 3, 6, 13, 255]


def test_gamma_of_palettes_is_converted(tmp_path):
    chunks = gama(1.0) + png_chunk(b"PLTE", bytes([55] * 3 + [0] * 3))
    (tmp_path / "a.png").write_bytes(png(1, 1, 8, 3, b"\0\0", chunks))
    assert read_image(tmp_path / "a.png").pixels.tolist() == [[[128] * 3]]


@pytest.mark.parametrize("chunk", [gama(0.45455) + chrm(SRGB), png_chunk(b"sRGB", b"\0"),
                                   gama(1.0) + png_chunk(b"sRGB", b"\0"), cicp(1, 13, 0, 1),
                                   gama(1.0) + cicp(1, 13, 0, 1)])  # fmt: skip
def test_srgb_costs_nothing(tmp_path, chunk):
    picture = read_with(tmp_path / "a.png", chunk)
    assert picture.metadata == {} and not picture.notes
    assert np.all(picture.pixels == 55)


@pytest.mark.parametrize(
    "chunk, points, gamma",
    [
        (gama(0.45455) + chrm(ADOBE), ADOBE, 2.2),
        (gama(1 / 1.8) + chrm(P3), P3, 1.8),
        (cicp(12, 4, 0, 1), P3, 2.2),
        (cicp(9, 8, 0, 1), (0.3127, 0.329, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046), 1.0),
    ],
)
@pytest.mark.parametrize("rgb", [(55, 55, 55), (200, 100, 50), (10, 200, 90), (255, 255, 255)])
def test_other_primaries_become_a_profile(tmp_path, chunk, points, gamma, rgb):
    picture = read_with(tmp_path / "a.png", chunk)
    assert np.all(picture.pixels == 55)
    profile = zlib.decompress(picture.metadata[TAG_ICC])
    assert np.abs(shown(profile, rgb) - expected_shown(points, gamma, rgb)).max() <= 1


def test_primaries_mean_nothing_to_grey(tmp_path):
    picture = read_with(tmp_path / "a.png", gama(1.0), chrm(ADOBE), channels=1)
    assert picture.metadata == {}
    assert np.all(picture.pixels == 128)


@pytest.mark.parametrize(
    "chunk, pattern",
    [
        (cicp(9, 16, 0, 1), r"HDR picture \(PQ\)"),
        (cicp(9, 18, 0, 1), r"HDR picture \(HLG\)"),
        (cicp(12, 16, 0, 1) + png_chunk(b"sRGB", b"\0"), "PQ"),
        (cicp(1, 13, 1, 1), "not those of full-range RGB"),
        (cicp(1, 13, 0, 0), "not those of full-range RGB"),
        (cicp(1, 9, 0, 1), "code points 1 and 9"),
        (cicp(77, 13, 0, 1), "code points 77 and 13"),
    ],
)
def test_what_cannot_be_shown_is_refused(tmp_path, chunk, pattern):
    (tmp_path / "a.png").write_bytes(png(1, 1, 8, 2, b"\0\1\2\3", chunk))
    assert_refused(tmp_path / "a.png", pattern)


@pytest.mark.parametrize(
    "chunk",
    [
        gama(0),
        png_chunk(b"gAMA", b"\xff\xff\xff\xff"),
        chrm((0.0,) * 8),
        chrm((0.3, 0.3) * 4),
        png_chunk(b"cHRM", bytes(3)),
    ],
)
def test_numbers_without_sense_are_ignored(tmp_path, chunk):
    picture = read_with(tmp_path / "a.png", chunk)
    assert np.all(picture.pixels == 55)
    assert picture.metadata == {}


def test_precedence(tmp_path):
    """cICP before iCCP before gAMA."""
    profile = colour.make_profile(P3, (2.2,))
    iccp = png_chunk(b"iCCP", b"x\0\0" + zlib.compress(profile))
    picture = read_with(tmp_path / "a.png", gama(1.0), chrm(ADOBE), iccp)
    assert zlib.decompress(picture.metadata[TAG_ICC]) == profile
    assert read_with(tmp_path / "a.png", iccp, cicp(1, 13, 0, 1)).metadata == {}


def test_srgb_profiles_are_recognised(tmp_path, rgb, srgb_profile):
    curve = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    for profile in (srgb_profile, colour.make_profile(SRGB, curve)):
        assert colour.is_srgb(profile)
        for name in ("a.png", "a.jpg", "a.webp", "a.tif"):
            rgb.save(tmp_path / name, icc_profile=profile)
            assert read_image(tmp_path / name).metadata == {}
    for points, gamma in ((SRGB, (2.0,)), (P3, curve), (ADOBE, (2.2,))):
        assert not colour.is_srgb(colour.make_profile(points, gamma))
    assert not colour.is_srgb(b"no profile")


def test_stripped_profile_leaves_srgb(tmp_path, wide_profile):
    Image.new("RGB", (1, 1), (60, 180, 90)).save(tmp_path / "a.png", icc_profile=wide_profile)
    picture = read_image(tmp_path / "a.png", strip="icc")
    assert picture.metadata == {}
    assert "converted to sRGB" in picture.note
    difference = picture.pixels[0, 0] - expected_shown(ADOBE, 2.2, (60, 180, 90))
    assert np.abs(difference).max() <= 1


def test_profile_of_grey_that_is_srgb_changes_nothing(tmp_path):
    image = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    profile = bytearray(
        colour.make_profile(SRGB, (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
    )
    profile[16:20] = b"GRAY"
    at = profile.index(b"rTRC")
    profile[at : at + 4] = b"kTRC"
    image.save(tmp_path / "a.png", icc_profile=bytes(profile))
    picture = read_image(tmp_path / "a.png")
    assert picture.pixels[0, :, 1].tolist() == list(range(256))
    assert picture.metadata == {} and not picture.notes


def test_adobe_rgb_of_cameras(tmp_path, rgb):
    """They write no profile: the interoperability directory of their EXIF data says R03."""

    def directory(at, entry):
        return struct.pack("<HHHII", 1, *entry) + bytes(4)

    block = b"II*\0" + struct.pack("<I", 8) + directory(8, (0x8769, 4, 1, 26))
    block += directory(26, (0xA005, 4, 1, 44))
    for rules, known in ((b"R03\0", True), (b"R98\0", False)):
        inner = directory(44, (1, 2, 4, int.from_bytes(rules, "little")))
        rgb.save(tmp_path / "a.jpg", exif=b"Exif\0\0" + block + inner)
        picture = read_image(tmp_path / "a.jpg")
        assert (TAG_ICC in picture.metadata) is known
        if known:
            profile = zlib.decompress(picture.metadata[TAG_ICC])
            for value in ((55, 55, 55), (200, 100, 50), (10, 200, 90)):
                expected = expected_shown(ADOBE, 563 / 256, value)
                assert np.abs(shown(profile, value) - expected).max() <= 1


def test_profile_of_bmp(tmp_path, wide_profile):
    header = struct.pack("<IiiHHIIiiII", 124, 1, -1, 1, 24, 0, 4, 0, 0, 0, 0)
    header += bytes(16) + b"DEBM" + bytes(48) + struct.pack("<III", 4, 124 + 4, len(wide_profile))
    header += bytes(124 - len(header))
    size = 14 + len(header) + 4 + len(wide_profile)
    data = b"BM" + struct.pack("<IHHI", size, 0, 0, 14 + 124) + header
    (tmp_path / "a.bmp").write_bytes(data + b"\3\2\1\0" + wide_profile)
    picture = read_image(tmp_path / "a.bmp")
    assert picture.pixels.tolist() == [[[1, 2, 3]]]
    assert zlib.decompress(picture.metadata[TAG_ICC]) == wide_profile


def test_made_profiles_come_back(tmp_path):
    picture = read_with(tmp_path / "a.png", gama(0.45455), chrm(ADOBE))
    for name in ("b.png", "b.jpg", "b.tif", "b.webp"):
        write_image(tmp_path / name, picture.pixels, picture.metadata)
        again = read_image(tmp_path / name)
        assert again.metadata == picture.metadata
