"""Turns a checkpoint that Cheng et al. or Fu et al. released into a model file of ours.

    python -m experiments.tools.import_checkpoint models/model-1399000 cheng.npz --metric ms-ssim
    python compress.py compress --model cheng.npz photo.png
    python compress.py decompress --model cheng.npz photo.png.gllmm

The checkpoint is what TensorFlow 1's `Saver` wrote: PREFIX.index and PREFIX.data-00000-of-00001. N and
the system, `cheng2020` or `gllmm`, follow from its variables. What is missing, unknown or of another
shape is named in one line, with exit status 1, and nothing is written; if the unknown ones are only
leftovers of training, `--ignore=REGEX` passes them over. Takes seconds.

Tested on checkpoints with the originals' names and formats and known weights, not on the authors' own
files. docs/originals.md says what carries over exactly and what does not.
"""

from __future__ import annotations

import os
import re

import numpy as np
from absl import flags

from experiments.common import program
from experiments.common.program import ExperimentError


def convert(
    checkpoint: str, output: str, ignore: re.Pattern | None = None, metric: str = "mse"
) -> str:
    """Imports, writes the model file and returns a report, text.

    Raises:
        ModelError: see `gllmm_tf.originals.checkpoint.import_checkpoint`.
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


def define_flags() -> None:
    flags.DEFINE_string("ignore", None, "Pass over variables with names like this expression.")
    flags.DEFINE_enum("metric", "mse", ["mse", "ms-ssim"], "What it was trained for.")


def main(f: flags.FlagValues, checkpoint: str, output: str) -> None:
    try:
        ignore = None if f.ignore is None else re.compile(f.ignore)
    except re.error as error:
        message = f"--ignore: {f.ignore!r} is no regular expression: {error}."
        raise ExperimentError(message) from None
    print(convert(checkpoint, output, ignore, f.metric))


if __name__ == "__main__":
    program.run(main, define_flags, ["PREFIX", "OUT.npz"])
