"""TensorFlow's side of a training step that runs elsewhere: the step and its state as files.

learner --> step-float32.hlo.gz, step-bfloat16.hlo.gz    programs, which have the same variables
        --> initial/                                     their values
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from gllmm_tf.training.folder import Folder, writing
from gllmm_tf.training.learner import Learner
from gllmm_tf.training.settings import Settings
from gllmm_tf.training.xla.program import ARGUMENTS, compile_step, variables_of
from gllmm_tf.training.xla.runner import checkpoints, manifest, pieces

PROGRAMS = ("float32", "bfloat16")
"""Precisions of which a step can be exported."""


def learner_of(settings: Settings, folder: Folder) -> Learner:
    """A learner at the latest checkpoint of a run's folder or, if it has none, at its start."""
    latest = tf.train.latest_checkpoint(folder.file("checkpoints"))
    if not latest:
        return Learner(settings)
    learner = Learner(settings, start=folder.record.get("start"))
    learner.restore(latest)
    return learner


def write_programs(learner: Learner, folder: str, precisions: Sequence[str]) -> dict[str, Any]:
    """Writes the step at each precision.

    Args:
        learner: Whose step it is.
        folder: To write to.
        precisions: Some of `PROGRAMS`.

    Returns:
        What the manifest says of arguments, variables and programs.

    Raises:
        RuntimeError: the step has something that cannot leave TensorFlow.
    """
    settings, programs, variables = learner.settings, {}, None
    for precision in precisions:
        one = learner
        if precision != settings.run.precision:
            one = Learner(settings.replace(precision=precision), start=learner.start)
        program = compile_step(one)
        file = f"step-{precision}.hlo.gz"
        path = os.path.join(folder, file)
        with writing(path):
            digest = pieces.write_bytes(path, gzip.compress(program.hlo, 6, mtime=0))
        programs[precision] = {
            "file": file,
            "sha256": digest,
            "parameters": program.parameters,
            "results": program.results,
        }
        taken = program.parameters[len(ARGUMENTS) :]
        if variables is None:
            variables = _ordered(taken)
        elif set(taken) != set(variables):
            raise RuntimeError(f"the {precision} step has other variables than {precisions[0]}'s")
    specs = zip(ARGUMENTS, learner.train_step.input_signature)
    values = variables_of(learner)
    return {
        "arguments": {name: _described(spec) for name, spec in specs},
        "variables": {name: _described(values[name]) for name in variables},
        "programs": programs,
    }


def averages_of(learner: Learner) -> dict[str, str]:
    """{name of a weight: name of its average}, as a checkpoint has them; {} without averages."""
    if not learner.average:
        return {}
    name_of = {id(variable): name for name, variable in variables_of(learner).items()}
    pairs = zip(learner.variables, learner.average.averages)
    return {name_of[id(weight)]: name_of[id(average)] for weight, average in pairs}


def _ordered(names):
    """Puts what a model file needs into the first pieces: averages, then weights, then the rest."""
    rank = {"average": 0, "model": 1}
    return sorted(names, key=lambda name: rank.get(name.split("/")[0], 2))


def _described(value):
    return {"shape": value.shape.as_list(), "dtype": value.dtype.name}


def write_initial(
    learner: Learner, folder: str, names: Sequence[str], record: dict[str, Any]
) -> None:
    """Writes the values of the variables with these names as a checkpoint.

    Args:
        learner: That has them.
        folder: Of the exported step.
        names: Of variables, in the order of the files.
        record: What config.json of the run says.
    """
    variables = variables_of(learner)
    facts = {
        "step": int(learner.step),
        "skipped": int(learner.skipped),
        "pixels": int(learner.pixels),
        "seconds": float(learner.seconds),
        "record": record,
    }
    values = {name: variables[name].numpy() for name in names}
    checkpoints.write(os.path.join(folder, manifest.INITIAL), values, facts)
