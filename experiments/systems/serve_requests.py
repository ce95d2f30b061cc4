"""Requests of every kind to the service, good and bad, with what has to come back."""

from __future__ import annotations

import dataclasses
import io
import json
import random
import zlib
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from experiments.common import pictures

MAX_BYTES, MAX_PIXELS = 1 << 20, 256 * 256  # limits of the service that they are for
SIZES = ((64, 64), (1, 1), (96, 160), (201, 130), (128, 256), (37, 255))  # height, width
QUALITIES = (None, 1.0, 2.5, 4.0, 8.0)


@dataclasses.dataclass(frozen=True)
class Request:
    """One request and what must come back.

    Attributes:
        kind: for the table.
        method: of HTTP.
        path: with query.
        body: bytes to send.
        status: that must come back; None: the client hangs up.
        check: bytes of the answer -> whether they are right.
        chunked: sent without a length.
        part: share of the body that is sent before hanging up.
        headers: (name, value) each, beside those that say how long it is.
        seconds: that sending the body takes.
    """

    kind: str
    method: str
    path: str
    body: bytes
    status: int | None
    check: Callable[[bytes], bool]
    chunked: bool = False
    part: float = 1.0
    headers: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0


def as_file(pixels: np.ndarray, file_format: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, file_format, **options)
    return file.getvalue()


def as_pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def one_line(*words: str) -> Callable[[bytes], bool]:
    """A check: one line of text that holds all `words`."""

    def check(data: bytes) -> bool:
        text = data.decode()
        return text.endswith("\n") and text.count("\n") == 1 and all(w in text for w in words)

    return check


def shows(x_hat: np.ndarray) -> Callable[[bytes], bool]:
    """A check: a picture of exactly these pixels."""
    return lambda data: np.array_equal(as_pixels(data), x_hat)


def good_requests(codec, rng) -> list[Request]:
    """Pictures of every size and quality in several formats, and their files back to pixels."""
    found = []
    qualities = QUALITIES if codec.num_qualities else (None,)
    for height, width in SIZES:
        pixels = pictures.draw(rng, height, width)
        files = {
            "PNG": as_file(pixels, "PNG"),
            "JPEG": as_file(pixels, "JPEG", quality=90),
            "WebP": as_file(pixels, "WEBP", lossless=True),
        }
        for i, quality in enumerate(qualities):
            name = list(files)[i % len(files)]
            data = codec.compress(as_pixels(files[name]), quality)
            path = "/compress" if quality is None else f"/compress?quality={quality:g}"
            same = data.__eq__
            found.append(Request(f"compress {name}", "POST", path, files[name], 200, same))
            same = shows(codec.decompress(data))
            found.append(Request("decompress", "POST", "/decompress", data, 200, same))
    return found


def bad_requests(codec, rng) -> list[Request]:
    """Everything that has to be refused."""
    pixels = pictures.draw(rng, 96, 128)
    png, packed = as_file(pixels, "PNG"), codec.compress(pixels)
    tampered = bytearray(packed)
    tampered[len(packed) // 2] ^= 16
    foreign = bytearray(packed[:-4])
    foreign[9] ^= 1  # the model's identity, under a right checksum
    foreign += zlib.crc32(bytes(foreign)).to_bytes(4, "little")
    large = np.zeros([257, 256, 3], np.uint8)
    big = bytes(MAX_BYTES + MAX_BYTES // 2)

    def post(kind, path, body, status, *words, **more):
        return Request(kind, "POST", path, bytes(body), status, one_line(*words), **more)

    return [
        post("truncated picture", "/compress", png[: len(png) // 3], 400, "damaged or cut short"),
        post("random bytes", "/compress", rng.bytes(3000), 400, "not a readable picture"),
        post("random bytes", "/decompress", rng.bytes(3000), 400, "not a .gllmm file"),
        post("tampered file", "/decompress", tampered, 400, "checksum"),
        post("cut file", "/decompress", packed[:-7], 400, "checksum"),
        post("foreign file", "/decompress", foreign, 400, "written by model"),
        post("foreign file", "/decompress", png, 400, "did you mean compress?"),
        post("foreign file", "/compress", packed, 400, "did you mean decompress?"),
        post("empty body", "/compress", b"", 400, "empty"),
        post("bad quality", "/compress?quality=99", png, 400, "quality"),
        post("bad quality", "/compress?quality=fine", png, 400, "quality is not a number"),
        post("too many pixels", "/compress", as_file(large, "PNG"), 413, "65536"),
        post("too many pixels", "/decompress", codec.compress(large), 413, "65536"),
        post("too large body", "/compress", big, 413, str(MAX_BYTES)),
        post("too large body", "/decompress", big, 413, str(MAX_BYTES), chunked=True),
        post("wrong method", "/health", b"x", 405, "Method Not Allowed"),
        Request("wrong method", "GET", "/compress", b"", 405, one_line("Method Not Allowed")),
        Request("wrong method", "PUT", "/decompress", packed, 405, one_line("Method Not Allowed")),
        post("no such path", "/compress/it", png, 404, "Not Found"),
        post("hang up: in body", "/compress", png, None, part=0.5),
        post("hang up: in body", "/decompress", packed, None, chunked=True, part=0.5),
        post("hang up: at work", "/compress", png, None),
        post("hang up: at work", "/decompress", packed, None),
    ]


def looking_requests(codec) -> list[Request]:
    """Page, health and metrics, in the middle of everything."""

    def healthy(data: bytes) -> bool:
        return json.loads(data)["identity"] == codec.identity.hex()

    return [
        Request("page", "GET", "/", b"", 200, lambda data: b"</html>" in data),
        Request("health", "GET", "/health", b"", 200, healthy),
        Request("metrics", "GET", "/metrics", b"", 200, lambda d: b"gllmm_in_flight" in d),
    ]


def mix(codec, count: int, seed: int, hostile: Sequence[Request] = ()) -> list[Request]:
    """`count` requests in random order: a third of `hostile` ones, if any, and half of the others good."""
    rng = np.random.default_rng(seed)
    good, bad = good_requests(codec, rng), bad_requests(codec, rng)
    looking = looking_requests(codec)
    chooser = random.Random(seed)
    slow = [request for request in hostile if request.seconds]  # each once: they hold a client up
    quick = [request for request in hostile if not request.seconds]
    third = [*slow, *quick, *chooser.choices(quick, k=count)][: count // 3] if hostile else []
    count -= len(third)
    rest = [
        chooser.choice(chooser.choices((good, bad, looking), (50, 45, 5))[0]) for _ in range(count)
    ]
    requests = (good + bad + looking + rest)[:count]  # each kind once at least, where there is room
    requests += third
    chooser.shuffle(requests)
    return requests
