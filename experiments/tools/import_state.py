"""Takes what run.py of an exported step has trained back into TensorFlow.

    python -m experiments.tools.import_state --state=out --run_dir=runs/n48

writes a checkpoint that `train.py --run_dir=runs/n48` with the flags of the export continues, or
validates if the run is done, and the model.npz that `compress.py --model=runs/n48` uses.

    python -m experiments.tools.import_state --state=out --model=n48.npz --train_glob='photos/**/*.jpg'

writes the model alone; of the checkpoint it needs checkpoint.json and the first files only. The
pictures, the same as at the export, tell the loss on those that are held out and how often each
channel of y is empty; without them the model works, and its files are some bytes larger.
"""

from __future__ import annotations

from absl import flags

from experiments.common import program
from experiments.common.program import ExperimentError
from gllmm_tf.training.xla import take_back


def define_flags() -> None:
    text = "Folder that run.py wrote (--out), or a checkpoint in it."
    flags.DEFINE_string("state", None, text, required=True)
    text = "Run to write: new, or the one that was exported."
    flags.DEFINE_string("run_dir", "", text)
    flags.DEFINE_string("model", "", "Model file to write: .npz.")
    text = "With --model: the pictures of the run; globs with commas in between."
    flags.DEFINE_list("train_glob", [], text)


def main(f: flags.FlagValues) -> None:
    if not f.run_dir and not f.model:
        raise ExperimentError("Nothing to write; give --run_dir or --model.")
    if f.run_dir:
        _, step = take_back.import_state(f.state, f.run_dir)
        print(f"{f.run_dir}: at step {step}, with a model")
    if f.model:
        step = take_back.import_model(f.state, f.model, f.train_glob)
        print(f"{f.model}: the model of step {step}")


if __name__ == "__main__":
    program.run(main, define_flags)
