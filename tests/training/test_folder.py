"""The folder of a run: what it is bound to, and what its record and rows survive."""

import json
import os
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from training.tiny_runs import (
    LAMBDAS,
    tiny,
)

from gllmm_tf import errors
from gllmm_tf.coding import empty_channels
from gllmm_tf.training import data, folder, revision
from gllmm_tf.training.learner import Learner
from gllmm_tf.training.run import Run
from gllmm_tf.zoo import model_file


def test_folder_that_cannot_be_written_is_named_first(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "find_pictures", lambda globs: pytest.fail("too late"))
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.GllmmError, match="file/run: cannot be written .*; give another"):
        Run(tiny(train_glob=(pictures,), run_dir=str(tmp_path / "file" / "run")))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(errors.GllmmError, match="config.json: is not the record of a run"):
        Run(tiny(train_glob=(pictures,), run_dir=str(tmp_path)))


def test_other_settings_do_not_continue_a_run(uninterrupted):
    settings = uninterrupted("float32")[0]
    with pytest.raises(errors.GllmmError, match="its run has batch=2, not 3; use that value"):
        Run(settings.replace(batch=3))


def test_other_pictures_do_not_continue_a_run(uninterrupted):
    place = folder.Folder(uninterrupted("float32")[0].run.run_dir)
    place.check_pictures(place.record["pictures"])
    with pytest.raises(errors.GllmmError) as caught:
        place.check_pictures({**place.record["pictures"], "count": 4})
    message = "its run began with 5 pictures, train_glob names 4, or others; bring them back"
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_records_of_earlier_versions_are_understood(tmp_path):
    """Lists were text with commas once, and settings were flat."""
    settings = tiny(lambdas=LAMBDAS, trunk_widths=(8, 8, 8))
    old = {
        name: ",".join(map(str, v)) if isinstance(v, tuple) else v
        for name, v in settings.flat().items()
    }
    (tmp_path / "config.json").write_text(json.dumps({"settings": old}))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "checkpoint").write_text("")
    folder.Folder(str(tmp_path)).check_settings(settings)
    with pytest.raises(errors.GllmmError, match="its run has lambdas="):
        folder.Folder(str(tmp_path)).check_settings(settings.replace(lambdas=(0.1, 0.2)))


def test_starts_that_fail_bind_nothing(eagerly, pictures, tmp_path):
    """The next command trains, with other settings and other pictures."""
    place = tmp_path / "pictures"
    shutil.copytree(os.path.dirname(pictures), place)
    common = dict(
        train_glob=(f"{place}/*.png",),
        run_dir=str(tmp_path / "run"),
        steps=1,
        validation_images=0,
    )
    (place / "x.png").write_bytes((place / "0.png").read_bytes()[:900])
    for wrong, message in (
        ({}, "x.png"),
        ({"train_glob": (f"{place}/*.jpg",)}, "no picture matches"),
        ({"skip_unreadable": True, "validation_images": 5}, "none is left to train on"),
        ({"skip_unreadable": True, "patch": 192}, "smaller than the patch"),
        ({"skip_unreadable": True, "init_from": "nowhere.npz"}, "no file this path"),
    ):
        with pytest.raises(errors.GllmmError, match=message):
            Run(tiny(**{**common, **wrong}))
    (place / "x.png").unlink()
    killed = Run(tiny(**common))  # before its first checkpoint
    killed.folder.append({"step": 1, "loss": 1.0})
    (place / "0.png").unlink()
    run = Run(tiny(**{**common, "num_filters": 10, "batch": 1, "seed": 3}))
    run.train()
    assert [row["step"] for row in run.folder.rows()] == [1]
    with pytest.raises(errors.GllmmError, match="its run has num_filters=10, not 8"):
        Run(tiny(**common))


def test_rows_that_come_again_are_dropped(tmp_path):
    place = folder.Folder(str(tmp_path))
    for row in ({"step": 1}, {"step": 2}, {"step": 2, "validation": {}}, {"step": 3}):
        place.append(row)
    with open(tmp_path / "metrics.jsonl", "a") as f:
        f.write('{"step": 4, "lo')  # a death amid a line
    assert [row["step"] for row in place.rows()] == [1, 2, 2, 3]
    place.forget_after(2, finished=False)
    assert place.rows() == [{"step": 1}, {"step": 2}, {"step": 2, "validation": {}}]
    place.forget_after(2, finished=True)
    assert place.rows() == [{"step": 1}, {"step": 2}]


NO_SPACE = tf.errors.ResourceExhaustedError(None, None, "x.tmp; No space left on device")
NO_MEMORY = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor [9]")


@pytest.mark.parametrize(
    "error, memory",
    [
        (OSError(28, "No space left on device"), False),
        (NO_SPACE, False),
        (NO_MEMORY, True),
        (MemoryError("Unable to allocate 9 GiB"), True),
    ],
)
def test_full_disk_and_full_memory_are_two_things(error, memory):
    with pytest.raises(errors.GllmmError) as caught, folder.writing("runs/a"):
        raise error
    assert isinstance(caught.value, errors.OutOfMemoryError) == memory
    assert ("not enough memory" in str(caught.value)) == memory
    assert ("make room" in str(caught.value)) != memory
    with pytest.raises(ZeroDivisionError), folder.writing("runs/a"):
        raise ZeroDivisionError


def test_counting_empty_channels_without_memory_is_no_full_disk(
    eagerly, pictures, tmp_path, monkeypatch
):
    def exhausted(*arguments):
        raise NO_MEMORY

    monkeypatch.setattr(empty_channels, "fit", exhausted)
    run = Run(tiny(train_glob=(pictures,), run_dir=str(tmp_path), steps=1))
    with pytest.raises(errors.OutOfMemoryError, match="not enough memory for counting empty"):
        run.train()


def test_a_resumed_run_needs_its_start_no_more(eagerly, pictures, tmp_path):
    """The model that a run began with may be changed or removed: the run knows what it needs."""
    start = tmp_path / "start.npz"
    model_file.export_model(Learner(tiny(seed=5)).model, start, {"steps": 7, "revived": [1, 3]})
    common = dict(train_glob=(pictures,), run_dir=str(tmp_path / "run"), init_from=str(start))
    first = Run(tiny(steps=1, rate_ramp=9, **common))
    first.train()
    known = first.learner.start
    assert known["started_from"]["steps"] == 7 and known["held_back"] == [1, 3]
    start.unlink()
    again = Run(tiny(steps=2, rate_ramp=9, **common))
    assert again.learner.start == known
    np.testing.assert_array_equal(again.learner.rate_gradient(), first.learner.rate_gradient())
    again.train()
    info = model_file.ModelFile.read(tmp_path / "run").info
    assert info["started_from"] == known["started_from"]


def test_models_of_changed_code_say_so(eagerly, pictures, tmp_path, monkeypatch, capsys):
    for changed in (True, False):
        state_of_code = lambda changed=changed: ("a1b2", changed)  # noqa: E731
        monkeypatch.setattr("gllmm_tf.training.facts.revision", state_of_code)
        monkeypatch.setattr("gllmm_tf.training.run.revision", state_of_code)
        place = str(tmp_path / str(changed))
        Run(tiny(train_glob=(pictures,), run_dir=place, steps=1)).train()
        info = model_file.ModelFile.read(place).info
        assert (info["revision"], info["modified"]) == ("a1b2", changed)
        assert ("changes that are not committed" in capsys.readouterr().err) == changed


def test_revision_is_that_of_the_code():
    commit, modified = revision.revision()
    assert re.fullmatch("[0-9a-f]{40}|", commit) and isinstance(modified, bool)


@pytest.mark.parametrize("name", ["a[1]", "b*", "c?", "d\\e"])
def test_names_from_which_tensorflow_reads_no_checkpoints(tmp_path, name):
    with pytest.raises(errors.GllmmError, match="TensorFlow reads no checkpoints from a path with"):
        folder.Folder(str(tmp_path / name / "run")).check_name()


def test_other_odd_names_continue(eagerly, pictures, tmp_path):
    place = str(tmp_path / "a, b {c} %20 é")
    for steps in (1, 2):
        common = dict(train_glob=(pictures,), run_dir=place, validation_images=0)
        run = Run(tiny(steps=steps, **common))
        run.train()
        assert [row["step"] for row in run.folder.rows()] == list(range(1, steps + 1))
