"""The codecs that the experiments compare: picture to the bytes of a file, and back.

Codecs, each configured for the best PSNR per bit that it offers at ordinary speed, but for
jpeg2000-pillow:

    jpeg             Pillow, 4:2:0, optimised Huffman tables, baseline; setting: quality
    jpeg2000         Pillow (OpenJPEG), 9/7 wavelet and colour transform; setting: compression ratio
    jpeg2000-pillow  Pillow's defaults: reversible 5/3 wavelet, no colour transform; setting:
                     compression ratio
    webp             Pillow, method 6; setting: quality
    avif             Pillow (libaom), 4:4:4, speed 4, tuned for PSNR; setting: quality
    jpegxl           imagecodecs (libjxl), effort 7; setting: Butteraugli distance. It serves the
                     eye, not PSNR, and has no mode that does
    heif             pillow-heif (x265), 4:4:4; setting: quality. imagecodecs would do as well where
                     it was built with HEIF, which its wheels are not
    ours             gllmm_tf.Codec; setting: quality, or the model's name where the rate is fixed,
                     followed by "@" and the identity of the model
"""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, features

from experiments.common.program import ExperimentError


@dataclasses.dataclass(frozen=True)
class Coder:
    """A codec under test.

    Attributes:
        name: as in the column `codec`.
        settings: default settings, as in the column `setting`.
        encode: (uint8 [H, W, 3], setting) -> bytes of a complete file.
        decode: (bytes, setting) -> uint8 [H, W, 3].
        prepare: called with a picture before the first timed call for its size; compiled graphs are
            not part of a codec's speed.
        tag: what a setting that the user names has behind it in the column `setting`.
    """

    name: str
    settings: tuple[str, ...]
    encode: Callable[[np.ndarray, str], bytes]
    decode: Callable[[bytes, str], np.ndarray]
    prepare: Callable[[np.ndarray], None] = lambda image: None
    tag: Callable[[str], str] = lambda setting: ""


# Conventional codecs --------------------------------------------------------------------------

JPEG2000_RATIOS = "400 240 160 120 80 60 40 30 20 15 10"  # 24 bits per pixel over the rate


def _pillow_coder(
    name: str, pillow_format: str, settings: str, options: Callable[[str], dict]
) -> Coder:
    """Returns a codec of Pillow; `options` maps a setting to the arguments of `Image.save`."""

    def encode(image: np.ndarray, setting: str) -> bytes:
        file = io.BytesIO()
        Image.fromarray(image).save(file, pillow_format, **options(setting))
        return file.getvalue()

    def decode(data: bytes, setting: str) -> np.ndarray:
        del setting  # the file says all
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    return Coder(name, tuple(settings.split()), encode, decode)


def jpeg_coder() -> Coder:
    """Returns JPEG: 4:2:0, optimised Huffman tables, baseline."""
    return _pillow_coder(
        "jpeg",
        "JPEG",
        "5 10 15 20 30 40 50 60 70 80 85 90 95",
        lambda setting: {
            "quality": int(setting),
            "subsampling": "4:2:0",
            "optimize": True,
            "progressive": False,
        },
    )


def jpeg2000_coder() -> Coder:
    """Returns JPEG 2000 at a compression ratio, as its published curve was measured."""
    return _pillow_coder(
        "jpeg2000",
        "JPEG2000",
        JPEG2000_RATIOS,
        lambda setting: {
            "quality_mode": "rates",
            "quality_layers": [float(setting)],
            "irreversible": True,
            "mct": 1,
        },
    )


def jpeg2000_pillow_coder() -> Coder:
    """Returns JPEG 2000 at a compression ratio with Pillow's defaults for everything else."""
    return _pillow_coder(
        "jpeg2000-pillow",
        "JPEG2000",
        JPEG2000_RATIOS,
        lambda setting: {"quality_mode": "rates", "quality_layers": [float(setting)]},
    )


def webp_coder() -> Coder:
    """Returns lossy WebP at its slowest method."""
    return _pillow_coder(
        "webp",
        "WEBP",
        "0 5 10 20 30 40 50 60 70 80 85 90 95",
        lambda setting: {"quality": int(setting), "method": 6},
    )


def avif_coder() -> Coder:
    """Returns AVIF by libaom, 4:4:4 and tuned for PSNR, which is what we measure."""
    if not features.check("avif"):
        raise ExperimentError("This Pillow has no AVIF; install Pillow 11.3 or later.")
    return _pillow_coder(
        "avif",
        "AVIF",
        "5 10 15 20 25 30 40 50 60 70 80",
        lambda setting: {
            "quality": int(setting),
            "subsampling": "4:4:4",
            "speed": 4,
            "codec": "aom",
            "advanced": {"tune": "psnr"},
        },
    )


def jpegxl_coder() -> Coder:
    """Returns lossy JPEG XL at a Butteraugli distance."""
    try:
        import imagecodecs
    except ImportError:
        raise ExperimentError("JPEG XL needs imagecodecs: pip install imagecodecs") from None
    if not imagecodecs.JPEGXL.available:
        raise ExperimentError("This imagecodecs has no JPEG XL: pip install -U imagecodecs")
    return Coder(
        "jpegxl",
        ("25", "18", "13", "9", "7", "5", "4", "3", "2", "1.5", "1"),
        lambda image, setting: bytes(
            imagecodecs.jpegxl_encode(image, distance=float(setting), effort=7)
        ),
        lambda data, setting: np.asarray(imagecodecs.jpegxl_decode(data)),
    )


def heif_coder() -> Coder:
    """Returns HEIF (HEVC intra by x265), 4:4:4."""
    try:
        import pillow_heif
    except ImportError:
        raise ExperimentError("HEIF needs pillow-heif: pip install pillow-heif") from None
    pillow_heif.register_heif_opener()
    return _pillow_coder(
        "heif",
        "HEIF",
        "5 10 15 20 25 30 35 40 45 50",
        lambda setting: {"quality": int(setting), "chroma": 444},
    )


# Learned codec --------------------------------------------------------------------------------


def label_of(codec, name: str | None = None, refine: int = 0) -> str:
    """Returns the name of the curve of one of our models, with what its weights have seen.

    Args:
        codec: of the model.
        name: of the model or of its file; by default that under which its identity is known.
        refine: rounds of refinement of the latents.
    """
    from gllmm_tf.zoo import registry
    from gllmm_tf.zoo.model_info import pixels_of

    known, info = registry.name_of(codec.identity) or _model_name(name), codec.info
    if codec.scale.continuation:
        known = f"{known} and {codec.scale.continuation.name.removeprefix(known)}"
        info = registry.read_model(
            codec.scale.continuation.name
        ).info  # which went on from the lower one
    pixels = pixels_of(info)
    seen = f", {pixels / 1e9:.1f} gigapixels" if pixels else ""
    refined = f", {refine} rounds" if refine else ""
    return f"ours, {known}{seen}{refined}"


def learned_coder(label: str | None, models: Sequence[str | None], refine: int = 0) -> Coder:
    """Returns our codec with one or more models as one curve.

    Args:
        label: name of the curve; None for `label_of` of a single model.
        models: names or paths for `Codec.load`; None is the shipped default. One model of variable
            rate gives a point per half quality, several models of fixed rate a point each.
        refine: rounds of refinement of the latents.

    Raises:
        ExperimentError: for a mixture of the two.
    """
    import gllmm_tf

    codecs = [gllmm_tf.Codec.load(model) for model in models]
    variable = [codec.num_qualities is not None for codec in codecs]
    if any(variable) and len(codecs) > 1:
        raise ExperimentError(
            "Several models make one curve only if each has a fixed rate; run them one by one, "
            "each with its own --label."
        )
    if label is None:
        if len(codecs) > 1:
            raise ExperimentError("Several models make one curve; name it with --label.")
        label = label_of(codecs[0], models[0], refine)
    by_key = {}  # what stands before the "@" of a setting -> codec
    if variable[0]:
        settings = _half_qualities(codecs[0])
    else:
        settings = [_model_name(model) for model in models]
        by_key = dict(zip(settings, codecs))

    def codec_of(setting: str):
        return by_key.get(setting.split("@")[0], codecs[0])

    def quality_of(setting: str) -> float | None:
        return float(setting.split("@")[0]) if variable[0] else None

    def prepare(image: np.ndarray) -> None:
        for codec in codecs:
            qualities = codec.qualities
            for quality in {qualities[0], qualities[-1]} if qualities else {None}:
                codec.decompress(codec.compress(image, quality))

    def tag(setting: str) -> str:
        codec = codec_of(setting)
        if variable[0]:
            codec = codec.codec_of(quality_of(setting))
        return f"@{codec.identity.hex()}" + (f"+{refine}" if refine else "")

    return Coder(
        label,
        tuple(key + tag(key) for key in settings),
        lambda image, setting: codec_of(setting).compress(
            image, quality_of(setting), refine=refine
        ),
        lambda data, setting: codec_of(setting).decompress(data),
        prepare,
        tag,
    )


def _half_qualities(codec) -> list[str]:
    """Returns 1, 1.5, 2, .., the highest quality of a codec of variable rate."""
    lowest, highest = codec.qualities[0], codec.qualities[-1]
    return [f"{half / 2:g}" for half in range(2 * lowest, 2 * highest + 1)]


def _model_name(model: str | None) -> str:
    """Returns a short name for a model given by name or path."""
    return "default" if model is None else os.path.basename(model).removesuffix(".npz")


CONVENTIONAL = {
    "jpeg": jpeg_coder,
    "jpeg2000": jpeg2000_coder,
    "jpeg2000-pillow": jpeg2000_pillow_coder,
    "webp": webp_coder,
    "avif": avif_coder,
    "jpegxl": jpegxl_coder,
    "heif": heif_coder,
}
