"""Takes what gllmm_tf/training/xla/runner.py has trained back into TensorFlow.

    python -m experiments.tools.import_state --state=out --run_dir=runs/n48

writes a checkpoint that `train.py --run_dir=runs/n48` with the flags of the export continues, or
validates if the run is done, and the model.npz that `compress.py --model=runs/n48` uses.

    python -m experiments.tools.import_state --state=out --model=n48.npz --train_glob='photos/**/*.jpg'

writes the model alone; of the checkpoint it needs checkpoint.json and the first files only. The
pictures, the same as at the export, tell the loss on those that are held out and how often each
channel of y is empty; without them the model works, and its files are some bytes larger.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import app, flags  # noqa: E402

from gllmm_tf import errors  # noqa: E402
from gllmm_tf.training import flags as training_flags  # noqa: E402
from gllmm_tf.training.xla import take_back  # noqa: E402

STATE = flags.DEFINE_string("state", None, "Folder that runner.py wrote, or a checkpoint in it.")
RUN_DIR = flags.DEFINE_string("run_dir", "", "Run to write: new, or the one that was exported.")
MODEL = flags.DEFINE_string("model", "", "Model file to write: .npz.")
TRAIN_GLOB = flags.DEFINE_list(
    "train_glob", "", "With --model: the pictures of the run; globs with commas in between."
)
flags.mark_flag_as_required("state")


def main(argv):
    if len(argv) > 1:
        sys.exit(f"import_state.py: unexpected argument {argv[1]!r}; see --help")
    if not RUN_DIR.value and not MODEL.value:
        sys.exit("import_state.py: nothing to write; give --run_dir or --model")
    try:
        if RUN_DIR.value:
            _, step = take_back.import_state(STATE.value, RUN_DIR.value)
            print(f"{RUN_DIR.value}: at step {step}, with a model")
        if MODEL.value:
            step = take_back.import_model(STATE.value, MODEL.value, TRAIN_GLOB.value)
            print(f"{MODEL.value}: the model of step {step}")
    except errors.GllmmError as error:
        sys.exit(training_flags.line_of("import_state", error))


if __name__ == "__main__":
    app.run(main)
