"""The way back: state and model of what the runner has trained."""

import json
import os
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from training.xla.exported_runs import (
    TINY,
    call,
)

from gllmm_tf import Codec, errors
from gllmm_tf.coding import empty_channels
from gllmm_tf.training.learner import Learner
from gllmm_tf.training.settings import Settings
from gllmm_tf.training.xla import program, take_back
from gllmm_tf.training.xla import state as state_lib
from gllmm_tf.zoo.model_file import ModelFile


@pytest.fixture(scope="module")
def trained(exported, tmp_path_factory):
    """What the runner might have written: the exported state, changed, as of step 20."""
    out = tmp_path_factory.mktemp("out")
    facts, state = state_lib.read_checkpoint(f"{exported.step}/initial")
    change = {"i": 1, "f": 1e-3}
    state = {n: v + np.array(change[v.dtype.kind], v.dtype) for n, v in state.items()}
    state["step"] = np.array(20, np.int64)
    facts.update(step=20, skipped=1, seconds=99.0, device="abacus", precision="default", pictures=3)
    state_lib.write_checkpoint(str(out / "checkpoint-00000020"), state, facts, piece_bytes=100_000)
    (out / "metrics.jsonl").write_text('{"step": 10, "loss": 2.0}\n{"step": 20, "loss": 1.0}\n')
    return SimpleNamespace(out=str(out), state=state)


def test_imported_state_continues_in_tensorflow(exported, trained, folder, sample_pixels):
    run_dir = f"{folder}/imported"
    learner, step = take_back.import_state(trained.out, run_dir)
    assert step == 20
    settings = Settings.of(**{**TINY, "train_glob": "-", "run_dir": run_dir})
    again = Learner(settings)
    again.checkpoint.restore(tf.train.latest_checkpoint(f"{run_dir}/checkpoints"))
    for one in (learner, again):
        variables = program.variables_of(one)
        assert float(one.seconds) == 99.0
        for name, value in trained.state.items():
            np.testing.assert_array_equal(variables[name].numpy(), value, name)
    with open(f"{run_dir}/metrics.jsonl") as f:
        assert [json.loads(line)["step"] for line in f] == [10, 20]

    codec = Codec.load(run_dir)
    image = codec.decompress(codec.compress(sample_pixels, 2))
    assert image.shape == sample_pixels.shape
    with np.load(f"{run_dir}/model.npz") as model:
        averages = [trained.state[f"average/{i}"] for i in range(len(learner.variables))]
        kernel = next(
            a for v, a in zip(learner.variables, averages) if v is learner.model.g_a.weights[0]
        )
        np.testing.assert_array_equal(model["g_a/000"], kernel.astype(np.float16))
        info = json.loads(str(model["info"]))
    assert (info["steps"], info["hardware"], info["seconds"]) == (20, "abacus", 99)

    with pytest.raises(errors.GllmmError, match="is at step 20, .* only at step 4; give another"):
        take_back.import_state(f"{exported.step}/initial", run_dir)


def test_import_refuses_another_run(trained, folder):
    run_dir = folder / "other"
    run_dir.mkdir()
    settings = {**TINY, "seed": 9}
    (run_dir / "config.json").write_text(json.dumps({"settings": settings}))
    with pytest.raises(
        errors.GllmmError, match="its run has seed=9, not 0; use that value, or another run_dir"
    ):
        take_back.import_state(trained.out, str(run_dir))


def test_model_alone_needs_the_first_pieces_alone(trained, folder, tmp_path, monkeypatch):
    part = tmp_path / "part"
    shutil.copytree(f"{trained.out}/checkpoint-00000020", part)
    with open(part / "checkpoint.json") as f:
        arrays = json.load(f)["arrays"]
    wanted = {p[0] for n, a in arrays.items() if n.startswith("average/") for p in a["parts"]}
    names = {name for name in os.listdir(part) if name.endswith(".npz")}
    assert len(wanted) < len(names) / 2
    for name in names - wanted:
        os.remove(part / name)
    done = call(
        *(sys.executable, "-m", "experiments.tools.import_state"),
        f"--state={part}",
        f"--model={tmp_path}/model.npz",
    )
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "model.npz") as model, np.load(f"{folder}/imported/model.npz") as same:
        for name in set(same.files) - {"info"}:
            np.testing.assert_array_equal(model[name], same[name], name)
    monkeypatch.setattr(empty_channels, "_ENOUGH", 1)  # five small pictures
    take_back.import_model(str(part), str(tmp_path / "judged.npz"), f"{folder}/pictures/*.png")
    judged, bare = (ModelFile.read(str(tmp_path / f"{n}.npz")) for n in ("judged", "model"))
    assert bare.info["validation"] is None and bare.info["started_from"] is None
    assert [row["quality"] for row in judged.info["validation"]["qualities"]] == [1, 2, 3]
    assert judged.info["validation"]["loss"] > 0
    assert empty_channels.NAME in judged.exact and empty_channels.NAME not in bare.exact
    (part / "checkpoint.json").unlink()
    with pytest.raises(errors.GllmmError, match="checkpoint.json: is missing"):
        take_back.import_model(str(part), str(tmp_path / "none.npz"))
