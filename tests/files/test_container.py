"""The container: bytes pinned, round trips, and every kind of damage refused with one line."""

import dataclasses
import pathlib
import random
import struct
import zlib

import pytest

from gllmm_tf.errors import FormatError
from gllmm_tf.files import container
from gllmm_tf.files.container import Container, pack, unpack

IDENTITY = bytes(range(8))
PLAIN = Container(IDENTITY, 768, 512, 56, b"zz", b"yyy")
RICH = Container(IDENTITY, 130, 3, 0, b"z", b"", {9: b"n", 1: b"icc", 2: b""})
PLAIN_HEX = "89474c4d 01 00 38 0001020304050607 8006 8004 02 7a7a 797979 d5b30ed3"
RICH_HEX = "89474c4d 01 01 00 0001020304050607 8201 03 01 03 0103696363 0200 09016e 7a 456cb6a2"
FORMAT_PAGE = pathlib.Path(__file__).parents[2] / "docs" / "format.md"


def seal(body: bytes) -> bytes:
    """Appends the checksum that makes `body` a well-formed file up to its fields."""
    return body + struct.pack("<I", zlib.crc32(body))


def header(flags=0, fields=b"\x08\x08\x00", version=1, quality=0) -> bytes:
    return b"\x89GLM" + bytes([version, flags, quality]) + IDENTITY + fields


def assert_refused(data: bytes, pattern: str, **kwargs) -> None:
    with pytest.raises(FormatError, match=pattern) as caught:
        unpack(data, **kwargs)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 200


def random_container(rng: random.Random) -> Container:
    metadata = {
        rng.randint(1, 255): rng.randbytes(rng.choice((0, 1, 127, 128, 300)))
        for _ in range(rng.choice((0, 0, 1, 2, 5)))
    }
    return Container(
        rng.randbytes(8),
        rng.choice((1, 2, 127, 128, rng.randint(1, 4096))),
        rng.choice((1, 2, 127, 128, rng.randint(1, 4096))),
        rng.randint(0, 255),
        rng.randbytes(rng.choice((0, 1, 127, 128, rng.randint(0, 20000)))),
        rng.randbytes(rng.choice((0, 1, rng.randint(0, 20000)))),
        metadata,
    )


@pytest.mark.parametrize("contents, pinned", [(PLAIN, PLAIN_HEX), (RICH, RICH_HEX)])
def test_bytes_are_pinned(contents, pinned):
    data = bytes.fromhex(pinned)
    assert pack(contents) == data
    assert unpack(data) == contents


def test_specification_shows_the_pinned_file():
    example = FORMAT_PAGE.read_text(encoding="utf-8").split("## Example")[1]
    lines = example.split("```")[1].splitlines()[1:]
    assert bytes.fromhex("".join(line[:27] for line in lines)) == bytes.fromhex(PLAIN_HEX)


@pytest.mark.parametrize("seed", range(100))
def test_round_trip(seed):
    contents = random_container(random.Random(seed))
    data = pack(contents)
    assert unpack(data) == contents
    assert pack(unpack(data)) == data


@pytest.mark.parametrize("seed", range(20))
def test_one_encoding_only(seed):
    """Bytes that `unpack` accepts are the bytes that `pack` makes, also of forged files."""
    rng = random.Random(seed)
    body = bytearray(pack(random_container(rng))[:-4])
    accepted = 0
    for _ in range(200):
        forged = bytearray(body)
        forged[rng.randrange(5, min(len(forged), 40))] = rng.randrange(256)
        try:
            contents = unpack(seal(bytes(forged)))
        except FormatError:
            continue
        accepted += 1
        assert pack(contents) == seal(bytes(forged))
    assert accepted


@pytest.mark.parametrize("width, height", [(1, 1), (768, 512), (4096, 4096), (1 << 24, 1)])
@pytest.mark.parametrize("z_length", [0, 127, 1 << 16])
def test_overhead_is_at_most_32_bytes(width, height, z_length):
    data = pack(Container(IDENTITY, width, height, 255, bytes(z_length), b"y"))
    assert len(data) - z_length - 1 <= 32
    assert unpack(data, 1 << 40).width == width


@pytest.mark.parametrize("length", range(len(pack(RICH))))
def test_every_truncation_is_refused(length):
    assert_refused(pack(RICH)[:length], "empty|cut short")


@pytest.mark.parametrize("bit", range(8 * len(pack(RICH))))
def test_every_bit_flip_is_refused(bit):
    data = bytearray(pack(RICH))
    data[bit // 8] ^= 1 << bit % 8
    assert_refused(bytes(data), ".")


@pytest.mark.parametrize("extra", [b"\0", b"\n", pack(PLAIN)])
def test_trailing_bytes_are_refused(extra):
    assert_refused(pack(PLAIN) + extra, "checksum")


@pytest.mark.parametrize(
    "data, pattern",
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "PNG picture.*compress"),
        (b"\xff\xd8\xff\xe0" + bytes(40), "JPEG picture"),
        (b"RIFF\0\0\0\0WEBP", "WebP picture"),
        (b"II*\0" + bytes(40), "TIFF picture"),
        (b"\tGLM" + bytes(40), "binary mode"),
        ("\x89GLM".encode() + bytes(40), "binary mode"),
        (b"hello world, this is text", "begins with 68 65 6c 6c instead of 89 47 4c 4d"),
        (bytes(100), "begins with 00 00 00 00"),
        (header(version=2), "newer gllmm_tf, format version 2; this one reads 1: update"),
        (header(version=255) + bytes(100), "format version 255"),
        (header(version=0) + bytes(100), "format version 0"),
    ],
)
def test_foreign_bytes_are_named(data, pattern):
    assert_refused(data, pattern)


@pytest.mark.parametrize(
    "body, pattern",
    [
        (header(flags=0x02), "unknown flags 0x02.*update"),
        (header(flags=0x81), "unknown flags 0x80"),
        (header(fields=b"\x00\x08\x00"), "0 x 8"),
        (header(fields=b"\x08\x00\x00"), "8 x 0"),
        (header(fields=b"\xff\xff\xff\x7f\xff\xff\xff\x7f\x00"), "more than the limit.*max_pixels"),
        (header(fields=b"\x88\x00\x08\x00"), "width is not a number.*shortest"),
        (header(fields=b"\x08\x80\x80\x80\x80\x01\x00"), "height is not a number"),
        (header(fields=b"\x08\x08\x01"), "z stream should have 1 byte but only 0"),
        (header(fields=b"\x08\x08\xff\xff\xff\x7f"), "z stream should have 268435455 bytes"),
        (header(fields=b"\x08\x08\x80"), "z stream length should have 1 byte"),
        (header(1, b"\x08\x08\x00\x00"), "announces metadata but holds none"),
        (header(1, b"\x08\x08\x00\x01"), "metadata tag should have 1 byte but only 0"),
        (header(1, b"\x08\x08\x00\x01\x01\x05abc"), "metadata 1 should have 5 bytes but only 3"),
        (header(1, b"\x08\x08\x00\x02\x01\x00\x01\x00"), "metadata tag 1 follows 1"),
        (header(1, b"\x08\x08\x00\x02\x02\x00\x01\x00"), "metadata tag 1 follows 2"),
        (header(1, b"\x08\x08\x00\x01\x00\x00"), "metadata tag 0"),
        (header(1, b"\x08\x08\x00\xff\xff\xff\x7f\x01\x00"), "metadata tag should have 1 byte"),
    ],
)
def test_forged_fields_are_refused(body, pattern):
    assert_refused(seal(body), pattern)


def test_limit_on_declared_size():
    data = pack(dataclasses.replace(PLAIN, width=20000, height=20000))
    assert_refused(data, "20000 x 20000 = 400000000 pixels.*268435456.*max_pixels")
    assert unpack(data, max_pixels=400_000_000).width == 20000
    assert_refused(pack(PLAIN), "max_pixels", max_pixels=768 * 512 - 1)
    assert unpack(pack(PLAIN), max_pixels=768 * 512) == PLAIN
    assert container.MAX_PIXELS == 1 << 28


def test_unknown_metadata_is_kept():
    contents = dataclasses.replace(PLAIN, metadata={200: b"from the future"})
    assert unpack(pack(contents)).metadata == {200: b"from the future"}


@pytest.mark.parametrize(
    "change",
    [
        {"model_id": b"short"},
        {"quality_index": 256},
        {"quality_index": -1},
        {"width": 0},
        {"height": 1 << 28},
        {"metadata": {0: b""}},
        {"metadata": {256: b""}},
    ],
)
def test_pack_refuses_what_the_format_cannot_express(change):
    with pytest.raises(ValueError):
        pack(dataclasses.replace(PLAIN, **change))


def test_accepts_any_bytes_like():
    assert unpack(bytearray(pack(RICH))) == unpack(memoryview(pack(RICH))) == RICH
