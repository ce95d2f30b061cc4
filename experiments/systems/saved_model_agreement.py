"""Does the SavedModel write the files and show the pixels that the codec does?

    python -m experiments.systems.saved_model_agreement --images ~/kodak [--model NAME] [--qualities 1,4]

exports the model, starts a process that has TensorFlow and tensorflow-compression but cannot import
gllmm_tf, and for every picture and quality compares

    bytes    of `TensorFlowCodec.compress` and of the SavedModel's `compress`;
    pixels   of the file that each wrote as the other decompresses it.

Prints one line per file and exits with status 1 if anything differs. Half a minute to begin with, then
seconds per file of 768 x 512 on two cores.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
from absl import flags
from tqdm import tqdm

from experiments.common import program
from experiments.common.pictures import find_images
from experiments.common.program import LimitError
from gllmm_tf.codec.tensorflow_codec import TensorFlowCodec
from gllmm_tf.errors import GllmmError
from gllmm_tf.export.saved_model import save
from gllmm_tf.files.images import read_image
from gllmm_tf.zoo import registry

# Reads one JSON line per picture, writes what it made of it to files, answers with an empty line.
PROGRAM = """
import importlib.util, json, sys
sys.modules["gllmm_tf"] = None  # An editable installation would be found even with -I.
import numpy as np
import tensorflow as tf
for package in ("tensorflow_compression_ops", "tensorflow_compression"):
    if importlib.util.find_spec(package):
        importlib.import_module(package)
functions = tf.saved_model.load(sys.argv[1]).signatures
for line in sys.stdin:
    job = json.loads(line)
    rate = {} if job["quality"] is None else {"quality": tf.constant(job["quality"], tf.float32)}
    data = functions["compress"](image=tf.constant(np.load(job["pixels"])), **rate)["data"]
    tf.io.write_file(job["saved_data"], data)
    image = functions["decompress"](data=tf.io.read_file(job["codec_data"]))["image"]
    np.save(job["image"], image.numpy())
    print(flush=True)
"""


class SavedModelProcess:
    """A SavedModel in a fresh process without gllmm_tf. `folder` holds what is passed to and fro."""

    def __init__(self, saved_model, folder):
        names = {
            "pixels": "in.npy",
            "codec_data": "codec",
            "saved_data": "saved",
            "image": "out.npy",
        }
        self._paths = {key: os.path.join(folder, name) for key, name in names.items()}
        # -I leaves out the folder that the program stands in and PYTHONPATH.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", PROGRAM, os.path.abspath(saved_model)],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.communicate()

    def run(self, pixels, quality, data):
        """Returns (bytes of its file for `pixels`, the picture it decodes from `data`)."""
        np.save(self._paths["pixels"], pixels)
        with open(self._paths["codec_data"], "wb") as f:
            f.write(data)
        job = json.dumps({**self._paths, "quality": quality})
        with contextlib.suppress(BrokenPipeError):
            print(job, file=self._process.stdin, flush=True)
        if not self._process.stdout.readline():
            raise GllmmError("the process with the SavedModel ended; its own message is above")
        with open(self._paths["saved_data"], "rb") as f:
            return f.read(), np.load(self._paths["image"])


def compare(codec, saved_model, pixels, quality=None):
    """Returns (size of the codec's file, bytes that differ, values that differ)."""
    data = codec.compress(pixels, quality)
    saved_data, saved_image = saved_model.run(pixels, quality, data)
    image = codec.decompress(saved_data)
    wrong_bytes = sum(a != b for a, b in zip(data, saved_data)) + abs(len(data) - len(saved_data))
    return len(data), wrong_bytes, int(np.sum(image != saved_image))


def compare_all(codec, saved_model, paths, qualities):
    """Compares every picture at every quality, a line each. Returns how many files differ."""
    differing = 0
    for path in tqdm(paths, unit="picture", disable=None):
        pixels = read_image(path).pixels
        for quality in qualities:
            size, wrong_bytes, wrong_values = compare(codec, saved_model, pixels, quality)
            name = os.path.basename(path) + ("" if quality is None else f" at {quality:g}")
            tqdm.write(
                f"{name}: {size} bytes, {wrong_bytes} differ; "
                f"{pixels.size} values, {wrong_values} differ"
            )
            differing += wrong_bytes > 0 or wrong_values > 0
    print(f"{len(paths) * len(qualities)} files, {differing} with differences")
    return differing


def define_flags() -> None:
    program.define_images()
    program.define_model()
    program.define_qualities(["4"])


def main(f: flags.FlagValues) -> None:
    paths = list(find_images(f.images).values())
    stored = registry.read_model(f.model)
    codec = TensorFlowCodec(stored)
    qualities = program.numbers("qualities", f.qualities) if codec.num_qualities else [None]
    with tempfile.TemporaryDirectory() as folder:
        saved_model = os.path.join(folder, "saved_model")
        save(stored, saved_model)
        with SavedModelProcess(saved_model, folder) as process:
            differing = compare_all(codec, process, paths, qualities)
    if differing:
        raise LimitError(f"{differing} files differ")


if __name__ == "__main__":
    program.run(main, define_flags)
