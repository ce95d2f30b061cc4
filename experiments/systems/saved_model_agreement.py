"""Does the SavedModel write the files and show the pixels that the codec does?

    python -m experiments.systems.saved_model_agreement --images ~/kodak [--model NAME] [--quality 1,4,8]

exports the model, starts a process that has TensorFlow and tensorflow-compression but cannot import
gllmm_tf, and for every picture and quality compares

    bytes    of `Codec.compress` and of the SavedModel's `compress`;
    pixels   of the file that each wrote as the other decompresses it.

Prints one line per file and exits with status 1 if anything differs. Half a minute to begin with, then
seconds per file of 768 x 512 on two cores.
"""

import argparse
import contextlib
import glob
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
from tqdm import tqdm

from gllmm_tf.codec.codec import Codec
from gllmm_tf.errors import GllmmError
from gllmm_tf.export.saved_model import save
from gllmm_tf.files.images import read_image
from gllmm_tf.zoo import registry

# Reads one JSON line per picture, writes what it made of it to files, answers with an empty line.
PROGRAM = """
import json, sys
sys.modules["gllmm_tf"] = None  # An editable installation would be found even with -I.
import numpy as np
import tensorflow as tf
import tensorflow_compression
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


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", required=True, help="folder or quoted glob of pictures")
    parser.add_argument("--model", help="name or path of the model; the default one if left out")
    parser.add_argument(
        "--quality",
        type=lambda text: [float(q) for q in text.split(",")],
        default=[4.0],
        metavar="LIST",
        help="qualities of a variable-rate model, default 4",
    )
    args = parser.parse_args(argv)
    pattern = os.path.join(args.images, "*") if os.path.isdir(args.images) else args.images
    paths = sorted(glob.glob(pattern))
    try:
        if not paths:
            raise GllmmError(f"{args.images}: no pictures there")
        stored = registry.read_model(args.model)
        codec = Codec(stored)
        with tempfile.TemporaryDirectory() as folder:
            save(stored, os.path.join(folder, "saved_model"))
            with SavedModelProcess(os.path.join(folder, "saved_model"), folder) as saved_model:
                qualities = args.quality if codec.num_qualities else [None]
                differing = compare_all(codec, saved_model, paths, qualities)
    except (GllmmError, OSError) as error:
        print(f"saved_model_agreement: {error}", file=sys.stderr)
        return 1
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
