"""The way back: state and model of what the runner has trained."""

import json
import os
import pathlib
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from training.xla.exported_runs import TINY, call

from gllmm_tf import Codec, errors
from gllmm_tf.coding import empty_channels
from gllmm_tf.training import data
from gllmm_tf.training.learner import Learner
from gllmm_tf.training.settings import Settings
from gllmm_tf.training.xla import program, take_back
from gllmm_tf.training.xla.runner import checkpoints
from gllmm_tf.zoo.model_file import ModelFile


@pytest.fixture(scope="module")
def trained(exported, tmp_path_factory):
    """What the runner might have written: the exported state, changed, as of step 20."""
    out = tmp_path_factory.mktemp("out")
    facts, state = checkpoints.read(f"{exported.step}/initial")
    change = {"i": 1, "f": 1e-3}
    state = {n: v + np.array(change[v.dtype.kind], v.dtype) for n, v in state.items()}
    state["step"] = np.array(20, np.int64)
    facts.update(step=20, skipped=1, pixels=12345, seconds=99.0, training_pictures=3)
    facts.update(device="abacus", precision="default")
    facts["record"]["revision"] = "a1b2"
    checkpoints.write(str(out / "checkpoint-00000020"), state, facts, piece_bytes=100_000)
    (out / "metrics.jsonl").write_text('{"step": 10, "loss": 2.0}\n{"step": 20, "loss": 1.0}\n')
    return SimpleNamespace(out=str(out), state=state, facts=facts)


def changed(trained, place, **changes):
    """A copy of what was trained, with another record; returns its folder."""
    shutil.copytree(trained.out, place)
    path = place / "checkpoint-00000020" / "checkpoint.json"
    content = json.loads(path.read_text())
    content["facts"]["record"].update(changes)
    path.write_text(json.dumps(content))
    return str(place)


@pytest.fixture(scope="module")
def imported(trained, tmp_path_factory):
    """(run folder, learner, step) of what came back."""
    run_dir = str(tmp_path_factory.mktemp("imported") / "run")
    return (run_dir, *take_back.import_state(trained.out, run_dir))


def test_imported_state_continues_in_tensorflow(imported, trained):
    run_dir, learner, step = imported
    assert step == 20
    again = Learner(Settings.of(**{**TINY, "train_glob": "-", "run_dir": run_dir}))
    again.restore(tf.train.latest_checkpoint(f"{run_dir}/checkpoints"))
    for one in (learner, again):
        variables = program.variables_of(one)
        assert float(one.seconds) == 99.0
        for name, value in trained.state.items():
            np.testing.assert_array_equal(variables[name].numpy(), value, name)
    with open(f"{run_dir}/metrics.jsonl") as f:
        assert [json.loads(line)["step"] for line in f] == [10, 20]


def test_imported_model_is_the_average_and_compresses(imported, trained, sample_pixels):
    run_dir, learner, _ = imported
    codec = Codec.load(run_dir)
    image = codec.decompress(codec.compress(sample_pixels, 2))
    assert image.shape == sample_pixels.shape
    model = ModelFile.read(run_dir)
    averages = [trained.state[f"average/{i}"] for i in range(len(learner.variables))]
    kernel = next(
        a for v, a in zip(learner.variables, averages) if v is learner.model.g_a.weights[0]
    )
    with np.load(f"{run_dir}/model.npz") as arrays:
        np.testing.assert_array_equal(arrays["g_a/000"], kernel.astype(np.float16))
    assert (model.info["steps"], model.info["pixels_seen"]) == (20, 12345)
    assert (model.info["hardware"], model.info["seconds"]) == ("abacus", 99)
    assert model.info["revision"] == "a1b2"  # of the code that was exported


def test_record_comes_back(imported, trained):
    """So that train.py compares settings and pictures, and holds out the same ones."""
    record = json.loads(pathlib.Path(imported[0], "config.json").read_text())
    assert record.pop("trained_with") == {"device": "abacus", "precision": "default"}
    assert record["settings"].pop("run_dir") == imported[0]
    known = json.loads(json.dumps(trained.facts["record"]))
    del known["settings"]["run_dir"]
    assert record == known and record["pictures"]["count"] == 5


def test_an_existing_run_must_not_be_further(exported, imported):
    with pytest.raises(errors.GllmmError, match="is at step 20, .* only at step 4; give another"):
        take_back.import_state(f"{exported.step}/initial", imported[0])


def test_import_refuses_another_run(imported, trained, tmp_path):
    settings = {**trained.facts["record"]["settings"], "seed": 9}
    out = changed(trained, tmp_path / "seed", settings=settings)
    with pytest.raises(
        errors.GllmmError, match="its run has seed=0, not 9; use that value, or another run_dir"
    ):
        take_back.import_state(out, imported[0])
    out = changed(trained, tmp_path / "other", pictures={"count": 4, "sha256": "of others"})
    with pytest.raises(errors.GllmmError, match="its run began with 5 pictures, state names 4, or"):
        take_back.import_state(out, imported[0])


@pytest.fixture
def part(trained, tmp_path):
    """A checkpoint of which the first pieces alone were copied."""
    part = tmp_path / "part"
    shutil.copytree(f"{trained.out}/checkpoint-00000020", part)
    with open(part / "checkpoint.json") as f:
        arrays = json.load(f)["arrays"]
    wanted = {p[0] for n, a in arrays.items() if n.startswith("average/") for p in a["parts"]}
    names = {name for name in os.listdir(part) if name.endswith(".npz")}
    assert len(wanted) < len(names) / 2
    for name in names - wanted:
        os.remove(part / name)
    return part


def test_model_alone_needs_the_first_pieces_alone(part, imported, tmp_path):
    done = call(
        *(sys.executable, "-m", "experiments.tools.import_state"),
        f"--state={part}",
        f"--model={tmp_path}/model.npz",
    )
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "model.npz") as model, np.load(f"{imported[0]}/model.npz") as same:
        for name in set(same.files) - {"info"}:
            np.testing.assert_array_equal(model[name], same[name], name)
    bare = ModelFile.read(str(tmp_path / "model.npz"))
    assert bare.info["validation"] is None and bare.info["started_from"] is None
    assert empty_channels.NAME not in bare.exact
    (part / "checkpoint.json").unlink()
    with pytest.raises(errors.GllmmError, match="checkpoint.json: is missing"):
        take_back.import_model(str(part), str(tmp_path / "none.npz"))


def test_the_pictures_of_the_run_judge_its_model(part, folder, tmp_path):
    path = str(tmp_path / "judged.npz")
    take_back.import_model(str(part), path, f"{folder}/pictures/*.png")
    judged = ModelFile.read(path)
    assert [row["quality"] for row in judged.info["validation"]["qualities"]] == [1, 2, 3]
    assert judged.info["validation"]["loss"] > 0
    assert empty_channels.NAME in judged.exact


def test_other_pictures_do_not_judge_a_model(part, folder, tmp_path):
    """What is held out of others may have been trained on."""
    with pytest.raises(errors.GllmmError, match="its run saw 5 pictures, train_glob names 4, or"):
        take_back.import_model(str(part), str(tmp_path / "no.npz"), f"{folder}/pictures/[1-4].png")
    assert not os.path.exists(tmp_path / "no.npz")


def test_pictures_are_held_out_by_the_rule_of_the_run(trained, folder, tmp_path, monkeypatch):
    rules = []

    def split(paths, count, rule):
        rules.append(rule)
        return list(paths), []

    monkeypatch.setattr(data, "split", split)
    out = changed(trained, tmp_path / "old", held_out="number")
    take_back.import_model(out, str(tmp_path / "a.npz"), f"{folder}/pictures/*.png")
    assert rules == ["number"]
