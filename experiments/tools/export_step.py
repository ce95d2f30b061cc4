"""Exports train.py's training step, to be run where TensorFlow 2.14 does not run.

    python -m experiments.tools.export_step --export_dir=step --pictures=pictures.npz \\
        --config=experiments/configs/gllmm_n48.py --train_glob='photos/**/*.jpg' --run_dir=runs/n48

Takes every flag of train.py. The run starts from the latest checkpoint in --run_dir, or from the
initial weights. About two minutes for N = 48 on two cores. Then, on a machine with jax and numpy:

    python step/runner.py step --data=pictures.npz --out=out --steps_per_call=20

and back here: experiments/tools/import_state.py. docs/accelerators.md has the whole story.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from absl import app, flags  # noqa: E402

import train  # noqa: E402
from gllmm_tf import errors  # noqa: E402
from gllmm_tf.training.xla import export  # noqa: E402

EXPORT_DIR = flags.DEFINE_string("export_dir", None, "Folder to write; new or empty.")
PROGRAMS = flags.DEFINE_list(
    "programs", "float32,bfloat16", "Precisions of which the step is exported."
)
PICTURES = flags.DEFINE_string("pictures", "", "File to write the training pictures to; .npz.")
ENCODED = flags.DEFINE_bool(
    "encoded", False, "Put the picture files as they are into --pictures (runner.py: Pillow)."
)
flags.mark_flag_as_required("export_dir")
flags.register_validator(
    "programs",
    lambda names: names and set(names) <= {"float32", "bfloat16"},
    "choose float32, bfloat16 or both",
)


def main(argv):
    if len(argv) > 1:
        sys.exit(f"export_step.py: unexpected argument {argv[1]!r}; see --help")
    try:
        settings = train.settings()
        export.export_step(settings, EXPORT_DIR.value, PROGRAMS.value)
        print(f"{EXPORT_DIR.value}: the step, {', '.join(PROGRAMS.value)}")
        if PICTURES.value:
            count = export.write_pictures(settings, PICTURES.value, ENCODED.value)
            print(f"{PICTURES.value}: {count} training pictures")
    except errors.GllmmError as error:
        sys.exit(f"export_step.py: {error}")


if __name__ == "__main__":
    app.run(main, flags_parser=train.parse)
