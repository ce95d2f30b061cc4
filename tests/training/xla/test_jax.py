"""The runner with JAX, in an environment that has it: from the export to a picture.

Compiling takes most of the time; `unbroken` does it once, and later runs of its program find it compiled.
"""

import json
import os
import signal

import numpy as np
import pytest
import tensorflow as tf
from training.xla.exported_runs import FIRST, LAST, call, manifest_of
from training.xla.jax_runs import JAX_PYTHON, NEEDS_JAX, QUICKLY, rows_of

from gllmm_tf import Codec
from gllmm_tf.training import data
from gllmm_tf.training.learner import Learner
from gllmm_tf.training.meter import SKIPS_UNTIL_STOP
from gllmm_tf.training.run import Run
from gllmm_tf.training.xla import program, take_back
from gllmm_tf.training.xla.runner import checkpoints

pytestmark = NEEDS_JAX


def run_jax(step, out, *options, cache=""):
    """Runs run.py in the exported folder, which is all that another machine would have."""
    where = {"JAX_COMPILATION_CACHE_DIR": cache} if cache else {}
    return call(JAX_PYTHON, f"{step}/run.py", f"--out={out}", *options, **QUICKLY, **where)


def without_times(rows):
    return [{k: v for k, v in row.items() if "seconds" not in k} for row in rows]


def final_state(out):
    return checkpoints.read(checkpoints.found_in(str(out))[-1])


@pytest.fixture(scope="module")
def unbroken(exported, tmp_path_factory):
    """The folder of a run that nothing interrupted, one step per call, one row per step."""
    out = tmp_path_factory.mktemp("unbroken")
    done = run_jax(exported.step, out, "--log_every=1", "--checkpoint_every=4")
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def unbroken_ms_ssim(exported_ms_ssim, tmp_path_factory):
    out = tmp_path_factory.mktemp("unbroken_ms_ssim")
    done = run_jax(exported_ms_ssim.step, out, "--log_every=1")
    assert done.returncode == 0, done.stderr
    return out


def reference(exported):
    """The same steps in TensorFlow without XLA: (rows of metrics, {name: value})."""
    settings = exported.settings
    paths = data.find_pictures(settings.data.train_glob)
    paths, _ = data.split(paths, settings.data.validation_images)
    pictures = data.Pictures.open(paths, f"{exported.run_dir}/cache")
    rule = data.Crops(
        pictures, settings.data.patch, settings.run.seed, settings.model.num_qualities
    )
    learner = Learner(settings)
    learner.restore(tf.train.latest_checkpoint(f"{exported.run_dir}/checkpoints"))
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
@pytest.mark.parametrize(
    "kind, steps, bound",
    [("", LAST - FIRST, 1e-4), pytest.param("_ms_ssim", 2, 0.1, marks=pytest.mark.slow)],
    ids=["mse", "ms_ssim"],
)
def test_jax_agrees_with_tensorflow(request, kind, steps, bound):
    exported = request.getfixturevalue(f"exported{kind}")
    out = request.getfixturevalue(f"unbroken{kind}")
    facts, state = final_state(out)
    rows, (expected_rows, expected_state) = rows_of(out), reference(exported)
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
    assert (facts["step"], facts["pixels"]) == (LAST, state["pixels"])


DYING = """
import os, signal, sys
sys.path[0] = sys.argv[1]
from gllmm_tf.training.xla.runner import checkpoints, command

write = checkpoints.write

def write_or_die(folder, *rest):
    if folder.endswith("-00000012"):
        os.makedirs(f"{folder}.tmp")
        os.kill(os.getpid(), signal.SIGKILL)
    write(folder, *rest)

checkpoints.write = write_or_die
command.main(sys.argv[2:])
"""


def test_killed_and_stopped_run_equals_the_unbroken_one(exported, unbroken, tmp_path):
    options = ["--log_every=1", "--checkpoint_every=4"]
    flags = [f"--step={exported.step}", f"--out={tmp_path}", *options]
    cache = {"JAX_COMPILATION_CACHE_DIR": str(unbroken / "compiled")}
    died = call(JAX_PYTHON, "-c", DYING, exported.step, *flags, **QUICKLY, **cache)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert sorted(name for name in os.listdir(tmp_path) if "checkpoint" in name) == [
        "checkpoint-00000008",
        "checkpoint-00000012.tmp",
    ], died.stderr
    assert rows_of(tmp_path)[-1]["step"] == 12
    with open(tmp_path / "metrics.jsonl", "a") as f:
        f.write('{"step": 13, "lo')  # what else a death may leave

    compiled = sorted(os.listdir(unbroken / "compiled"))
    cache = str(unbroken / "compiled")
    done = run_jax(exported.step, tmp_path, *options, "--max_seconds=0.01", cache=cache)
    assert done.returncode == 0, done.stderr
    assert "stopped at step 9: time limit of 0 s; the same command continues" in done.stderr
    done = run_jax(exported.step, tmp_path, *options, cache=cache)
    assert done.returncode == 0, done.stderr
    assert "starting from" in done.stderr and "step 9 of 24" in done.stderr
    assert compiled and sorted(os.listdir(unbroken / "compiled")) == compiled  # nothing anew

    (facts, state), (expected_facts, expected) = final_state(tmp_path), final_state(unbroken)
    assert facts["step"] == expected_facts["step"] == LAST
    for name, value in expected.items():
        np.testing.assert_array_equal(state[name], value, name)
    assert without_times(rows_of(tmp_path)) == without_times(rows_of(unbroken))


def test_from_the_export_to_a_picture(exported, unbroken, tmp_path, eagerly, sample_pixels):
    """What was trained elsewhere compresses a picture, and train.py takes it up where it is."""
    run_dir = str(tmp_path / "run")
    _, step = take_back.import_state(str(unbroken), run_dir)
    codec = Codec.load(run_dir)
    data = codec.compress(sample_pixels, 2)
    assert codec.decompress(data).shape == sample_pixels.shape

    settings = exported.settings.replace(run_dir=run_dir, steps=step + 1, log_every=1)
    result = Run(settings).train()
    assert [row["quality"] for row in result["qualities"]] == [1, 2, 3]
    rows = [row for row in rows_of(run_dir) if "validation" not in row]
    assert [row["step"] for row in rows] == list(range(FIRST + 1, LAST + 2))
    assert list(rows[-2]) == list(rows[-1])  # of the runner, of train.py
    assert [rows[-1][n] - rows[-2][n] for n in ("pixels", "skipped")] == [2 * 64 * 64, 0]


@pytest.mark.slow
def test_several_steps_per_call_and_bfloat16_are_close_to_single_steps(
    exported, unbroken, tmp_path
):
    wanted = np.array([row["loss"] for row in rows_of(unbroken)]).reshape(-1, 4).mean(1)

    def losses(name, *more):
        out = tmp_path / name
        done = run_jax(exported.step, out, "--log_every=4", "--steps_per_call=4", *more)
        assert done.returncode == 0, done.stderr
        return [row["loss"] for row in rows_of(out)]

    np.testing.assert_allclose(losses("several"), wanted, rtol=1e-4)
    gap = np.max(np.abs(np.array(losses("half", "--precision=bfloat16")) / wanted - 1))
    print(f"\nbfloat16 against float32, {LAST - FIRST} steps: losses within {gap:.1e}")
    assert 0 < gap < 0.1


def test_run_is_fitted_to_a_number_of_seconds(exported, unbroken, tmp_path):
    cache = str(unbroken / "compiled")
    done = run_jax(exported.step, tmp_path, "--fit_seconds=0.1", cache=cache)
    assert done.returncode == 0, done.stderr
    steps = FIRST + 5 + 1  # after five calls no time is left, and one more call is ready
    assert f"{steps} steps fit into" in done.stderr
    facts, _ = final_state(tmp_path)
    assert (facts["step"], facts["record"]["settings"]["steps"]) == (steps, steps)
    rate = exported.settings.replace(steps=steps).learning_rate_at(steps - 1)
    assert rows_of(tmp_path)[-1]["learning_rate"] == rate
    done = run_jax(exported.step, tmp_path, cache=cache)
    assert f"its {steps} steps are done" in done.stderr


def test_run_that_is_not_finite_stops_at_its_last_good_checkpoint(exported, unbroken, tmp_path):
    cache, flags = str(unbroken / "compiled"), ("--checkpoint_every=2", "--log_every=3")
    done = run_jax(exported.step, tmp_path, "--steps=6", *flags, cache=cache)
    assert done.returncode == 0, done.stderr
    manifest = manifest_of(exported)
    # The seventh update ruins the weights; no loss after it is finite.
    manifest["record"]["settings"].update(learning_rate=1e38, steps=60)
    step = tmp_path / "step"
    step.mkdir()
    for name in os.listdir(exported.step):
        os.symlink(f"{exported.step}/{name}", step / name)
    (step / "manifest.json").unlink()
    (step / "manifest.json").write_text(json.dumps(manifest))
    done = run_jax(step, tmp_path, *flags, cache=cache)
    assert done.returncode == 1
    limit = SKIPS_UNTIL_STOP
    assert f"{limit} steps in a row, to step {7 + limit}, had a non-finite loss" in done.stderr
    assert "checkpoint-00000006 is of before" in done.stderr
    assert "Traceback" not in done.stderr
    facts, state = final_state(tmp_path)
    assert facts["step"] == 6
    assert all(np.all(np.isfinite(value)) for value in state.values())
    rows = rows_of(tmp_path)
    assert rows[0]["skipped"] == 0 and rows[-1]["skipped"] > 10 and rows[-1]["loss"] is None


PRECISIONS_OF_CONVOLUTIONS = """
import collections, gzip, json, sys
sys.path[0] = sys.argv[1]
from gllmm_tf.training.xla.runner.stablehlo import to_stablehlo
from jax.interpreters.mlir import make_ir_context
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

hlo = gzip.open(f"{sys.argv[1]}/step-float32.hlo.gz").read()
for level in ("HIGHEST", "DEFAULT"):
    found = collections.Counter()
    with make_ir_context() as context:
        module = stablehlo.deserialize_portable_artifact(context, to_stablehlo(hlo, level))

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


def test_default_precision_is_for_plain_convolutions_alone(exported_ms_ssim):
    code = PRECISIONS_OF_CONVOLUTIONS
    done = call(JAX_PYTHON, "-c", code, exported_ms_ssim.step, PYTHONPATH="")
    assert done.returncode == 0, done.stderr
    highest, default = (json.loads(line) for line in done.stdout.splitlines())
    assert set(highest) == {"convolution highest", "grouped highest", "dot highest"}
    assert set(default) == {"convolution default", "grouped highest", "dot highest"}
    assert default["convolution default"] == highest["convolution highest"] > 100
    assert default["grouped highest"] == highest["grouped highest"] >= 10
    assert default["dot highest"] == highest["dot highest"]


def test_a_program_that_was_not_exported_is_one_line(exported_ms_ssim, tmp_path):
    done = run_jax(exported_ms_ssim.step, tmp_path, "--precision=bfloat16")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"run.py: {exported_ms_ssim.step}: holds no bfloat16 program; choose")
    assert last.endswith("--programs=float32,bfloat16 (--precision)")
