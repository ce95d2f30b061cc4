"""Exported runs in tests: tiny settings, the export, and what it wrote."""

import gzip
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import tensorflow as tf

from gllmm_tf.training import data
from gllmm_tf.training.facts import record_of
from gllmm_tf.training.folder import Folder
from gllmm_tf.training.learner import Learner
from gllmm_tf.training.settings import Settings
from gllmm_tf.training.xla import bundle, program
from gllmm_tf.training.xla.runner import command

FIRST, LAST = 4, 24
OUTSIDE = {"seconds", "save_counter"}  # what a checkpoint holds beside the step's variables
TINY = dict(
    num_filters=8,
    families="gaussian,laplacian,logistic",
    components=1,
    stages=1,
    entropy_widths="16,16",
    lambdas="0.002,0.01,0.05",
    patch=64,
    batch=2,
    steps=LAST,
    warmup=5,
    learning_rate=2e-3,
    validation_images=1,
    validation_size=64,
    precision="float32",
)
MS_SSIM = dict(
    TINY,
    families="laplacian",
    lambdas="5.0",
    metric="ms-ssim",
    patch=192,
    batch=1,
    optimizer="adam",
    learning_rate=1e-4,
    ema=0.0,
    rounding="noise",
    validation_images=0,
    validation_size=192,
)


def call(*command, cwd=None, **environment):
    """Runs a program to its end."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
    )


def export_by_command(settings, values, step):
    """Exports as a user does."""
    flags = [f"--{name}={value}" for name, value in values.items()]
    tool = (sys.executable, "-m", "experiments.tools.export_step")
    done = call(*tool, f"--export_dir={step}", *flags)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{step}: the step, float32, bfloat16, with 4 training pictures\n"


def export_in_process(settings, values, step):
    """Exports the program in float32 alone."""
    bundle.write(settings, step, programs=("float32",))


def begun_run(folder, name, values):
    """A run that has done FIRST steps: (settings, learner in its state, flags of train.py)."""
    values = dict(values, train_glob=f"{folder}/pictures/*.png", run_dir=os.path.join(folder, name))
    settings = Settings.of(**values)
    learner = Learner(settings)
    for variable in learner.variables:
        variable.assign_add(tf.random.stateless_normal(variable.shape, (1, 2), stddev=1e-3))
    learner.step.assign(FIRST)
    learner.pixels.assign(FIRST * settings.data.batch * settings.data.patch**2)
    learner.seconds.assign(12.5)
    run = Folder(settings.run.run_dir)
    paths = data.find_pictures(settings.data.train_glob)
    fingerprint = {"count": len(paths), "sha256": data.fingerprint(paths)}
    run.write_record(**record_of(settings, fingerprint, "content", learner.start))
    tf.train.CheckpointManager(learner.checkpoint, run.file("checkpoints"), 1).save(FIRST)
    return settings, learner, values


def export_run(folder, name, values, export=export_by_command):
    """Exports a run that has done FIRST steps; returns its settings, and a learner in its state."""
    settings, learner, values = begun_run(folder, name, values)
    step = f"{folder}/{name}_step"
    export(settings, values, step)
    return SimpleNamespace(
        settings=settings, learner=learner, run_dir=settings.run.run_dir, step=step
    )


def manifest_of(exported):
    with open(f"{exported.step}/manifest.json") as f:
        return json.load(f)


def program_of(exported, precision):
    entry = manifest_of(exported)["programs"][precision]
    with open(f"{exported.step}/{entry['file']}", "rb") as f:
        return program.Program(gzip.decompress(f.read()), entry["parameters"], entry["results"])


def options(exported, out, *more):
    """Options of the runner for an exported step."""
    return command.parse([f"--step={exported.step}", f"--out={out}", *more])
