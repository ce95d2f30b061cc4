"""The runner without JAX: what it starts from, refuses, and fits."""

import contextlib
import io
import json
import os
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from training.xla.exported_runs import FIRST, LAST, manifest_of, options

from gllmm_tf import errors
from gllmm_tf.training import crops
from gllmm_tf.training.xla import take_back
from gllmm_tf.training.xla.runner import checkpoints, command, loop, pictures

ABACUS = SimpleNamespace(put=lambda arrays: arrays, get=lambda arrays: arrays, device="abacus")


def begun(exported, out, step=5, **changes):
    """Writes a checkpoint as the runner does, with other values in its record; returns its path."""
    facts, state = checkpoints.read(f"{exported.step}/initial")
    facts["record"] = {**facts["record"], **changes}
    path = checkpoints.path_of(str(out), step)
    checkpoints.write(path, {**state, "step": np.array(step, np.int64)}, facts)
    return path


def test_runner_starts_from_the_exported_state_and_drops_later_metrics(exported, tmp_path):
    lines = ['{"step": 4}', '{"step": 8}', '{"step": 1']
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    run = loop.Run(options(exported, tmp_path))
    assert (run.step, run.steps, run.seconds) == (FIRST, LAST, 12.5)
    assert (tmp_path / "metrics.jsonl").read_text() == lines[0] + "\n"
    with run.stop.on_signals():
        os.kill(os.getpid(), signal.SIGTERM)
    assert run.stop.reason == "SIGTERM"


def test_inputs_are_those_of_training(exported, tmp_path):
    inputs, stop = loop.Run(options(exported, tmp_path)).inputs_from(ABACUS, FIRST)
    assert stop == FIRST + 1
    found, _ = pictures.read(f"{exported.step}/pictures")
    wanted = crops.Crops(found, 64, 0, 3).batch(FIRST, 2)
    np.testing.assert_array_equal(inputs["crops"][0], wanted[0])
    np.testing.assert_array_equal(inputs["quality"][0], wanted[1])
    np.testing.assert_array_equal(inputs["seed"], [[0, FIRST]])
    rate = np.float32(exported.settings.learning_rate_at(FIRST))
    assert inputs["learning_rate"].tolist() == [rate]
    for name, entry in manifest_of(exported)["arguments"].items():
        assert inputs[name].dtype.name == entry["dtype"]
        assert list(inputs[name].shape[1:]) == entry["shape"]


def test_calls_end_at_multiples(exported, tmp_path):
    run = loop.Run(options(exported, tmp_path, "--steps_per_call=5", "--steps=13"))
    stops = [run.inputs_from(ABACUS, first)[1] for first in (FIRST, 5, 10)]
    assert stops == [5, 10, 13]


@pytest.mark.parametrize(
    "text, more",
    [
        ("steps=25: the run has 24; export again with more", ["--steps=25"]),
        (
            "measures 5 calls .* steps_per_call=4 only 5 are left",
            ["--steps_per_call=4", "--fit_seconds=9"],
        ),
        ("none/manifest.json: is missing; name the folder", ["--step=none"]),
        ("none/pictures.json: is missing", ["--data=none"]),
        ("max_seconds=-1.0 cannot be used", ["--max_seconds=-1"]),
    ],
)
def test_what_cannot_be_run_is_one_line(exported, tmp_path, text, more):
    with pytest.raises(errors.GllmmError, match=text):
        loop.Run(options(exported, tmp_path, *more))


def test_a_length_that_can_be_fitted_is_accepted(exported, tmp_path):
    loop.Run(options(exported, tmp_path, "--steps_per_call=3", "--fit_seconds=9"))


@pytest.mark.parametrize("more", [["--steps_per_call=0"], ["--steps=9", "--fit_seconds=9"], ["x"]])
def test_wrong_options_are_one_line(exported, tmp_path, more):
    said = io.StringIO()
    with contextlib.redirect_stderr(said), pytest.raises(SystemExit) as caught:
        options(exported, tmp_path, *more)
    assert caught.value.code == 2
    assert said.getvalue().splitlines()[-1].count("error: ") == 1


def test_small_pictures_are_refused(exported, tmp_path):
    np.save(tmp_path / "small.npy", np.zeros((3, 40, 90, 3), np.uint8))
    with pytest.raises(errors.GllmmError, match="all 3 pictures are smaller than the patch of 64"):
        loop.Run(options(exported, tmp_path / "out", f"--data={tmp_path}/small.npy"))


def test_another_network_does_not_continue_a_run(exported, tmp_path):
    path = begun(exported, tmp_path)
    facts, state = checkpoints.read(path)
    del state["average/0"]
    checkpoints.write(path, state, facts)
    with pytest.raises(errors.GllmmError, match="belongs to another model or optimizer"):
        loop.Run(options(exported, tmp_path))


@pytest.mark.parametrize(
    "name, value", [("seed", 9), ("batch", 3), ("ema", 0.9), ("lambdas", [0.1, 0.2, 0.3])]
)
def test_other_settings_do_not_continue_a_run(exported, tmp_path, name, value):
    """Those that `Run` compares, whether the program has them built in or not."""
    settings = {**manifest_of(exported)["record"]["settings"], "steps": 99, "learning_rate": 1.0}
    begun(exported, tmp_path, settings=settings)
    assert loop.Run(options(exported, tmp_path)).step == 5  # what may differ
    begun(exported, tmp_path, settings={**settings, name: value})
    with pytest.raises(errors.GllmmError) as caught:
        loop.Run(options(exported, tmp_path))
    assert f"{tmp_path}: its run has {name}=" in str(caught.value)
    assert "use that value, or another out" in str(caught.value)


@pytest.mark.parametrize("change", ["sha256", "count"])
def test_other_pictures_do_not_continue_a_run(exported, tmp_path, change):
    """Crops are drawn by the number of a picture: the runner compares, as train.py does."""
    known = manifest_of(exported)["record"]["pictures"]
    other = {**known, change: {"sha256": "of others", "count": 9}[change]}
    begun(exported, tmp_path, pictures=known)
    assert loop.Run(options(exported, tmp_path)).step == 5
    begun(exported, tmp_path, pictures=other)
    with pytest.raises(errors.GllmmError) as caught:
        loop.Run(options(exported, tmp_path))
    message = f"its run began with {other['count']} pictures, data names 5, or others; bring them"
    assert message in str(caught.value)


def test_a_run_that_was_exported_on_the_way_keeps_its_pictures(exported, tmp_path):
    """The first call elsewhere is no first one: `exported` has done some steps here."""
    np.save(tmp_path / "others.npy", np.zeros((5, 64, 64, 3), np.uint8))
    with pytest.raises(errors.GllmmError, match="its run began with 5 pictures, data names 5, or"):
        loop.Run(options(exported, tmp_path / "out", f"--data={tmp_path}/others.npy"))


def test_the_length_is_fitted_to_the_time_and_kept(exported, tmp_path):
    run = loop.Run(options(exported, tmp_path, "--steps_per_call=4"))
    assert (run.step, run.steps, run.fitted) == (FIRST, LAST, False)
    run.fit(seconds_per_step=0.5, seconds=53.0)
    assert (run.steps, run.fitted) == (108, True)  # 4 + 106, whole calls
    wanted = exported.settings.replace(steps=108)
    for step in (FIRST, 50, 107):
        rate = run.inputs_from(ABACUS, step)[0]["learning_rate"][0]
        assert rate == np.float32(wanted.learning_rate_at(step))
    run.save(ABACUS, run.state)
    again = loop.Run(options(exported, tmp_path))
    assert (again.step, again.steps, again.fitted) == (FIRST, 108, True)
    learner, step = take_back.import_state(str(tmp_path), f"{tmp_path}/imported")
    assert (step, learner.settings.schedule.steps) == (FIRST, 108)
    run.fit(seconds_per_step=10.0, seconds=1.0)
    assert run.steps == FIRST + 4  # one more call, which is ready


def test_checkpoints_need_room_that_is_there(exported, tmp_path, monkeypatch):
    usage = shutil.disk_usage
    small = lambda folder: usage(folder)._replace(free=200_000)  # noqa: E731
    monkeypatch.setattr(shutil, "disk_usage", small)
    with pytest.raises(errors.GllmmError, match="0 MB free, the checkpoints need .* another out"):
        loop.Run(options(exported, tmp_path))


def test_a_checkpoint_has_the_record_of_the_run(exported, tmp_path):
    run = loop.Run(options(exported, tmp_path, "--log_every=7"))
    run.save(ABACUS, run.state)
    facts, _ = checkpoints.read(checkpoints.found_in(str(tmp_path))[-1])
    record = manifest_of(exported)["record"]
    assert facts["record"]["settings"].pop("log_every") == 7
    assert record["settings"].pop("log_every") == 50
    assert facts["record"] == record
    assert (facts["step"], facts["skipped"], facts["pixels"]) == (FIRST, 0, FIRST * 2 * 64 * 64)
    assert (facts["device"], facts["training_pictures"]) == ("abacus", 3)


def test_old_checkpoints_go(exported, tmp_path):
    run = loop.Run(options(exported, tmp_path))
    for run.step in (5, 6, 7):
        run.save(ABACUS, run.state)
    names = [os.path.basename(path) for path in checkpoints.found_in(str(tmp_path))]
    assert names == ["checkpoint-00000006", "checkpoint-00000007"]


def test_crossed():
    assert [loop.crossed(6, now, 4) for now in (7, 8, 9)] == [False, True, True]
    assert not loop.crossed(8, 11, 4)


def test_run_py_finds_its_own_step_and_pictures(tmp_path):
    found = command.parse(["--out=out"], program=str(tmp_path / "run.py"))
    assert (found.step, found.data) == (str(tmp_path), str(tmp_path / "pictures"))
    assert json.dumps(vars(found))  # plain values
