"""The runner with JAX, in an environment that has it."""

import io
import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from training.xla.exported_runs import (
    FIRST,
    JAX_PYTHON,
    LAST,
    call,
    manifest_of,
    needs_jax,
)

from gllmm_tf.training import crops, data
from gllmm_tf.training.learner import Learner
from gllmm_tf.training.run import SKIPS_UNTIL_STOP
from gllmm_tf.training.xla import program
from gllmm_tf.training.xla import state as state_lib


def run_jax(exported, out, *options, step=None):
    """Runs runner.py from the exported folder, which is all that another machine would have."""
    step = step or exported.step
    data_options = [f"--data={exported.pictures}", f"--out={out}"]
    return call(JAX_PYTHON, f"{step}/runner.py", step, *data_options, *options, PYTHONPATH="")


def rows_of(out):
    with open(f"{out}/metrics.jsonl") as f:
        return [json.loads(line) for line in f]


def final_state(out):
    return state_lib.read_checkpoint(state_lib.checkpoints(out)[-1])


def reference(exported):
    """The same steps in TensorFlow without XLA: (rows of metrics, {name: value})."""
    settings = exported.settings
    paths, _ = data.split(
        data.find_pictures(settings.data.train_glob), settings.data.validation_images
    )
    decoded = [data.decode(path) for path in paths]
    flat = np.concatenate([picture.reshape(-1) for picture in decoded])
    pictures = crops.Pictures([picture.shape[:2] for picture in decoded], flat)
    qualities = len(settings.model.lambdas) if len(settings.model.lambdas) > 1 else None
    rule = data.Crops(pictures, settings.data.patch, settings.run.seed, qualities)
    learner = Learner(settings)
    learner.checkpoint.restore(tf.train.latest_checkpoint(f"{exported.run_dir}/checkpoints"))
    rows = [
        learner.take_step(*rule.batch(step, settings.data.batch), step)
        for step in range(FIRST, LAST)
    ]
    return rows, {name: v.numpy() for name, v in program.variables_of(learner).items()}


def differences(rows, expected_rows, state, expected_state):
    """(relative differences of the losses, relative L2 distance of all weights, worst of one)."""
    losses = [abs(a["loss"] / b["loss"] - 1) for a, b in zip(rows, expected_rows)]
    names = [name for name in state if name.startswith("model/")]
    gaps = [np.linalg.norm(state[name] - expected_state[name]) for name in names]
    norms = [np.linalg.norm(expected_state[name]) for name in names]
    worst = max(g / n for g, n in zip(gaps, norms) if n > 1e-3)
    return losses, np.linalg.norm(gaps) / np.linalg.norm(norms), worst


# MS-SSIM of a reconstruction that is still flat is a ratio of small differences: its gradient has
# few good digits, and TensorFlow with XLA moves as far away from TensorFlow without.
@needs_jax
@pytest.mark.parametrize(
    "name, steps, bound", [("exported", LAST - FIRST, 1e-4), ("exported_ms_ssim", 2, 0.1)]
)
def test_jax_agrees_with_tensorflow(request, tmp_path, name, steps, bound):
    exported = request.getfixturevalue(name)
    done = run_jax(exported, tmp_path, "--log_every=1")
    assert done.returncode == 0, done.stderr
    facts, state = final_state(tmp_path)
    rows, (expected_rows, expected_state) = rows_of(tmp_path), reference(exported)
    assert [row["step"] for row in rows] == list(range(FIRST + 1, LAST + 1))
    losses, weights, worst = differences(rows, expected_rows, state, expected_state)
    model, optimizer = exported.settings.model, exported.settings.optimizer.optimizer
    name = f"{model.system}, {model.metric}, {optimizer}"
    print(
        f"\n{name}, float32, JAX against TensorFlow: losses within {max(losses[:2]):.1e} after 2 "
        f"steps, {max(losses):.1e} after {len(losses)}; then all weights within {weights:.1e} "
        f"(relative L2), the worst variable {worst:.1e}"
    )
    assert max(losses[:steps]) < 1e-4
    assert max(losses) < bound and weights < bound
    for key in ("step", "skipped", "pixels", "optimizer/_iterations"):
        np.testing.assert_array_equal(state[key], expected_state[key])
    assert facts["step"] == LAST


@needs_jax
def test_interrupted_run_equals_the_uninterrupted_one(exported, tmp_path):
    common = ["--steps_per_call=4", "--steps=16", "--checkpoint_every=4", "--log_every=4"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    done = run_jax(exported, whole, *common)
    assert done.returncode == 0, done.stderr
    names = [os.path.basename(path) for path in state_lib.checkpoints(whole)]
    assert names == ["checkpoint-00000012", "checkpoint-00000016"]  # the two latest are kept

    done = run_jax(exported, parts, *common, "--max_seconds=0.01")
    assert done.returncode == 0, done.stderr
    assert "stopped at step 8: time limit of 0 s; the same command continues" in done.stderr
    # What a killed process may leave: a later line and half a line, half a checkpoint.
    with open(parts / "metrics.jsonl", "a") as f:
        f.write('{"step": 12, "loss": 0.0}\n{"step": 16, "lo')
    (parts / "checkpoint-00000012.tmp").mkdir()
    done = run_jax(exported, parts, *common)
    assert done.returncode == 0, done.stderr

    (facts, state), (expected_facts, expected) = final_state(parts), final_state(whole)
    assert facts["step"] == expected_facts["step"] == 16
    for name, value in expected.items():
        np.testing.assert_array_equal(state[name], value, name)
    rows, expected_rows = (
        [{k: v for k, v in row.items() if "seconds" not in k} for row in rows_of(out)]
        for out in (parts, whole)
    )
    assert rows == expected_rows
    assert [row["step"] for row in rows] == [8, 12, 16]


@needs_jax
def test_several_steps_per_call_and_bfloat16_are_close_to_single_steps(exported, tmp_path):
    single, several, half = (tmp_path / name for name in ("single", "several", "half"))
    assert run_jax(exported, single, "--log_every=4").returncode == 0
    assert run_jax(exported, several, "--log_every=4", "--steps_per_call=4").returncode == 0
    done = run_jax(exported, half, "--log_every=4", "--steps_per_call=4", "--precision=bfloat16")
    assert done.returncode == 0, done.stderr
    wanted = [row["loss"] for row in rows_of(single)]
    np.testing.assert_allclose([row["loss"] for row in rows_of(several)], wanted, rtol=1e-4)
    losses = [row["loss"] for row in rows_of(half)]
    gap = np.max(np.abs(np.array(losses) / wanted - 1))
    print(f"\nbfloat16 against float32, {LAST - FIRST} steps: losses within {gap:.1e}")
    assert 0 < gap < 0.1


@needs_jax
def test_run_that_is_not_finite_stops_at_its_last_good_checkpoint(exported, tmp_path):
    step = tmp_path / "step"
    shutil.copytree(exported.step, step)
    buffer = io.BytesIO()
    rates = np.full(60, 1e-4, np.float32)
    rates[6] = np.inf  # the seventh update ruins the weights; no loss after it is finite
    np.save(buffer, rates)
    manifest = manifest_of(exported)
    manifest["schedule"]["sha256"] = state_lib.write_bytes(step / "schedule.npy", buffer.getvalue())
    (step / "manifest.json").write_text(json.dumps(manifest))
    done = run_jax(exported, tmp_path / "out", "--checkpoint_every=2", "--log_every=3", step=step)
    assert done.returncode == 1
    limit = SKIPS_UNTIL_STOP
    assert f"{limit} steps in a row, to step {7 + limit}, had a non-finite loss" in done.stderr
    assert "the checkpoint of step 6 is left" in done.stderr
    assert "Traceback" not in done.stderr
    facts, state = final_state(tmp_path / "out")
    assert facts["step"] == 6
    assert all(np.all(np.isfinite(value)) for value in state.values())
    rows = rows_of(tmp_path / "out")
    assert rows[0]["skipped"] == 0 and rows[-1]["skipped"] > 10 and rows[-1]["loss"] is None


PRECISIONS_OF_CONVOLUTIONS = """
import collections, gzip, json, sys
sys.path.insert(0, sys.argv[1])
import device as runner
from jax.interpreters.mlir import make_ir_context
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

hlo = gzip.open(f"{sys.argv[1]}/step-float32.hlo.gz").read()
for level in ("HIGHEST", "DEFAULT"):
    found = collections.Counter()
    with make_ir_context() as context:
        module = stablehlo.deserialize_portable_artifact(
            context, runner.to_stablehlo(hlo, level)
        )

        def visit(op):
            kind = op.name.split(".")[1].split("_")[0]
            if kind in ("convolution", "dot"):
                groups = [v.value for k, v in op.attributes.items() if k.endswith("_group_count")]
                if kind == "convolution" and max(groups) > 1:
                    kind = "grouped"
                precise = "HIGHEST" in str(op.attributes.get("precision_config"))
                found[kind + (" highest" if precise else " default")] += 1
            return ir.WalkResult.ADVANCE

        module.operation.walk(visit)
    print(json.dumps(found))
"""


@needs_jax
def test_default_precision_is_for_plain_convolutions_alone(exported_ms_ssim):
    done = call(JAX_PYTHON, "-c", PRECISIONS_OF_CONVOLUTIONS, exported_ms_ssim.step)
    assert done.returncode == 0, done.stderr
    highest, default = (json.loads(line) for line in done.stdout.splitlines())
    assert set(highest) == {"convolution highest", "grouped highest", "dot highest"}
    assert set(default) == {"convolution default", "grouped highest", "dot highest"}
    assert default["convolution default"] == highest["convolution highest"] > 100
    assert default["grouped highest"] == highest["grouped highest"] >= 10
    assert default["dot highest"] == highest["dot highest"]
