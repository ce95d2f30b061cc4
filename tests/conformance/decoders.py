"""Decoders that `check.py` can run: ours, and the one in plain Python.

    python tests/conformance/decoders.py NAME FILE.gllmm MODEL.npz FOLDER [BASE.npz]

NAME is portable (NumPy and onnxruntime), tensorflow or plain. It writes what README.md says into FOLDER; a
file that it refuses ends with status 1 and a line.
"""

from __future__ import annotations

import functools
import os
import sys
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TABLES = os.path.join(ROOT, "gllmm_tf", "coding", "tables_v1.npz")
sys.path[:0] = [path for path in (HERE, ROOT) if path not in sys.path]


COMPRESSED = {1: "profile.icc", 4: "exif.bin", 5: "xmp.bin"}
"""Metadata that are compressed, and the files that they go to."""


class Refused(Exception):
    """The decoder does not accept the file."""


def decode(name: str, path: str, model: str, folder: str, base: str = "", **settings: int) -> None:
    """Decodes a file and writes symbols, pixels, profile and alpha.

    Args:
        name: Of `DECODERS`.
        path, model: The file and its model file.
        folder: Where the results go.
        base: The model file below an enhancement layer.
        **settings: Of the codec: `tile`; for "plain": `pictures`, 0 for symbols alone.

    Raises:
        Refused: the decoder does not accept the file.
    """
    with open(path, "rb") as file:
        data = file.read()
    for part, content in DECODERS[name](data, model, base, **settings).items():
        with open(os.path.join(folder, part), "wb") as file:
            file.write(content)


def _plain(data, model, base, pictures=1):
    import plain_decoder
    import plain_file
    import plain_pixels

    try:
        file = plain_decoder.File(data)
        loaded = plain_decoder.Model(model)
        below = plain_decoder.Model(base) if base else None
        tables = plain_decoder.read_tables(TABLES)
        latents = plain_decoder.decode(file, loaded, tables, base=below)
    except plain_file.Refused as error:
        raise Refused(error) from None
    found = {f"{key}.i32": plain_decoder.to_bytes(v) for key, v in zip("zyr", latents)}
    if pictures:
        x_hat = plain_pixels.synthesise(latents, file, loaded, below)
        found["picture.rgb"] = plain_pixels.picture(x_hat, file)
    for tag, name in COMPRESSED.items():
        if tag in file.metadata:
            found[name] = zlib.decompress(file.metadata[tag])
    return found


def _portable(data, model, base, **settings):
    return _decode(_codec("portable", model, base, **settings), data)


def _tensorflow(data, model, base, **settings):
    return _decode(_codec("tensorflow", model, base, **settings), data)


@functools.cache
def _codec(name, model, base="", **settings):
    import gllmm_tf
    from gllmm_tf.zoo.model_file import ModelFile

    if base:
        settings["base"] = _codec(name, base, **settings)
    return gllmm_tf.Codec.of(ModelFile.read(model), backend=name, **settings)


def _decode(codec, data):
    from gllmm_tf.codec import layered
    from gllmm_tf.errors import GllmmError
    from gllmm_tf.files import container, metadata

    try:
        decoded = codec.decode(data)
        latents = [decoded.latents.z_hat, decoded.latents.y_hat]
        if codec.base:
            latents[1:] = layered.apart(latents[1], codec.base.config.num_filters)
        found = {f"{key}.i32": v.astype("<i4").tobytes() for key, v in zip("zyr", latents)}
        found["picture.rgb"] = decoded.image.tobytes()
        for tag, name in COMPRESSED.items():
            if tag in decoded.metadata:
                found[name] = metadata.unpack_bytes(tag, decoded.metadata[tag])
        if container.TAG_ALPHA in decoded.metadata:
            size = decoded.image.shape[1], decoded.image.shape[0]
            alpha = metadata.unpack_alpha(decoded.metadata[container.TAG_ALPHA], size)
            found["alpha.gray"] = alpha.tobytes()
        return found
    except GllmmError as error:
        raise Refused(error) from None


DECODERS = {"plain": _plain, "portable": _portable, "tensorflow": _tensorflow}

if __name__ == "__main__":
    try:
        decode(*sys.argv[1:])
    except Refused as error:
        sys.exit(f"{sys.argv[2]}: {error}")
