"""Exports a model as a TensorFlow SavedModel that codes and decodes `.gllmm` files without gllmm_tf.

    python experiments/export_saved_model.py OUT_DIR [--model NAME]

OUT_DIR is new or empty. The SavedModel has the signatures `compress`, `decompress`, `analysis` and
`synthesis`, lets programs read and write the same files as compress.py, and needs nothing but
TensorFlow and tensorflow-compression: docs/export.md. Takes half a minute.
"""

import argparse
import os
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path.insert(0, ROOT)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from gllmm_tf import image_io, zoo  # noqa: E402
from gllmm_tf.coding import container  # noqa: E402
from gllmm_tf.errors import GllmmError, ModelError  # noqa: E402


def export(folder, model=None, max_pixels=container.MAX_PIXELS):
    """Writes the SavedModel and returns a report, text.

    Raises:
        ModelError: there is no such model, or the folder holds something already.
        OSError: the folder cannot be written.
    """
    stored = zoo.read_model(model)
    os.makedirs(folder, exist_ok=True)
    if os.listdir(folder):
        raise ModelError(f"{folder}: not empty; name a new folder")
    from gllmm_tf.export import SIGNATURES, save

    save(stored, folder, max_pixels)
    config = stored.config
    rate = f"qualities 1 to {config.num_qualities}" if config.num_qualities else "one fixed rate"
    size = sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(folder) for f in fs)
    return "\n".join(
        [
            f"{folder}: {config.system}, N = {config.num_filters}, {rate}, {size} bytes",
            f"  model       {stored.identity.hex()}",
            f"  signatures  {', '.join(SIGNATURES)}",
            f"  limit       pictures of {max_pixels} pixels",
        ]
    )


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", metavar="OUT_DIR", help="the SavedModel to write")
    parser.add_argument("--model", help="name of a shipped model or path of one")
    parser.add_argument(
        "--max_pixels",
        type=int,
        metavar="N",
        default=container.MAX_PIXELS,
        help="`decompress` refuses files with more pixels (default %(default)s)",
    )
    args = parser.parse_args(argv)
    if args.max_pixels < 1:
        parser.error(f"--max_pixels is {args.max_pixels}, it must be at least 1")
    try:
        print(export(args.folder, args.model, args.max_pixels))
    except (GllmmError, OSError) as error:
        line = str(error)
        if isinstance(error, OSError):
            line = f"{args.folder}: {image_io.reason(error)}"
        print(f"export_saved_model: {line}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
