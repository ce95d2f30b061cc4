"""Pictures that are no photographs, made by code: flat, noisy, drawn, tiny, long."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont


def _flat(colour: Sequence[int], height: int = 256, width: int = 256) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def _noise(high: int = 256, channels: int = 3, size: int = 256) -> np.ndarray:
    values = np.random.default_rng(0).integers(0, high, (size, size, channels))
    return np.broadcast_to(values, (size, size, 3)).astype(np.uint8)


def _gaussian_noise() -> np.ndarray:
    values = np.random.default_rng(1).normal(128, 20, (256, 256, 3))
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def _checkerboard(side: int, size: int = 256) -> np.ndarray:
    rows, columns = np.mgrid[0:size, 0:size] // side
    return np.repeat(255 * ((rows + columns) % 2)[..., None], 3, -1).astype(np.uint8)


def _gradient(height: int, width: int) -> np.ndarray:
    across = np.linspace(0, 255, width)[None].repeat(height, 0)
    down = np.linspace(0, 255, height)[:, None].repeat(width, 1)
    return np.stack([across, down, 255 - across], -1).round().astype(np.uint8)


def _text() -> np.ndarray:
    picture = Image.new("RGB", (512, 384), "white")
    draw = ImageDraw.Draw(picture)
    words = "The quick brown fox jumps over the lazy dog. 0123456789 (x + y)^2 = x^2 + 2 x y + y^2"
    for line in range(24):
        font = ImageFont.load_default(size=8 + line // 2)
        draw.text((6, 4 + 15 * line), words, "black" if line % 3 else "#0000c0", font)
    return np.asarray(picture)


def _line_art() -> np.ndarray:
    picture = Image.new("RGB", (512, 384), "white")
    draw = ImageDraw.Draw(picture)
    for i in range(24):
        draw.line([(0, 16 * i), (511, 383 - 16 * i)], "black", 1)
        draw.ellipse([256 - 10 * i, 192 - 7 * i, 256 + 10 * i, 192 + 7 * i], outline="#c00000")
        draw.rectangle([20 * i, 300, 20 * i + 10, 370], outline="black", fill="#40a0ff")
    return np.asarray(picture)


def _dot() -> np.ndarray:
    pixels = _flat((0, 0, 0))
    pixels[128, 128] = 255
    return pixels


def _halves() -> np.ndarray:
    pixels = _flat((0, 0, 0))
    pixels[:, 128:] = 255
    return pixels


@dataclasses.dataclass(frozen=True)
class Picture:
    """A made picture: its name, its pixels, and whether the limit of noise holds for it."""

    name: str
    pixels: np.ndarray  # uint8 [H, W, 3]
    noise: bool = False


def pictures() -> list[Picture]:
    """Returns all pictures; the same on every machine but for text, which is Pillow's to draw."""
    strip = _gradient(4000, 64)[:, 32:33]
    return [
        Picture("1 pixel", _flat((200, 30, 90), 1, 1)),
        Picture("strip, 1 wide", strip),
        Picture("strip, 1 high", strip.transpose(1, 0, 2)),
        Picture("strip of noise, 1 wide", _noise(size=64).reshape(-1, 1, 3)[:4000], noise=True),
        Picture("tall gradient", _gradient(2048, 16)),
        Picture("wide gradient", _gradient(16, 2048)),
        Picture("flat grey", _flat((128, 128, 128))),
        Picture("flat black", _flat((0, 0, 0))),
        Picture("flat white", _flat((255, 255, 255))),
        Picture("flat red", _flat((255, 0, 0))),
        Picture("gradient", _gradient(256, 256)),
        Picture("black and white halves", _halves()),
        Picture("white pixel on black", _dot()),
        Picture("checkerboard, 1 pixel", _checkerboard(1)),
        Picture("checkerboard, 8 pixels", _checkerboard(8)),
        Picture("text", _text()),
        Picture("line art", _line_art()),
        Picture("uniform noise", _noise(), noise=True),
        Picture("grey noise", _noise(channels=1), noise=True),
        Picture("black and white noise", 255 * _noise(high=2), noise=True),
        Picture("Gaussian noise, sigma 20", _gaussian_noise(), noise=True),
    ]
