"""How much work a picture is, known from its width and height alone, before anything is decoded.

The networks see whole blocks of 64 x 64 pixels, so a strip is more work than its pixels say: a picture
of n x 2 takes what one of n x 64 takes. Every limit on pixels therefore counts a side below 64 as 64.

Its symbols need bytes, too. However a picture looks, the hyperprior's symbols of a block cost a
model's smallest number of bits, so a stream cannot be much shorter than that: see `least_bytes`.
"""

from __future__ import annotations

from gllmm_tf.config import IMAGE_MULTIPLE, LAYER_STRIDE, ModelConfig

LIVE_MAPS = 9
"""Feature maps as large as a transform's largest one that are alive at once, as measured."""

END_BYTES = 16
"""How far a decoder may read beyond the end of a stream, where it finds zeros.

An encoder leaves out zeros at the end of its last number. To leave out n bytes beyond the first three it
has to end next to a multiple of 2^(8 n) by chance, and no picture has one chance in 2^100.
"""


def counted_pixels(width: int, height: int) -> int:
    """Width x height as limits count them: a side below 64 as 64."""
    return max(width, IMAGE_MULTIPLE) * max(height, IMAGE_MULTIPLE)


def excess(width: int, height: int, limit: int) -> str:
    """What is wrong with a picture of more than `limit` counted pixels; "" if nothing is."""
    counted = counted_pixels(width, height)
    if counted <= limit:
        return ""
    text = f"{width} x {height} = {width * height} pixels"
    if counted != width * height:
        text += f" (counted as {counted}: a side has at least {IMAGE_MULTIPLE})"
    return f"{text}, more than the limit of {limit}"


def blocks(width: int, height: int) -> tuple[int, int]:
    """(rows, columns) of blocks of 64 x 64 pixels, which are the positions of z."""
    return -(-height // IMAGE_MULTIPLE), -(-width // IMAGE_MULTIPLE)


def padded_pixels(width: int, height: int) -> int:
    """Pixels that the networks see."""
    rows, columns = blocks(width, height)
    return rows * columns * IMAGE_MULTIPLE**2


def least_bytes(num_blocks: int, bits_per_block: float) -> int:
    """The shortest that the z stream of so many blocks can be.

    Args:
        num_blocks: Positions of z.
        bits_per_block: What all symbols of a position cost at least (`coding.tables.least_bits`).
    """
    return max(0, int(num_blocks * bits_per_block / 8) - END_BYTES)


def picture_bytes(num_filters: int, width: int, height: int) -> int:
    """Memory that coding a picture takes beside a tile of the networks, about.

    The pixels, twice, and per sample of y what is alive of it at once: float32 and float64 integers, phi,
    and what the positions need in the order of coding.
    """
    per_latent = 24 * num_filters + 64
    return padded_pixels(width, height) * 6 + padded_pixels(width, height) // 256 * per_latent


def layer_bytes(config: ModelConfig, width: int, height: int) -> int:
    """Memory that an enhancement layer's latent takes beside that, about.

    An encoder holds it before and after its gain and its rounding, and beside y; as measured.
    """
    return padded_pixels(width, height) // LAYER_STRIDE**2 * 32 * config.num_filters


def tile_bytes(config: ModelConfig, width: int, height: int, length: int) -> int:
    """Memory that g_a and g_s take for a tile of `length` pixels on a picture's longer side, about."""
    rows, columns = blocks(width, height)
    length = min(-(-length // IMAGE_MULTIPLE), max(rows, columns))
    return min(rows, columns) * length * IMAGE_MULTIPLE**2 * tile_bytes_per_pixel(config)


def tile_bytes_per_pixel(config: ModelConfig) -> int:
    """Bytes per pixel of a tile: `LIVE_MAPS` feature maps as large as the largest, float32."""
    n = config.num_filters
    widths = [*(config.trunk_widths or (n, n, n)), n]
    return int(4 * LIVE_MAPS * max(3, *(w / 4 ** (i + 1) for i, w in enumerate(widths))))


def need(
    config: ModelConfig, width: int, height: int, tile: int = 0, layer: ModelConfig | None = None
) -> tuple[int, int, int]:
    """Memory that coding a picture takes, in bytes, about.

    Args:
        config: Of the model.
        width, height: Of the picture in pixels.
        tile: Length of a tile in pixels; 0 if it may be chosen.
        layer: Of an enhancement layer upon the model; None for none.

    Returns:
        (whatever the tile, for the smallest tile, for a tile that is the whole picture).
    """
    return (
        picture_bytes(config.num_filters, width, height)
        + (layer_bytes(layer, width, height) if layer else 0),
        tile_bytes(config, width, height, tile or 1),
        tile_bytes(config, width, height, tile or padded_pixels(width, height)),
    )
