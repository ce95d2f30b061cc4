"""Makes the conformance files of `tests/conformance`: models, compressed files, pictures, the list of all.

    python -m experiments.tools.make_conformance tests/conformance

Files that were released stay: run it to add some, and look at what `git status` says about the others. Zip
and PNG files may differ with the versions of libraries; what is in them does not. Minutes: symbols and
pixels are those of the slow decoder in plain Python.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import struct
import sys
import zlib

import numpy as np
from absl import flags
from PIL import Image, ImageCms

from experiments.common import places, program
from experiments.tools import conformance_models
from gllmm_tf.codec import layered
from gllmm_tf.coding.streams import Coder
from gllmm_tf.config import HYPER_STRIDE, IMAGE_MULTIPLE
from gllmm_tf.files import container
from gllmm_tf.files.metadata import pack_alpha, pack_bytes
from gllmm_tf.portable.codec import PortableCodec
from gllmm_tf.portable.latent_coder import LatentCoder
from gllmm_tf.portable.range_coder import SymbolTable
from gllmm_tf.zoo.model_file import ModelFile

EXIF = bytes.fromhex("49492a0008000000 0100 1201 0300 01000000 01000000 00000000")  # orientation 1
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
RELEASED = "gllmm-n48"  # the model of the photograph
PACKED = ("apart",)  # models whose files hold fewer bytes
WEIGHTS = f"../../gllmm_tf/zoo/weights/{RELEASED}.npz"


@dataclasses.dataclass(frozen=True)
class Case:
    """A file with drawn latents.

    Attributes:
        about: What it is for.
        model: Name in `conformance_models.RECIPES`.
        size: (width, height) of the picture.
        index: Quality index.
        spread: Standard deviations of y, taken in turn by the channels; 0 leaves a channel empty.
        far: Integers of y that are put somewhere.
        z_spread: Standard deviation of z; 0 for the first symbol of every row.
        z_far: Integers of z that are put somewhere.
        metadata: Tags.
        has_picture: Whether the picture is compared; where y is far beyond what any encoder finds,
            float32 overflows in g_s, and pixels mean nothing.
        seed: Of the draw.
    """

    about: str
    model: str
    size: tuple[int, int]
    index: int = 0
    spread: tuple[float, ...] = (1.0, 3.0, 0.3)
    far: tuple[int, ...] = ()
    z_spread: float = 2.0
    z_far: tuple[int, ...] = ()
    metadata: tuple[int, ...] = ()
    has_picture: bool = True
    seed: int = 0


CASES = {
    "blocks": Case("one whole block, three families, lowest quality", "three", (64, 64)),
    "highest": Case("highest quality, two blocks", "three", (128, 50), 32, spread=(1.0, 3.0)),
    "far": Case(
        "distances up to 2^20 and contexts beyond their limit, a quality half-way between two",
        "three",
        (45, 70),
        24,
        spread=(1.0, 0.0, 10.0, 40.0),
        far=(70000, -123456, 2**20 + 77, 33, -9, -2000000),
        z_far=(-70000, 40000, 2**27),
        has_picture=False,
    ),
    "nothing": Case(
        "all channels of y empty, z the first symbol of every row: two streams without bytes",
        "three",
        (200, 9),
        8,
        spread=(0.0,),
        z_spread=0.0,
    ),
    "metadata": Case(
        "all assigned tags but grey, two unassigned ones, one without bytes and one of three-byte length",
        "three",
        (37, 51),
        5,
        metadata=(1, 2, 4, 5, 200, 255),
    ),
    "grey": Case("a grey picture", "cheng", (20, 30), spread=(1.5, 0.5), metadata=(3,)),
    "one_family": Case(
        "one family, fixed rate, trunk widths, three stages, shifts by negative numbers",
        "one",
        (33, 65),
    ),
    "limits": Case(
        "contexts, activations and parameters at their limits",
        "one",
        (16, 80),
        far=(500, -40000, 2**24, 30000),
        has_picture=False,
    ),
    "apart": Case(
        "other channels of z, channels of y that pass the deepest blocks by, a packed model",
        "apart",
        (70, 40),
        9,
        spread=(1.0, 2.0, 0.5),
    ),
    "cheng2020": Case("the other system: three Gaussians", "cheng", (100, 64), spread=(0.5, 0.0)),
    "tiles": Case(
        "five blocks long: for decoders that work in tiles", "cheng", (320, 16), spread=(2.0, 0.7)
    ),
    "one_pixel": Case("one pixel; the annotated example", "two", (1, 1), 7, seed=4),
    "escapes": Case(
        "half of the symbols of z escape, a size of exactly 2^16 in the range coder",
        "two",
        (129, 65),
        16,
        z_spread=9.0,
        z_far=(2**27, -(2**27), 65536),
    ),
    "row": Case("one row of 2 x 193 pixels", "two", (193, 2), 0, spread=(0.4,)),
    "layer": Case("an enhancement layer", "layer", (75, 60), 6, spread=(1.5, 0.4, 0.0, 0.8)),
}

BROKEN = {
    "empty": "magic",
    "magic": "magic",
    "version": "format version",
    "short": "checksum",
    "checksum": "checksum",
    "flag": "flags",
    "no_width": "size",
    "too_large": "size",
    "long_varint": "varint",
    "five_byte_varint": "varint",
    "z_length": "length",
    "no_metadata": "metadata",
    "tags": "tags",
    "metadata_length": "length",
    "other_model": "model",
    "quality": "quality index",
    "z_longer": "end of a stream",
    "z_cut": "end of a stream",
    "y_longer": "end of a stream",
}
"""{name: what a reader refuses it for}."""


def draw_latents(case: Case, model_file: ModelFile) -> tuple[np.ndarray, np.ndarray]:
    """y_hat [h, w, N] and z_hat [h / 4, w / 4, Z], int32; of an enhancement layer `layered.beside`."""
    if model_file.config.base:
        below = conformance_models.draw(conformance_models.RECIPES[case.model].base)
        y, z = draw_latents(case, below)
        rng = np.random.default_rng(case.seed)
        shape = 4 * y.shape[0], 4 * y.shape[1], model_file.config.num_filters
        r = np.round(rng.laplace(size=shape) * np.resize(case.spread, shape[2]) / np.sqrt(2))
        return layered.beside(y, r).astype(np.int32), z
    rng = np.random.default_rng([case.seed, *case.size])
    n, z_filters = model_file.config.num_filters, model_file.config.z_filters
    columns, rows = (-(-side // IMAGE_MULTIPLE) for side in case.size)
    spread = np.resize(case.spread, n)
    shape = HYPER_STRIDE * rows, HYPER_STRIDE * columns, n
    y = np.round(rng.laplace(size=shape) * spread / np.sqrt(2))
    (used,) = np.nonzero(spread)
    if case.far:
        places_of = rng.choice(y[..., used].size, len(case.far), replace=False)
        part = y[..., used]
        part.flat[places_of] = case.far
        y[..., used] = part
    z = np.round(rng.normal(size=(rows, columns, z_filters)) * case.z_spread)
    z.flat[rng.choice(z.size, len(case.z_far), replace=False)] = case.z_far
    offset = model_file.exact["z/offset"]
    if not case.z_spread:
        z[:] = offset
    for channel, row in enumerate(SymbolTable(model_file.exact["z/cdf"]).rows):
        for symbol in np.nonzero(np.diff(row) == 0)[0]:  # has no probability: cannot be written
            part = z[..., channel]
            part[part == symbol + offset[channel]] += 1
    return y.astype(np.int32), z.astype(np.int32)


def payloads(tags: tuple[int, ...], size: tuple[int, int]) -> dict[int, bytes]:
    """A payload for each tag: what is assigned is valid."""
    width, height = size
    made = {
        container.TAG_GREY: b"",
        container.TAG_EXIF: pack_bytes(EXIF),
        container.TAG_XMP: pack_bytes(XMP),
        200: b"",
        255: bytes(range(256)) * 65,
    }
    if container.TAG_ICC in tags:
        profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
        profile[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)  # the date of its making
        made[container.TAG_ICC] = pack_bytes(bytes(profile))
    if container.TAG_ALPHA in tags:
        slope = np.add.outer(3 * np.arange(height), 2 * np.arange(width)) % 256
        made[container.TAG_ALPHA] = pack_alpha(Image.fromarray(slope.astype(np.uint8)))
    return {tag: made[tag] for tag in tags}


def drawn_file(case: Case, model_file: ModelFile) -> bytes:
    """The compressed file of a case."""
    y, z = draw_latents(case, model_file)
    coder: Coder = LatentCoder(model_file)
    if model_file.config.base:
        below = conformance_models.draw(conformance_models.RECIPES[case.model].base)
        coder = layered.LayeredCoder(coder, LatentCoder(below))
    streams = coder.encode(y, z, case.index)
    width, height = case.size
    parts = container.Container(
        model_file.identity,
        width,
        height,
        case.index,
        streams.z,
        streams.y,
        payloads(case.metadata, case.size),
    )
    return container.pack(parts)


def photograph() -> bytes:
    """A real picture's file, by the released model."""
    path = os.path.join(places.ROOT, "assets", "friends.png")
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB").resize((288, 192), Image.Resampling.LANCZOS))
    codec = PortableCodec.load(RELEASED)
    return codec.compress(np.ascontiguousarray(pixels[60:123, 100:160]), 3.5)


def broken_files(good: bytes) -> dict[str, bytes]:
    """{name: bytes} of files that readers refuse, from a file without metadata of less than 128 x 128."""
    body = good[:-4]
    parts = container.unpack(good)
    streams = parts.z_stream + parts.y_stream

    def seal(body):
        return body + struct.pack("<I", zlib.crc32(body))

    def fields(z_length=None, metadata=b"", flags=0, size=body[15:17]):
        z_length = len(parts.z_stream) if z_length is None else z_length
        head = body[:5] + bytes([flags]) + body[6:15] + size
        return seal(head + bytes([z_length]) + metadata + streams)

    def with_streams(z=parts.z_stream, y=parts.y_stream):
        return container.pack(dataclasses.replace(parts, z_stream=z, y_stream=y))

    return {
        "empty": b"",
        "magic": seal(b"\x89GLX" + body[4:]),
        "version": seal(body[:4] + b"\x02" + body[5:]),
        "short": good[:21],
        "checksum": good[:-1] + bytes([good[-1] ^ 1]),
        "flag": fields(flags=2),
        "no_width": fields(size=b"\x00" + body[16:17]),
        "too_large": fields(size=b"\xff\xff\xff\x7f\x02"),
        "long_varint": fields(size=bytes([body[15] | 128, 0]) + body[16:17]),
        "five_byte_varint": fields(size=b"\x80\x80\x80\x80\x01" + body[16:17]),
        "z_length": fields(z_length=127),
        "no_metadata": fields(flags=1, metadata=b"\x00"),
        "tags": fields(flags=1, metadata=b"\x02\x05\x00\x05\x00"),
        "metadata_length": fields(flags=1, metadata=b"\x01\x09\x7f"),
        "other_model": seal(body[:7] + bytes([body[7] ^ 1]) + body[8:]),
        "quality": seal(body[:6] + b"\xff" + body[7:]),
        "z_longer": with_streams(z=parts.z_stream + b"\x01\x00\x00"),
        "z_cut": with_streams(z=parts.z_stream[:-1]),
        "y_longer": with_streams(y=parts.y_stream + b"\x01\x00\x00"),
    }


def entry(
    name: str, about: str, model: str, data: bytes, folder: str, has_picture: bool = True
) -> dict:
    """A file's row in the list; writes its picture."""
    import decoders
    import plain_decoder
    import plain_pixels

    file = plain_decoder.File(data)
    plain_model = plain_decoder.Model(os.path.join(folder, model))
    tables = plain_decoder.read_tables(os.path.join(places.ROOT, "gllmm_tf/coding/tables_v1.npz"))
    base = base_of(model)
    below = plain_decoder.Model(os.path.join(folder, base)) if base else None
    latents = plain_decoder.decode(file, plain_model, tables, base=below)
    picture = f"pictures/{name}.png" if has_picture else None
    if picture:
        x_hat = plain_pixels.synthesise(latents, file, plain_model, below)
        pixels = plain_pixels.picture(x_hat, file)
        image = Image.frombytes("RGB", (file.width, file.height), pixels)
        image.save(os.path.join(folder, picture), optimize=True)
    row = {
        "name": name,
        "about": about,
        "file": f"files/{name}.gllmm",
        "bytes": len(data),
        "model": model,
        **({"base": base} if base else {}),
        "width": file.width,
        "height": file.height,
        "quality_index": file.index,
        "picture": picture,
    }
    for key, latent in zip("zyr", latents):
        shape = [len(latent), len(latent[0]), len(latent[0][0])]
        digest = hashlib.sha256(plain_decoder.to_bytes(latent)).hexdigest()
        row[key] = {"shape": shape, "sha256": digest}
    contents = {
        target: zlib.decompress(file.metadata[tag])
        for tag, target in decoders.COMPRESSED.items()
        if tag in file.metadata
    }
    if container.TAG_ALPHA in file.metadata:
        with Image.open(io.BytesIO(file.metadata[container.TAG_ALPHA])) as alpha:
            contents["alpha.gray"] = alpha.tobytes()
    row["metadata"] = {key: hashlib.sha256(data).hexdigest() for key, data in contents.items()}
    row["reaches"] = sorted(file.seen)
    return row


def base_of(model: str) -> str:
    """The model file below one of an enhancement layer, as the list names them; "" for another model."""
    name = os.path.splitext(os.path.basename(model))[0]
    recipe = conformance_models.RECIPES.get(name)
    return f"models/{recipe.base}.npz" if recipe and recipe.base else ""


def write(path: str, data: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def main(f: flags.FlagValues, folder: str) -> None:
    del f
    sys.path.insert(0, folder)  # the plain decoder is part of the suite, not of a package
    for part in ("models", "files", "pictures", "refused"):
        os.makedirs(os.path.join(folder, part), exist_ok=True)
    models = {name: conformance_models.draw(name) for name in conformance_models.RECIPES}
    for name, model_file in models.items():
        path = os.path.join(folder, f"models/{name}.npz")
        model_file.save(path, packed=name in PACKED)
    made = {
        name: (case.about, f"models/{case.model}.npz", drawn_file(case, models[case.model]))
        for name, case in CASES.items()
    }
    made["photograph"] = "a detail of a photograph, a released model", WEIGHTS, photograph()
    rows = []
    for name, (about, model, data) in made.items():
        write(os.path.join(folder, f"files/{name}.gllmm"), data)
        has_picture = name not in CASES or CASES[name].has_picture
        rows.append(entry(name, about, model, data, folder, has_picture))
        print(f"{name}: {len(data)} bytes")
    refused = []
    for name, data in broken_files(made["blocks"][2]).items():
        write(os.path.join(folder, f"refused/{name}.gllmm"), data)
        row = {"file": f"refused/{name}.gllmm", "model": made["blocks"][1], "for": BROKEN[name]}
        refused.append({"name": name, **row})
    text = json.dumps({"files": rows, "refused": refused}, indent=1)
    write(os.path.join(folder, "manifest.json"), (text + "\n").encode())


if __name__ == "__main__":
    program.run(main, arguments=["FOLDER"])
