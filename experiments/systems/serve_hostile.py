"""Requests that want to do harm: strips, bombs, slow bodies, headers without end, wrong kinds.

What has to come back is worked out here, by the same limits and a codec of our own: a refusal of one line,
or the right answer.
"""

from __future__ import annotations

import dataclasses
import io
import json
import struct
import zlib

import numpy as np
from PIL import Image

from experiments.common import pictures
from experiments.systems.serve_requests import MAX_PIXELS, Request, as_file, one_line, shows
from gllmm_tf.errors import GllmmError
from gllmm_tf.files import container

BOUNDARY = "hostile"


def hostile_requests(codec, rng, seconds: float) -> list[Request]:
    """All of them.

    Args:
        codec: Of the service's model.
        rng: For the pixels.
        seconds: That the service gives a request.
    """
    pixels = pictures.draw(rng, 96, 128)
    packed = container.unpack(codec.compress(pixels))
    return [
        *_strips(codec, packed),
        *_bombs(pixels),
        *_streams(codec, packed),
        *_slow(codec, pixels, seconds),
        *_kinds(codec, pixels),
    ]


def _post(kind, path, body, status, *words, **more):
    check = one_line(*words) if status in (400, 408, 413) else bool
    return Request(kind, "POST", path, bytes(body), status, check, **more)


def _strips(codec, packed):
    """More work than their pixels: the networks see sides of 64 at least."""
    found = []
    for width, height in ((MAX_PIXELS, 1), (2, MAX_PIXELS // 8), (1025, 3), (63, 1030)):
        png = as_file(np.zeros([height, width], np.uint8), "PNG")
        data = container.pack(dataclasses.replace(packed, width=width, height=height))
        found.append(_post("strip", "/compress", png, 413, "a side has at least 64"))
        found.append(_post("strip", "/decompress", data, 413, "a side has at least 64"))
    widest = np.full([MAX_PIXELS // 65, 65, 3], 90, np.uint8)  # the most work that is accepted
    data = codec.compress(widest)
    right = data.__eq__
    found.append(Request("strip", "POST", "/compress", as_file(widest, "PNG"), 200, right))
    right = shows(codec.decompress(data))
    return [*found, Request("strip", "POST", "/decompress", data, 200, right)]


def _bombs(pixels):
    """Small files that want to become large."""
    large = Image.new("1", (9000, 9000))
    png, tiff = io.BytesIO(), io.BytesIO()
    large.save(png, "PNG")
    large.save(tiff, "TIFF", compression="tiff_adobe_deflate")
    declared = as_file(pixels, "PNG")
    size = struct.pack(">II", 1 << 30, 1 << 30)
    head = b"IHDR" + size + declared[24:29]
    forged = declared[:12] + head + struct.pack(">I", zlib.crc32(head)) + declared[33:]
    return [
        _post("bomb", "/compress", png.getvalue(), 413, "more than the limit"),
        _post("bomb", "/compress", tiff.getvalue(), 413, "more than the limit"),
        _post("bomb", "/compress", forged, 413, "more than the limit"),
    ]


def _streams(codec, packed):
    """Files with a right checksum whose streams have ended, or never fitted."""
    found = []
    for changes in (
        {"y_stream": packed.y_stream[:5]},
        {"y_stream": b"\xd5"},
        {"y_stream": b"\xff" * 99},
        {"z_stream": b""},
        {"z_stream": packed.z_stream[: len(packed.z_stream) // 2]},
        {"width": 256, "height": 256},
        {"y_stream": packed.y_stream * 9},
    ):
        data = container.pack(dataclasses.replace(packed, **changes))
        try:
            x_hat = codec.decompress(data)
        except GllmmError:
            found.append(_post("ended stream", "/decompress", data, 400))
        else:
            right = shows(x_hat)
            found.append(Request("ended stream", "POST", "/decompress", data, 200, right))
    return found


def _slow(codec, pixels, seconds):
    """Bodies that come drop by drop, in time and not."""
    png, right = as_file(pixels, "PNG"), codec.compress(pixels).__eq__
    late = f"within {seconds:g} s"
    return [
        Request("slow body", "POST", "/compress", png, 200, right, seconds=0.3 * seconds),
        _post("slow body", "/compress", png, 408, late, seconds=1.3 * seconds),
    ]


def _kinds(codec, pixels):
    """What is no picture, or comes in a way that it should not."""
    png, right = as_file(pixels, "PNG"), codec.compress(pixels).__eq__
    form = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'.encode()
        + png
        + f"\r\n--{BOUNDARY}--\r\n".encode()
    )
    kind = ("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
    endless = (("X-Endless", "a" * (1 << 18)),)
    other = "other kind"
    return [
        Request("form", "POST", "/compress", form, 200, right, headers=(kind,)),
        _post("form", "/compress", form[: len(form) // 2], 400, "cut short", headers=(kind,)),
        _post(
            "form", "/compress", form, 400, "boundary", headers=((kind[0], "multipart/form-data"),)
        ),
        _post("parameter", "/compress?size=9", png, 400, "unknown parameter 'size'", "quality"),
        _post("parameter", "/compress?quality=3&quality=4", png, 400, "twice"),
        _post("parameter", "/decompress?quality=4", png, 400, "known are none"),
        _post(other, "/compress", json.dumps({"image": "x" * 99}).encode(), 400, "not a readable"),
        _post(other, "/compress", b"<!DOCTYPE html><html></html>", 400, "not a readable"),
        _post(other, "/decompress", zlib.compress(png), 400, "not a .gllmm file"),
        _post("huge header", "/compress", png, None, headers=endless),
    ]
