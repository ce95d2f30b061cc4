"""The runner without JAX: what it starts from, refuses, and fits."""

import json
import os
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from training.xla.exported_runs import (
    FIRST,
    LAST,
    TINY,
    manifest_of,
    options,
)

from gllmm_tf import errors
from gllmm_tf.training import crops, data
from gllmm_tf.training.settings import Settings
from gllmm_tf.training.xla import runner, take_back
from gllmm_tf.training.xla import state as state_lib


def test_runner_starts_from_the_exported_state_and_drops_later_metrics(exported, tmp_path):
    lines = ['{"step": 4}', '{"step": 8}', '{"step": 1']
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    run = runner.Run(options(exported, tmp_path))
    assert (run.step, run.steps, run.skipped, run.seconds) == (FIRST, LAST, 0, 12.5)
    assert (tmp_path / "metrics.jsonl").read_text() == lines[0] + "\n"
    with run.signals():
        os.kill(os.getpid(), signal.SIGTERM)
    assert run.stop_reason == "SIGTERM"
    inputs, stop = run.inputs_from(SimpleNamespace(put=lambda arrays: arrays), FIRST)
    assert stop == FIRST + 1
    settings, arguments = exported.settings, manifest_of(exported)["arguments"]
    wanted = crops.Crops(runner.open_pictures(exported.pictures)[0], 64, 0, 3).batch(FIRST, 2)
    np.testing.assert_array_equal(inputs["crops"][0], wanted[0])
    np.testing.assert_array_equal(inputs["quality"][0], wanted[1])
    np.testing.assert_array_equal(inputs["seed"], [[0, FIRST]])
    assert inputs["learning_rate"][0] == np.float32(settings.learning_rate_at(FIRST))
    for name, entry in arguments.items():
        assert inputs[name].dtype.name == entry["dtype"]
        assert list(inputs[name].shape[1:]) == entry["shape"]


def test_runner_refuses_in_one_line(exported, tmp_path):
    def refuses(text, *more, **changed):
        where = SimpleNamespace(**{**vars(exported), **changed})
        with pytest.raises(runner.RunError, match=text):
            runner.Run(options(where, tmp_path / "out", *more))

    refuses("--steps=25: the exported schedule has 24 steps", "--steps=25")
    refuses(
        "measures 5 calls .* of --steps_per_call=4 only 5 are",
        "--steps_per_call=4",
        "--fit_seconds=9",
    )
    runner.Run(options(exported, tmp_path / "out", "--steps_per_call=3", "--fit_seconds=9"))
    refuses("manifest.json: is missing; name the folder", step=str(tmp_path))
    np.save(tmp_path / "small.npy", np.zeros((3, 40, 90, 3), np.uint8))
    refuses(
        "all 3 pictures are smaller than the patch of 64 pixels",
        pictures=str(tmp_path / "small.npy"),
    )
    facts, state = state_lib.read_checkpoint(f"{exported.step}/initial")
    path = str(tmp_path / "out" / "checkpoint-00000005")
    facts["settings"] = {**facts["settings"], "steps": 99, "seed": 9}
    state_lib.write_checkpoint(path, state, facts)
    refuses("its run has --seed=9, the exported step 0; name another --out")
    del state["average/0"]
    state_lib.write_checkpoint(path, state, facts)
    refuses("belongs to another model or optimizer; name another --out")
    shutil.copytree(exported.step, tmp_path / "copy")
    with open(tmp_path / "copy" / "schedule.npy", "ab") as f:
        f.write(b"!")
    refuses("schedule.npy: is damaged", step=str(tmp_path / "copy"))


def test_stretched_schedule_keeps_its_shape():
    settings = Settings.of(**TINY)
    short = np.array([settings.learning_rate_at(s) for s in range(LAST)], np.float32)
    long = runner.stretched(short, 10 * LAST)
    assert (len(long), long.dtype) == (10 * LAST, np.float32)
    assert (long[0], long[-1]) == (short[0], short[-1])
    assert 0.95 * short.max() < long.max() <= short.max()
    peak = np.argmax(long)
    assert np.all(np.diff(long[: peak + 1]) >= 0) and np.all(np.diff(long[peak:]) <= 0)
    np.testing.assert_array_equal(runner.stretched(short, LAST), short)


def test_length_is_fitted_to_the_time_and_kept(exported, tmp_path):
    arguments = [exported.step, f"--data={exported.pictures}", f"--out={tmp_path}"]
    run = runner.Run(runner.parse([*arguments, "--steps_per_call=4"]))
    assert (run.step, run.steps, run.fitted) == (FIRST, LAST, False)
    run.fit(seconds_per_step=0.5, seconds=53.0)
    assert (run.steps, len(run.schedule), run.fitted) == (108, 108, True)  # 4 + 106, whole calls
    run.save(SimpleNamespace(get=lambda state: state, device="abacus"), run.state)
    again = runner.Run(runner.parse(arguments))
    assert (again.step, again.steps, again.fitted) == (FIRST, 108, True)
    np.testing.assert_array_equal(again.schedule, run.schedule)
    learner, step = take_back.import_state(str(tmp_path), f"{tmp_path}/imported")
    assert (step, learner.settings.schedule.steps) == (FIRST, 108)
    run.fit(seconds_per_step=10.0, seconds=1.0)
    assert run.steps == FIRST + 4  # one more call, which is ready


def test_crossed():
    assert [runner.crossed(6, now, 4) for now in (7, 8, 9)] == [False, True, True]
    assert not runner.crossed(8, 11, 4)


def test_other_pictures_do_not_continue_a_run(exported, tmp_path):
    """Crops are drawn by the number of a picture: the runner compares, as train.py does."""
    with np.load(exported.pictures) as archive:
        arrays = dict(archive)
    facts, state = state_lib.read_checkpoint(f"{exported.step}/initial")
    begun = {**facts, "step": 5, "fingerprint": str(arrays["fingerprint"])}
    state_lib.write_checkpoint(str(tmp_path / "out" / "checkpoint-00000005"), state, begun)
    assert runner.Run(options(exported, tmp_path / "out")).step == 5
    for change in ({"fingerprint": np.array("another")}, {"shapes": arrays["shapes"][::-1]}):
        others = {**arrays, **change}
        if "shapes" in change:
            del others["fingerprint"]  # as earlier versions wrote it
        np.savez(tmp_path / "others.npz", **others)
        where = SimpleNamespace(step=exported.step, pictures=str(tmp_path / "others.npz"))
        with pytest.raises(runner.RunError, match="others.npz: holds other pictures than those of"):
            runner.Run(options(where, tmp_path / "out"))


def test_pictures_travel_with_the_run(exported, tmp_path):
    """The record of the run that is taken back has them, so that train.py compares them too."""
    run = runner.Run(options(exported, tmp_path / "out"))
    run.save(SimpleNamespace(get=lambda state: state, device="abacus"), run.state)
    take_back.import_state(str(tmp_path / "out"), str(tmp_path / "run"))
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    paths = data.find_pictures(exported.settings.data.train_glob)
    assert record["pictures"] == {"count": 5, "sha256": data.fingerprint(paths)}
    other = {**record, "pictures": {"count": 4, "sha256": "another"}}
    (tmp_path / "run" / "config.json").write_text(json.dumps(other))
    with pytest.raises(errors.GllmmError, match="began with other pictures than"):
        take_back.import_state(str(tmp_path / "out"), str(tmp_path / "run"))
