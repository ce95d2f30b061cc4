"""What the tests of the service share: limits, a codec that can be held, and how answers are read."""

import io
import re
import threading
import time

import numpy as np
from PIL import Image

from gllmm_tf.serve.limits import Limits

LIMITS = Limits(bytes=1 << 17, pixels=200 * 200, seconds=60.0, threads=2, waiting=2)
PATIENCE = 30.0  # Seconds for a thing that should happen at once.


class HeldCodec:
    """A codec whose `encode` waits until it is released."""

    def __init__(self, codec):
        self._codec = codec
        self.started, self.release = threading.Semaphore(0), threading.Event()
        self.qualities = []

    def __getattr__(self, name):
        return getattr(self._codec, name)

    def encode(self, image, quality, *, metadata):
        self.started.release()
        assert self.release.wait(PATIENCE)
        self.qualities.append(quality)
        return self._codec.encode(image, quality, metadata=metadata)


def file_of(pixels, file_format="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, file_format, **options)
    return file.getvalue()


def pixels_of(data):
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def metric(text, name, **labels):
    """Value of one sample in Prometheus text; 0 where there is none."""
    wanted = {f'{key}="{value}"' for key, value in labels.items()}
    for found, inside, value in re.findall(r"^(\w+)(?:\{(.*?)\})? (\S+)$", text, re.M):
        if found == name and wanted == set(filter(None, inside.split(","))):
            return float(value)
    return 0.0


def wait_until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
