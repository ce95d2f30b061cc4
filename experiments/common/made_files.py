"""Picture files made from scratch under a seed, with what a reader should make of them.

Each maker draws a kind of file: sound ones with known pixels, and damaged ones. Nothing is written by
the code that reads them, and for what Pillow cannot write the bytes are put together here.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

LEVELS = 255


class MadeFile(NamedTuple):
    """A file and the right answers to it.

    Attributes:
        kind: Row of the table.
        data: Its bytes.
        pixels: What should be read, 0..255, float [H, W, 3]; None where only refusing is right.
        tolerance: How far a pixel may be from that.
        may_refuse: Whether refusing is right, too.
        any_pixels: Whether the pixels are unknown: damage that no checksum shows.
    """

    kind: str
    data: bytes
    pixels: np.ndarray | None
    tolerance: float = 0.51
    may_refuse: bool = False
    any_pixels: bool = False


def size_of(rng: np.random.Generator) -> tuple[int, int]:
    """(height, width): from one pixel over strips to small pictures."""
    sides = [1, 2, 3, 7, 8, 9, 16, 17, 31, 64, 65, 100]
    return int(rng.choice(sides)), int(rng.choice(sides))


def ramp(rng: np.random.Generator, channels: int) -> np.ndarray:
    """A smooth picture, float64 [H, W, channels] in 0..1."""
    height, width = size_of(rng)
    y, x = np.mgrid[:height, :width] / 100
    phase = rng.random((channels, 3)) * 6
    planes = [(np.sin(3 * y + p[0]) + np.cos(4 * x + p[1]) + np.sin(p[2])) / 6 + 0.5 for p in phase]
    return np.stack(planes, -1).clip(0, 1)


def rgb_of(values: np.ndarray) -> np.ndarray:
    """0..255, [H, W, 3], of grey or RGB values in 0..1."""
    return LEVELS * (values if values.shape[-1] == 3 else values[..., :1].repeat(3, -1))


def chunk(name: bytes, content: bytes, sound: bool = True) -> bytes:
    checksum = zlib.crc32(name + content) ^ (not sound)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def png_bytes(rows: bytes, size, depth, colour_type, before=b"", after=b"") -> bytes:
    header = struct.pack(">IIBBBBB", *size, depth, colour_type, 0, 0, 0)
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), before]
        + [chunk(b"IDAT", zlib.compress(rows)), after, chunk(b"IEND", b"")]
    )


def png(rng: np.random.Generator, before: bytes = b"", after: bytes = b"", curve=None) -> MadeFile:
    """Every colour type and depth but palettes; what is in `before` must not change the pixels."""
    colour_type = int(rng.choice([0, 2, 4, 6]))
    depth = int(rng.choice([1, 2, 4, 8, 16] if colour_type == 0 else [8, 16]))
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    values = ramp(rng, channels)
    if colour_type in (4, 6):
        values[..., -1] = 1  # Opaque.
    top = (1 << depth) - 1
    samples = np.round(values * top).astype(int)
    rows = b"".join(b"\0" + packed(row.ravel(), depth) for row in samples)
    exact = samples / top
    exact = exact[..., :3] if colour_type in (2, 6) else exact[..., :1]
    if curve:
        exact = curve(exact)
    data = png_bytes(rows, samples.shape[1::-1], depth, colour_type, before, after)
    # Of 16-bit colours, Pillow gives the upper bytes, and a curve stretches what was rounded.
    rough = depth == 16 and colour_type != 0
    tolerance = (14 if rough else 0.51) if curve else (1.01 if rough else 0.51)
    return MadeFile("PNG: colour types and depths", data, rgb_of(exact), tolerance)


def packed(samples: np.ndarray, bits: int) -> bytes:
    """Samples of so many bits, the first one in the highest bits."""
    if bits == 16:
        return samples.astype(">u2").tobytes()
    digits = (samples[:, None] >> np.arange(bits - 1, -1, -1) & 1).astype(np.uint8)
    return np.packbits(digits).tobytes()


def png_chunks(rng: np.random.Generator) -> MadeFile:
    """Chunks that are not for the pixels: large, private, damaged, before or behind these."""
    drawn = []
    for _ in range(rng.integers(1, 5)):
        name = bytes(
            rng.choice([b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME", b"pHYs", b"prVt", b"iCCP"])
        )
        size = int(rng.choice([0, 1, 9, 1000, 2_000_000]))
        content = rng.choice([b"", b"Comment\0", b"Comment\0\0"]) + bytes(size)
        drawn.append(chunk(name, bytes(content), sound=bool(rng.random() < 0.7)))
    half = int(rng.integers(len(drawn) + 1))
    made = png(rng, b"".join(drawn[:half]), b"".join(drawn[half:]))
    return made._replace(kind="PNG: chunks that are not for the pixels")


def srgb(linear: np.ndarray) -> np.ndarray:
    return np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)


def png_colour(rng: np.random.Generator) -> MadeFile:
    """A gamma, which is converted, sRGB by any name, which is not, or HDR, which is refused."""
    kind = "PNG: gAMA, sRGB and cICP"
    which = rng.integers(4)
    if which == 0:
        gamma = float(rng.choice([1.0, 1.4, 1.8, 2.6]))
        before = chunk(b"gAMA", struct.pack(">I", round(100000 / gamma)))
        made = png(rng, before, curve=lambda values: srgb(values**gamma))
    elif which == 3:
        transfer = int(rng.choice([16, 18]))
        made = png(rng, chunk(b"cICP", bytes([9, transfer, 0, 1])))._replace(pixels=None)
    else:
        names = [chunk(b"sRGB", b"\0"), chunk(b"gAMA", struct.pack(">I", 45455))]
        made = png(
            rng, names[which - 1] + chunk(b"cICP", bytes([1, 13, 0, 1])) * int(rng.integers(2))
        )
    return made._replace(kind=kind)


def tiff(rng: np.random.Generator) -> MadeFile:
    """Depths, signed and floating-point samples, both orders of bytes, white as 0."""
    order = str(rng.choice(["<", ">"]))
    bits, sample = [(8, 1), (16, 1), (8, 2), (16, 2), (32, 3)][rng.integers(5)]
    channels = 3 if (bits in (8, 16) and sample == 1 and rng.random() < 0.5) else 1
    values = ramp(rng, channels)
    inverted = channels == 1 and sample in (1, 3) and rng.random() < 0.3
    stored = 1 - values if inverted else values
    if sample == 3:
        samples, exact = stored.astype(order + "f4"), values.astype(np.float32)
    else:
        whole = np.round(stored * ((1 << bits) - 1)).astype(int)
        exact = whole / ((1 << bits) - 1)
        exact = 1 - exact if inverted else exact
        whole = whole - ((1 << (bits - 1)) if sample == 2 else 0)
        samples = whole.astype(f"{order}{'i' if sample == 2 else 'u'}{bits // 8}")
    height, width = samples.shape[:2]
    photometric = 2 if channels == 3 else 0 if inverted else 1
    data = tiff_bytes(
        order, samples.tobytes(), (width, height), bits, channels, photometric, sample
    )
    tolerance = 1.01 if channels == 3 and bits == 16 else 0.52
    return MadeFile("TIFF: depths and kinds of samples", data, rgb_of(exact), tolerance)


def tiff_bytes(order, pixels, size, bits, channels, photometric, sample) -> bytes:
    count = 11
    behind = 8 + 2 + 12 * count + 4
    lists = struct.pack(order + "6H", *[bits] * 3, *[sample] * 3)
    several = channels > 1
    entries = [(256, 4, 1, size[0]), (257, 4, 1, size[1]),
               (258, 3, channels, behind if several else bits), (259, 3, 1, 1),
               (262, 3, 1, photometric), (273, 4, 1, behind + 12), (277, 3, 1, channels),
               (278, 4, 1, size[1]), (279, 4, 1, len(pixels)), (284, 3, 1, 1),
               (339, 3, channels, behind + 6 if several else sample)]  # fmt: skip
    data = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, count)
    for tag, kind, number, value in entries:
        short = kind == 3 and number == 1
        place = struct.pack(order + ("HH" if short else "I"), *([value, 0] if short else [value]))
        data += struct.pack(order + "HHI", tag, kind, number) + place
    return data + bytes(4) + lists + pixels


def ppm(rng: np.random.Generator) -> MadeFile:
    """PPM, PGM and PBM as text and as bytes with any largest value, and PFM."""
    kind = "PPM and PFM"
    which = int(rng.choice([1, 2, 3, 4, 5, 6, 7]))
    values = ramp(rng, 3 if which in (3, 6) or (which == 7 and rng.random() < 0.5) else 1)
    height, width, channels = values.shape
    if which == 7:
        order = "<" if rng.random() < 0.5 else ">"
        header = (
            f"{'PF' if channels == 3 else 'Pf'}\n{width} {height}\n{'-' if order == '<' else ''}1\n"
        )
        data = header.encode() + values[::-1].astype(order + "f4").tobytes()
        return MadeFile(kind, data, rgb_of(values.astype(np.float32)))
    top = 1 if which in (1, 4) else int(rng.choice([1, 3, 100, 255, 256, 1000, 65535]))
    samples = np.round(values * top).astype(int)
    header = f"P{which}\n# made\n{width} {height}\n" + (f"{top}\n" if which not in (1, 4) else "")
    stored = 1 - samples if which in (1, 4) else samples  # There 1 is black.
    if which <= 3:
        data = header.encode() + " ".join(map(str, stored.ravel())).encode() + b"\n"
    elif which == 4:
        data = header.encode() + b"".join(packed(row.ravel(), 1) for row in stored)
    else:
        data = header.encode() + stored.astype(">u2" if top > 255 else np.uint8).tobytes()
    return MadeFile(kind, data, rgb_of(samples / top), 1.01)


def by_pillow(rng: np.random.Generator) -> MadeFile:
    """What Pillow writes, in any mode of any format, turned by EXIF data where there may be some."""
    modes = {"PNG": "1 L LA P RGB RGBA", "TIFF": "1 L LA P RGB RGBA CMYK", "BMP": "1 L P RGB",
             "GIF": "1 L P RGB", "WEBP": "RGB RGBA", "JPEG": "L RGB CMYK"}  # fmt: skip
    file_format = str(rng.choice(list(modes)))
    mode = str(rng.choice(modes[file_format].split()))
    image = Image.fromarray(np.round(rgb_of(ramp(rng, 3))).astype(np.uint8)).convert(mode)
    options = {"WEBP": {"lossless": True}, "JPEG": {"progressive": bool(rng.integers(2))}}
    saved = dict(options.get(file_format, {}))
    stored = written(image, file_format, **saved)
    with Image.open(io.BytesIO(stored)) as again:
        pixels = np.asarray(again.convert("RGBA" if "A" in mode else "RGB"), float)[..., :3]
    turn = int(rng.integers(1, 9)) if file_format in ("PNG", "JPEG", "WEBP", "TIFF") else 1
    exif = Image.Exif()
    exif[0x0112] = turn
    data = written(image, file_format, exif=exif, **saved) if turn > 1 else stored
    if file_format == "JPEG" and rng.random() < 0.3:
        data = data[:-2]  # The mark of its end.
    return MadeFile(
        "all formats as Pillow writes them, turned by EXIF", data, turned(pixels, turn), 1.01
    )


def written(image: Image.Image, file_format: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """A stored picture as EXIF's orientation wants it to be seen."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return pixels[rows, columns]


SOUND: tuple[Callable[[np.random.Generator], MadeFile], ...] = (
    png,
    png_chunks,
    png_colour,
    tiff,
    ppm,
    by_pillow,
)


def cut_short(rng: np.random.Generator) -> MadeFile:
    """Any sound file without its end: refused, unless every pixel is there."""
    made = SOUND[rng.integers(len(SOUND))](rng)
    data = made.data[: rng.integers(len(made.data))]
    return made._replace(kind="cut short", data=data, may_refuse=True)


def changed(rng: np.random.Generator) -> MadeFile:
    """Any sound file with a few bytes changed, which no checksum need show: any answer, but an answer."""
    made = SOUND[rng.integers(len(SOUND))](rng)
    data = bytearray(made.data)
    near = len(data) if rng.random() < 0.5 else min(len(data), 80)
    for at in rng.integers(0, near, rng.integers(1, 6)):
        data[at] = rng.integers(256)
    return made._replace(kind="bytes changed", data=bytes(data), may_refuse=True, any_pixels=True)


def no_picture(rng: np.random.Generator) -> MadeFile:
    """Other files, noise, and beginnings of pictures with noise behind them."""
    starts = [b"", b"<!DOCTYPE html><html>", b"<?xml?><svg>", b"%PDF-1.7\n", b"PK\3\4", b"\x1f\x8b\x08",
              b"8BPS", b"hello, world\n", b"\0\0\0\x18ftypheic", b"\0\0\0\x18ftypavif", b"\xff\x0a",
              b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"II*\0", b"MM\0*", b"RIFF\0\0\0\0WEBP", b"BM",
              b"GIF89a", b"P6 9 9 255 ", b"PF\n9 9\n1\n", b"\x89GLM\1"]  # fmt: skip
    data = bytes(starts[rng.integers(len(starts))]) + rng.bytes(int(rng.choice([0, 1, 9, 60])))
    return MadeFile("no pictures", data, None)


def huge(rng: np.random.Generator) -> MadeFile:
    """Small files that declare up to 2^31 pixels a side."""
    width, height = (int(2 ** rng.uniform(14.5, 31)) - 1 for _ in range(2))
    which = rng.integers(4)
    if which == 0:
        data = png_bytes(bytes(9), (width, height), 8, 2)
    elif which == 1:
        data = tiff_bytes("<", bytes(99), (width, height), 8, 3, 2, 1)
    elif which == 2:
        data = b"BM" + struct.pack("<IIIIiiHHIIiiII", 99, 0, 54, 40, width, height, 1, 24, *[0] * 6)
    else:
        data = b"P%c\n%d %d\n1\n" % (rng.choice([*b"56Ff"]), width, height) + bytes(9)
    return MadeFile("huge sizes declared", data, None)


MAKERS = (*SOUND, cut_short, changed, no_picture, huge)


def made_file(seed: int, number: int) -> MadeFile:
    """File `number` of a seed; kinds take turns."""
    rng = np.random.default_rng([seed, number])
    return MAKERS[number % len(MAKERS)](rng)
