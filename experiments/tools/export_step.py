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

from absl import flags  # noqa: E402

from gllmm_tf import errors  # noqa: E402
from gllmm_tf.training import flags as training_flags  # noqa: E402
from gllmm_tf.training.xla import export  # noqa: E402

PROGRAM = "export_step"
PRECISIONS = ("float32", "bfloat16")


def main(argv):
    values = flags.FlagValues()
    training_flags.define(values)
    flags.DEFINE_string("export_dir", None, "Folder to write; new or empty.", flag_values=values)
    flags.DEFINE_list(
        "programs",
        list(PRECISIONS),
        "Precisions of which the step is exported.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "pictures", "", "File to write the training pictures to; .npz.", flag_values=values
    )
    flags.DEFINE_bool(
        "encoded",
        False,
        "Put the picture files as they are into --pictures (runner.py then needs Pillow).",
        flag_values=values,
    )
    flags.mark_flag_as_required("export_dir", flag_values=values)
    flags.register_validator(
        "programs",
        lambda names: names and set(names) <= set(PRECISIONS),
        "choose float32, bfloat16 or both",
        flag_values=values,
    )
    rest = training_flags.parse(PROGRAM, values, argv)
    if rest is None:
        return
    try:
        settings = training_flags.settings_of(values)
        export.export_step(settings, values.export_dir, values.programs)
        print(f"{values.export_dir}: the step, {', '.join(values.programs)}")
        if values.pictures:
            count = export.write_pictures(settings, values.pictures, values.encoded)
            print(f"{values.pictures}: {count} training pictures")
    except errors.GllmmError as error:
        sys.exit(training_flags.line_of(PROGRAM, error))


if __name__ == "__main__":
    main(sys.argv)
