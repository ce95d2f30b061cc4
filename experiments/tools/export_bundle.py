"""Exports several training runs into one folder, to be trained one after the other elsewhere.

    python -m experiments.tools.export_bundle --export_dir=bundle \\
        --parts=crops=lent.py:crops,end=lent.py:end --shares=4,1 --starts=,crops \\
        --train_glob='photos/**/*.jpg' --run_dir=runs/lent

A part NAME is a run with the settings of a file, as --config of train.py names it, in RUN_DIR/NAME.
Flags of train.py hold for all parts. A part with a start takes over the averaged weights of an earlier
one. Then, on a machine with jax and numpy,

    python bundle/run.py --out=out --seconds=840 --steps_per_call=20 --precision=bfloat16

trains them in that time, shared as said, and experiments/tools/import_state.py takes each back from
out/NAME. A few minutes a part on two cores. docs/accelerators.md has the whole story.
"""

from __future__ import annotations

import os

from absl import flags

from experiments.common import program
from gllmm_tf.errors import GllmmError
from gllmm_tf.training import flags as training_flags
from gllmm_tf.training.settings import FIELDS, Settings
from gllmm_tf.training.xla import bundle, export
from gllmm_tf.training.xla.runner import pictures
from gllmm_tf.training.xla.runner.schedule import Part


def define_flags() -> None:
    training_flags.define(flags.FLAGS)
    flags.DEFINE_string("export_dir", None, "Folder to write; new or empty.", required=True)
    flags.DEFINE_list(
        "parts", None, "NAME=FILE.py or NAME=FILE.py:KEY of each part.", required=True
    )
    flags.DEFINE_list("shares", [], "Share of the time of each part; empty: equal ones.")
    flags.DEFINE_list("starts", [], "Name of the part before that each starts from, or nothing.")
    flags.DEFINE_list("programs", list(export.PROGRAMS), "Precisions of which steps are exported.")
    kinds = [*pictures.KINDS, "none"]
    flags.DEFINE_enum("pictures", "pixels", kinds, "How pictures travel; see export_step.py.")


def parts_of(f: flags.FlagValues) -> list[tuple[Part, Settings]]:
    """The parts that the flags name, with their settings.

    Raises:
        GllmmError: they cannot be used.
    """
    count = len(f.parts)
    shares, starts = f.shares or ["1"] * count, f.starts or [""] * count
    if not len(shares) == len(starts) == count:
        raise GllmmError(f"{count} parts, {len(shares)} shares, {len(starts)} starts; give as many")
    given = {name: f[name].value for name in FIELDS if f[name].present}
    found = []
    for text, share, start in zip(f.parts, shares, starts):
        name, _, config = text.partition("=")
        settings = Settings.of(**{**training_flags.read_config(config), **given})
        settings = settings.replace(run_dir=os.path.join(settings.run.run_dir, name))
        found.append((Part(name, _share(share), start, name), settings))
    return found


def _share(text):
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share < float("inf"):
        raise GllmmError(f"a share of {text!r} cannot be used; give a positive number", "shares")
    return share


def main(f: flags.FlagValues) -> None:
    kind = None if f.pictures == "none" else f.pictures
    parts = parts_of(f)
    bundle.write_schedule(parts, f.export_dir, f.programs, kind)
    print(f"{f.export_dir}: {', '.join(part.name for part, _ in parts)}")


if __name__ == "__main__":
    program.run(main, define_flags)
