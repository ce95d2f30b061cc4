"""Several parts in one folder: what travels, in which order they run, what one takes from another."""

import json
import os

import numpy as np
import pytest
from training.xla.exported_runs import TINY, begun_run

from gllmm_tf import errors
from gllmm_tf.training.folder import Stop
from gllmm_tf.training.xla import bundle, take_back
from gllmm_tf.training.xla.runner import checkpoints, schedule
from gllmm_tf.training.xla.runner.schedule import Part


@pytest.fixture(scope="module")
def runs(folder):
    """Settings of two runs of one network: the second has larger crops and has not begun."""
    settings, learner, _ = begun_run(folder, "scheduled", TINY)
    return (
        settings,
        settings.replace(run_dir=f"{folder}/second", patch=128, batch=1, seed=3),
        learner,
    )


@pytest.fixture(scope="module")
def bundled(runs, tmp_path_factory):
    """The folder of a bundle of both, the second starting from the first."""
    place = str(tmp_path_factory.mktemp("bundled") / "bundle")
    parts = [(Part("first", 3, "", ""), runs[0]), (Part("second", 1, "first", ""), runs[1])]
    bundle.write_schedule(parts, place, programs=("float32",))
    return place


def finish(bundled, out, name, add=0.0, step=None):
    """Writes what the runner does at the end of a part; `add` is what training did to each array."""
    initial = f"{bundled}/{name}/initial"
    begun = checkpoints.found_in(f"{out}/{name}")
    facts, arrays = checkpoints.read(begun[-1] if begun else initial)
    step = step or facts["record"]["settings"]["steps"]
    arrays = {k: v + v.dtype.type(add) for k, v in arrays.items()}
    arrays["step"] = np.array(step, np.int64)
    checkpoints.write(
        checkpoints.path_of(f"{out}/{name}", step), arrays, {**facts, "step": step, "pixels": 7}
    )


@pytest.fixture
def launched(monkeypatch, bundled):
    """What the runner would have been started with, in place of JAX."""
    calls = []

    def launch(folder, arguments, stop):
        given = dict(argument.lstrip("-").split("=", 1) for argument in arguments)
        calls.append(given)
        name = os.path.basename(given["step"])
        finish(bundled, os.path.dirname(given["out"]), name, add=len(calls))
        return 0

    monkeypatch.setattr(schedule, "launch", launch)
    return calls


def test_pictures_travel_once(bundled):
    assert os.path.isdir(f"{bundled}/first/pictures")
    assert not os.path.exists(f"{bundled}/second/pictures")
    wanted = [Part("first", 3, "", "first"), Part("second", 1, "first", "first")]
    assert schedule.read(bundled) == wanted
    assert os.path.exists(f"{bundled}/run.py")


def test_parts_run_in_order_and_share_the_time(bundled, launched, tmp_path):
    assert schedule.run(bundled, str(tmp_path), 400, ["--precision=default"], Stop()) == 0
    first, second = launched
    assert first["step"] == f"{bundled}/first" and first["out"] == str(tmp_path / "first")
    assert first["data"] == second["data"] == f"{bundled}/first/pictures"
    assert first["precision"] == second["precision"] == "default"
    assert 295 < float(first["fit_seconds"]) <= 300
    assert 390 < float(second["fit_seconds"]) <= 400  # nothing was needed: all is left
    assert schedule.run(bundled, str(tmp_path), 0, [], Stop()) == 0
    assert len(launched) == 2  # both are done


def test_second_part_takes_over_the_averages_alone(bundled, runs, launched, tmp_path):
    schedule.run(bundled, str(tmp_path), 0, [], Stop())
    assert "fit_seconds" not in launched[0]
    facts, arrays = checkpoints.read(checkpoints.path_of(str(tmp_path / "second"), 0))
    _, trained = checkpoints.read(checkpoints.found_in(str(tmp_path / "first"))[-1])
    _, fresh = checkpoints.read(f"{bundled}/second/initial")
    with open(f"{bundled}/second/manifest.json") as f:
        averages = json.load(f)["averages"]
    assert len(averages) == len(runs[2].variables)
    for name, value in arrays.items():
        if name in averages:
            np.testing.assert_array_equal(value, trained[averages[name]])
            np.testing.assert_array_equal(arrays[averages[name]], trained[averages[name]])
        elif name not in averages.values():
            np.testing.assert_array_equal(value, fresh[name])
    assert facts["step"] == 0
    began = facts["record"]["start"]["started_from"]
    assert (began["steps"], began["pixels_seen"]) == (runs[0].schedule.steps, 7)


def test_a_part_comes_back_as_a_run(bundled, runs, launched, tmp_path):
    schedule.run(bundled, str(tmp_path / "out"), 0, [], Stop())
    learner, step = take_back.import_state(str(tmp_path / "out" / "second"), str(tmp_path / "run"))
    assert step == runs[1].schedule.steps
    assert learner.settings.data.patch == 128


def test_a_part_that_fails_or_is_stopped_ends_it(bundled, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(schedule, "launch", lambda *given: calls.append(given) or 130)
    assert schedule.run(bundled, str(tmp_path), 0, [], Stop()) == 130
    assert len(calls) == 1
    (tmp_path / "first").mkdir()
    finish(bundled, tmp_path, "first", step=9)  # not all of its steps
    assert schedule.run(bundled, str(tmp_path), 0, [], Stop()) == 130
    assert f"--out={tmp_path}/first" in calls[1][1]


def test_another_network_is_refused(bundled, tmp_path):
    (tmp_path / "first").mkdir()
    facts, arrays = checkpoints.read(f"{bundled}/first/initial")
    name = next(name for name in arrays if name.startswith("average/"))
    arrays[name] = arrays[name][..., :1]
    checkpoints.write(checkpoints.path_of(str(tmp_path / "first"), 5), arrays, facts)
    with pytest.raises(errors.GllmmError, match="does not fit second, which is another network"):
        schedule.hand_over(
            str(tmp_path / "first"),
            f"{bundled}/first",
            f"{bundled}/second",
            str(tmp_path / "second"),
        )


@pytest.mark.parametrize(
    "parts, message",
    [
        ([("a", "b"), ("b", "")], "part a starts from b, which is no part before it"),
        ([("a", ""), ("a", "")], "'a' cannot name a part"),
        ([("../a", "")], "cannot name a part"),
    ],
)
def test_schedules_that_cannot_be(runs, tmp_path, parts, message):
    parts = [(Part(name, 1, start, ""), runs[0]) for name, start in parts]
    with pytest.raises(errors.GllmmError, match=message):
        bundle.write_schedule(parts, str(tmp_path / "bundle"))
    assert not (tmp_path / "bundle").exists()


def test_folder_without_a_schedule_is_one_line(tmp_path, capsys):
    assert schedule.main([f"--out={tmp_path}/out", f"--bundle={tmp_path}"]) == 1
    assert "schedule.json: is missing" in capsys.readouterr().err
