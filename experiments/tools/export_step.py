"""Exports train.py's training step, to be run where TensorFlow 2.14 does not run.

    python -m experiments.tools.export_step --export_dir=step --pictures=pictures.npz \\
        --config=experiments/configs/gllmm_n48.py --train_glob='photos/**/*.jpg' --run_dir=runs/n48

Takes every flag of train.py. The run starts from the latest checkpoint in --run_dir, or from the
initial weights. About two minutes for N = 48 on two cores. Then, on a machine with jax and numpy:

    python step/runner.py step --data=pictures.npz --out=out --steps_per_call=20

and back here: experiments/tools/import_state.py. docs/accelerators.md has the whole story.
"""

from __future__ import annotations

from absl import flags

from experiments.common import program
from gllmm_tf.training import flags as training_flags
from gllmm_tf.training.xla import export

PRECISIONS = ("float32", "bfloat16")


def define_flags() -> None:
    training_flags.define(flags.FLAGS)
    flags.DEFINE_string("export_dir", None, "Folder to write; new or empty.", required=True)
    text = "Precisions of which the step is exported."
    flags.DEFINE_list("programs", list(PRECISIONS), text)
    flags.DEFINE_string("pictures", "", "File to write the training pictures to; .npz.")
    text = "Put the picture files as they are into --pictures (runner.py then needs Pillow)."
    flags.DEFINE_bool("encoded", False, text)
    flags.register_validator(
        "programs",
        lambda names: names and set(names) <= set(PRECISIONS),
        "choose float32, bfloat16 or both",
    )


def main(f: flags.FlagValues) -> None:
    settings = training_flags.settings_of(f)
    export.export_step(settings, f.export_dir, f.programs)
    print(f"{f.export_dir}: the step, {', '.join(f.programs)}")
    if f.pictures:
        count = export.write_pictures(settings, f.pictures, f.encoded)
        print(f"{f.pictures}: {count} training pictures")


if __name__ == "__main__":
    program.run(main, define_flags)
