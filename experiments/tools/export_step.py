"""Exports train.py's training step, to be run where TensorFlow 2.14 does not run.

    python -m experiments.tools.export_step --export_dir=step \\
        --config=experiments/configs/gllmm_n48.py --train_glob='photos/**/*.jpg' --run_dir=runs/n48

Takes every flag of train.py. The run starts from the latest checkpoint in --run_dir, or from the
initial weights. About two minutes for N = 48 on two cores. Then, on a machine with jax and numpy:

    python step/run.py --out=out --steps_per_call=20

and back here: experiments/tools/import_state.py. docs/accelerators.md has the whole story.
"""

from __future__ import annotations

from absl import flags

from experiments.common import program
from gllmm_tf.training import flags as training_flags
from gllmm_tf.training.xla import bundle, export
from gllmm_tf.training.xla.runner import pictures

PICTURES = (*pictures.KINDS, "none")


def define_flags() -> None:
    training_flags.define(flags.FLAGS)
    flags.DEFINE_string("export_dir", None, "Folder to write; new or empty.", required=True)
    text = "Precisions of which the step is exported."
    flags.DEFINE_list("programs", list(export.PROGRAMS), text)
    text = (
        "How the training pictures travel: pixels (decoded, 3 bytes per pixel), files (as they are; "
        "run.py then needs Pillow), or none (run.py gets them by --data)."
    )
    flags.DEFINE_enum("pictures", "pixels", PICTURES, text)
    flags.register_validator(
        "programs",
        lambda names: names and set(names) <= set(export.PROGRAMS),
        "choose float32, bfloat16 or both",
    )


def main(f: flags.FlagValues) -> None:
    kind = None if f.pictures == "none" else f.pictures
    count = bundle.write(training_flags.settings_of(f), f.export_dir, f.programs, kind)
    with_pictures = f"with {count} training pictures" if kind else "without pictures"
    print(f"{f.export_dir}: the step, {', '.join(f.programs)}, {with_pictures}")


if __name__ == "__main__":
    program.run(main, define_flags)
