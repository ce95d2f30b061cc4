"""Exported runs in tests: tiny settings, the export, and what it wrote."""

import gzip
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import tensorflow as tf

from gllmm_tf.training.learner import Learner
from gllmm_tf.training.settings import Settings
from gllmm_tf.training.xla import program, runner

JAX_PYTHON = os.environ.get("GLLMM_JAX_PYTHON", "")
needs_jax = pytest.mark.skipif(
    not JAX_PYTHON,
    reason="GLLMM_JAX_PYTHON names no Python with jax (docs/accelerators.md says how to make one)",
)
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


def flags(settings):
    return [f"--{name}={value}" for name, value in settings.items()]


def call(*command, **environment):
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
    )


def exported_run(folder, name, values):
    """Exports a run that has done FIRST steps; returns its settings, and a learner in its state."""
    values = dict(values, train_glob=f"{folder}/pictures/*.png", run_dir=f"{folder}/{name}")
    settings = Settings.of(**values)
    learner = Learner(settings)
    for variable in learner.variables:
        variable.assign_add(tf.random.stateless_normal(variable.shape, (1, 2), stddev=1e-3))
    learner.step.assign(FIRST)
    learner.seconds.assign(12.5)
    tf.train.CheckpointManager(learner.checkpoint, f"{folder}/{name}/checkpoints", 1).save(FIRST)
    done = call(
        *(sys.executable, "-m", "experiments.tools.export_step"),
        f"--export_dir={folder}/{name}_step",
        f"--pictures={folder}/{name}.npz",
        *flags(values),
    )
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(
        settings=settings,
        learner=learner,
        run_dir=f"{folder}/{name}",
        step=f"{folder}/{name}_step",
        pictures=f"{folder}/{name}.npz",
    )


def manifest_of(exported):
    with open(f"{exported.step}/manifest.json") as f:
        return json.load(f)


def program_of(exported, precision):
    entry = manifest_of(exported)["programs"][precision]
    with open(f"{exported.step}/{entry['file']}", "rb") as f:
        return program.Program(gzip.decompress(f.read()), entry["parameters"], entry["results"])


def options(exported, out, *more):
    return runner.parse([exported.step, f"--data={exported.pictures}", f"--out={out}", *more])
