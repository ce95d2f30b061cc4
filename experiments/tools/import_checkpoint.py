"""Turns a checkpoint that Cheng et al. or Fu et al. released into a model file of ours.

    python -m experiments.tools.import_checkpoint models/model-1399000 cheng.npz --metric ms-ssim
    python compress.py compress --model cheng.npz photo.png
    python compress.py decompress --model cheng.npz photo.png.gllmm

The checkpoint is what TensorFlow 1's `Saver` wrote: PREFIX.index and PREFIX.data-00000-of-00001. N and
the system, `cheng2020` or `gllmm`, follow from its variables. What is missing, unknown or of another
shape is named in one line, with exit status 1, and nothing is written; if the unknown ones are only
leftovers of training, `--ignore REGEX` passes them over. Takes seconds.

Tested on checkpoints with the originals' names and formats and known weights, not on the authors' own
files. docs/originals.md says what carries over exactly and what does not.
"""

import argparse
import os
import re
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path.insert(0, ROOT)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402

from gllmm_tf.errors import GllmmError  # noqa: E402
from gllmm_tf.files import images  # noqa: E402


def convert(checkpoint, output, ignore=None, metric="mse"):
    """Imports, writes the model file and returns a report, text.

    Raises:
        ModelError: see `gllmm_tf.original_checkpoint.import_checkpoint`.
        OSError: the output cannot be written.
    """
    from gllmm_tf.originals.checkpoint import import_checkpoint
    from gllmm_tf.zoo.model_file import ModelFile

    model, medians = import_checkpoint(checkpoint, ignore, metric)
    rest = float(np.max(np.abs(medians - np.round(medians))))
    info = {
        "source": f"TensorFlow 1 checkpoint {os.path.basename(os.fspath(checkpoint))}",
        "largest_absorbed_median": round(rest, 4),  # in quantisation steps of z, at most 1/2
    }
    stored = ModelFile.from_model(model, info)
    stored.save(output)
    return "\n".join(
        [
            f"{output}: {model.config.system}, N = {model.config.num_filters}, "
            f"{os.path.getsize(output)} bytes",
            f"  model    {stored.identity.hex()}",
            f"  medians  of z up to {np.max(np.abs(medians)):.3f}; up to {rest:.3f} of them is "
            "absorbed in biases",
        ]
    )


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", metavar="PREFIX", help="path of the checkpoint before .index")
    parser.add_argument("output", metavar="OUT.npz", help="the model file to write")
    parser.add_argument(
        "--ignore", metavar="REGEX", type=_regex, help="pass over variables with names like this"
    )
    parser.add_argument(
        "--metric", choices=("mse", "ms-ssim"), default="mse", help="what it was trained for"
    )
    args = parser.parse_args(argv)
    try:
        print(convert(args.checkpoint, args.output, args.ignore, args.metric))
    except (GllmmError, OSError) as error:
        line = str(error) if isinstance(error, GllmmError) else images.reason(error)
        path = f"{args.output}: " if isinstance(error, OSError) else ""
        print(f"import_checkpoint: {path}{line}", file=sys.stderr)
        return 1
    return 0


def _regex(text):
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
