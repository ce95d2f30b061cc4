"""`.gllmm` files in Pillow: after `gllmm_tf.register_pillow()`, `Image.open` and `Image.save` know them.

    image = Image.open("photo.gllmm")             # reads the header alone
    image.load()                                  # loads the codec, once, and decodes
    image.save("again.gllmm", quality=5.5)        # 1 to 12, the scale of gllmm_tf

Errors are those that programs expect of Pillow, with the line that gllmm_tf has for them:
`UnidentifiedImageError` from `Image.open`, `OSError` from `load` and `verify`, `ValueError` from `save` for
an argument that cannot be used, `MemoryError`.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Collection, Iterator
from typing import IO, Any, BinaryIO, cast

from PIL import Image, ImageFile, UnidentifiedImageError

import gllmm_tf
from gllmm_tf.errors import FormatError, GllmmError, OutOfMemoryError
from gllmm_tf.files import container, header, images, metadata
from gllmm_tf.zoo import registry

FORMAT = "GLLMM"
EXTENSION = ".gllmm"
MIME_TYPE = "image/x-gllmm"

_EXIF = b"Exif\x00\x00"
_INFO = {
    "icc_profile": (container.TAG_ICC, b""),
    "exif": (container.TAG_EXIF, _EXIF),
    "xmp": (container.TAG_XMP, b""),
}
"""{name in `Image.info`: (tag, what Pillow has before the content)}."""

_NO_LIMIT = 1 << 60  # of pixels: Pillow has its own, which it checks before
_codecs: dict[str, Any] = {}
_codecs_lock = threading.Lock()


def register_pillow() -> None:
    """Teaches Pillow the format, in this process; a second call changes nothing."""
    Image.register_open(FORMAT, GllmmImageFile, lambda start: start.startswith(container.MAGIC))
    Image.register_decoder(FORMAT, _Decoder)
    Image.register_save(FORMAT, _save)
    Image.register_extension(FORMAT, EXTENSION)
    Image.register_mime(FORMAT, MIME_TYPE)


class GllmmImageFile(ImageFile.ImageFile):
    """A `.gllmm` file that `Image.open` has opened.

    `mode` is RGB, RGBA for a file with alpha, L or LA for a grey picture. `info` has `quality` (1 for a
    model of fixed rate), `model` (the identity, in hexadecimal) and, where the file has them,
    `icc_profile`, `exif` and `xmp`.
    """

    format = FORMAT
    format_description = "gllmm_tf, learned image compression"

    def _open(self) -> None:
        with _errors_of_pillow(self.filename, UnidentifiedImageError):
            file = cast(BinaryIO, self.fp)
            found = header.read_header(file)
            for name, (tag, start) in _INFO.items():
                payload = header.read_payload(file, found, tag)
                if payload is not None:
                    self.info[name] = start + metadata.unpack_bytes(tag, payload)
        self._mode = _mode_of(found.metadata)
        self._size = found.width, found.height
        self.info["quality"] = registry.quality_of(found.model_id, found.quality_index)
        self.info["model"] = found.model_id.hex()
        # A plain tuple: its type has a private name in Pillow, and older ones have no type for it.
        tile = FORMAT, (0, 0, *self._size), 0, (self.filename,)
        self.tile = [tile]  # type: ignore[list-item]

    def verify(self) -> None:
        """Compares the file with its checksum, without decoding it; afterwards open it anew."""
        if self.fp is None:
            raise RuntimeError("verify must be called directly after open")
        with _errors_of_pillow(self.filename, OSError):
            self.fp.seek(0)
            container.unpack(self.fp.read(), _NO_LIMIT)
        if self._exclusive_fp:
            self.fp.close()
        self.fp = None


class _Decoder(ImageFile.PyDecoder):
    """Decodes a whole file, as `GllmmImageFile.load` asks for it."""

    _pulls_fd = True

    def decode(self, buffer: Any) -> tuple[int, int]:
        del buffer  # Pillow hands over the file instead
        with _errors_of_pillow(self.args[0], OSError):
            data = cast(BinaryIO, self.fd).read()
            contents = container.unpack(data, _NO_LIMIT)
            size = contents.width, contents.height
            codec = _codec(registry.find_model(contents.model_id))
            decoded = codec.decode(data, max_pixels=_NO_LIMIT)
            image = Image.fromarray(decoded.image)
            if _mode_of(decoded.metadata)[0] == "L":
                image = image.getchannel(0)
            if container.TAG_ALPHA in decoded.metadata:
                image.putalpha(metadata.unpack_alpha(decoded.metadata[container.TAG_ALPHA], size))
            if (image.mode, size) != (self.mode, (self.state.xsize, self.state.ysize)):
                raise FormatError("changed since it was opened; open it again")
        self.set_as_raw(image.tobytes())
        return -1, 0


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """What `Image.save` calls; its further arguments are in `image.encoderinfo`."""
    del filename  # Pillow's messages do not name it either
    given = getattr(image, "encoderinfo", {})
    if given.get("icc_profile", image.info.get("icc_profile")) != image.info.get("icc_profile"):
        image = image.copy()
        image.info["icc_profile"] = given["icc_profile"]
    exif = given.get("exif")
    exif = exif.tobytes() if isinstance(exif, Image.Exif) else exif
    exif = exif[len(_EXIF) :] if exif and exif.startswith(_EXIF) else exif
    with _errors_of_pillow(None, OSError, for_arguments=ValueError):
        picture = images.to_picture(image, exif, given.get("xmp"))
        codec = _codec(given.get("model") or registry.DEFAULT_ALIAS)
        data = codec.encode(
            picture.pixels,
            given.get("quality"),
            metadata=picture.metadata,
            refine=given.get("refine", 0),
        ).data
    if picture.note:
        warnings.warn(f"gllmm_tf: {picture.note}", stacklevel=3)
    file.write(data)


def _mode_of(tags: Collection[int]) -> str:
    """Pillow's mode of a file with these metadata."""
    # A profile for RGB belongs to RGB pixels.
    grey = container.TAG_GREY in tags and container.TAG_ICC not in tags
    return ("L" if grey else "RGB") + ("A" if container.TAG_ALPHA in tags else "")


def _codec(name: Any) -> Any:
    """The codec of a model, loaded once."""
    with _codecs_lock:
        key = str(name)
        if key not in _codecs:
            _codecs[key] = gllmm_tf.Codec.load(name)
        return _codecs[key]


@contextlib.contextmanager
def _errors_of_pillow(
    name: str | bytes | None, kind: type[Exception], for_arguments: type[Exception] | None = None
) -> Iterator[None]:
    """Turns errors of gllmm_tf into Pillow's, with their line.

    Args:
        name: Of the file, where it has one.
        kind: The error.
        for_arguments: The error where an argument is at fault.
    """
    try:
        yield
    except OutOfMemoryError:
        raise  # a MemoryError
    except GllmmError as error:
        kind = for_arguments if for_arguments and error.argument else kind
        shown = name.decode(errors="backslashreplace") if isinstance(name, bytes) else name
        raise kind(f"{shown}: {error}" if shown else str(error)) from error
