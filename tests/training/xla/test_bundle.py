"""What travels: everything that the runner needs, of the run as it stands, and nothing large."""

import json
import os
import shutil
import sys

import pytest
from training.tiny_runs import TINY, tiny
from training.xla.exported_runs import begun_run, call, manifest_of

from gllmm_tf import errors
from gllmm_tf.training import data
from gllmm_tf.training.xla import bundle, export
from gllmm_tf.training.xla.runner import pictures

ALONE = """
import runpy, sys
for name in ("tensorflow", "jax", "PIL", "tqdm", "absl"):
    sys.modules[name] = None
step, *arguments = sys.argv[1:]
sys.path[0] = step
sys.argv = [step + "/run.py", *arguments]
try:
    runpy.run_path(step + "/run.py", run_name="__main__")
finally:
    ours = {m.__file__ for n, m in sys.modules.items() if n.split(".")[0] == "gllmm_tf"}
    print(len(ours), "modules", [path for path in ours if not path.startswith(step)])
"""


def test_runner_needs_numpy_and_its_folder_alone(exported, tmp_path):
    """Elsewhere there is neither this checkout nor TensorFlow; all but the device's part is run."""
    step = tmp_path / "elsewhere" / "step"
    shutil.copytree(exported.step, step)
    done = call(sys.executable, "-c", ALONE, step, "--out=out", cwd=tmp_path)
    assert done.stderr.splitlines() == [
        "4 pictures, 1 of them smaller than the patch",
        f"starting from {step}/initial, step 4 of 24",
        "run.py: jax is not installed; pip install jax, or jax[cuda] for a GPU",
    ]
    assert done.returncode == 1
    assert done.stdout == f"{len(bundle.MODULES)} modules []\n"


def test_pictures_are_those_that_are_not_held_out(exported):
    paths = data.find_pictures(exported.settings.data.train_glob)
    training, _ = data.split(paths, 1)
    found, fingerprint = pictures.read(f"{exported.step}/pictures")
    assert found.shapes == [data.decode(path).shape[:2] for path in training]
    assert fingerprint == {"count": 5, "sha256": data.fingerprint(paths)}
    assert manifest_of(exported)["record"]["pictures"] == fingerprint


def test_record_is_that_of_the_run(exported):
    with open(f"{exported.run_dir}/config.json") as f:
        assert manifest_of(exported)["record"] == json.load(f)


@pytest.fixture
def exporting(folder, tmp_path, monkeypatch):
    """Exports without programs, which take long; returns the manifest."""
    nothing = {"arguments": {}, "variables": {}, "programs": {}}
    monkeypatch.setattr(export, "write_programs", lambda *arguments: nothing)

    def run(settings, **more):
        bundle.write(settings, str(tmp_path / "step"), **more)
        return json.loads((tmp_path / "step" / "manifest.json").read_text())

    return run


@pytest.fixture(scope="module")
def begun(folder):
    """Settings of a run that has begun."""
    return begun_run(folder, "begun", {**TINY, "precision": "bfloat16"})[0]


@pytest.fixture
def settings(begun, tmp_path):
    """The same, of a copy."""
    shutil.copytree(begun.run.run_dir, tmp_path / "run")
    return begun.replace(run_dir=str(tmp_path / "run"))


def test_export_is_bound_to_the_settings_of_its_run(exporting, settings):
    with pytest.raises(errors.GllmmError, match="its run has batch=2, not 3; use that value"):
        exporting(settings.replace(batch=3))
    assert exporting(settings.replace(steps=77))["record"]["settings"]["steps"] == 77


def test_export_is_bound_to_the_pictures_of_its_run(exporting, settings, folder):
    others = settings.replace(train_glob=(f"{folder}/pictures/[1-4].png",))
    with pytest.raises(
        errors.GllmmError, match="its run began with 5 pictures, train_glob names 4"
    ):
        exporting(others)


def test_export_keeps_to_the_rule_of_its_run(exporting, settings, tmp_path):
    """Runs of earlier versions chose by number what they hold out, and recorded no rule."""
    settings = settings.replace(validation_images=2)
    path = tmp_path / "run" / "config.json"
    record = json.loads(path.read_text())
    del record["held_out"]
    record["settings"]["validation_images"] = 2
    path.write_text(json.dumps(record))
    assert exporting(settings)["record"]["held_out"] == "number"
    paths = data.find_pictures(settings.data.train_glob)
    by_number, by_content = (data.split(paths, 2, rule)[0] for rule in ("number", "content"))
    assert by_number != by_content
    found, _ = pictures.read(str(tmp_path / "step" / "pictures"))
    assert found.shapes == [data.decode(path).shape[:2] for path in by_number]


def test_pictures_may_stay_behind(exporting, settings, tmp_path):
    assert exporting(settings, kind=None)["record"]["pictures"]["count"] == 5
    assert not (tmp_path / "step" / "pictures").exists()


def test_nothing_is_larger_than_what_passes(exporting, settings, tmp_path):
    exporting(settings, piece_bytes=100_000)
    sizes = [p.stat().st_size for p in (tmp_path / "step" / "pictures").iterdir()]
    assert len(sizes) > 4 and max(sizes) == 100_000
    assert pictures.PIECE_BYTES <= 60_000_000


def test_export_needs_an_empty_folder_and_pictures(exported, tmp_path):
    with pytest.raises(errors.GllmmError, match="is not empty; name another folder"):
        bundle.write(exported.settings, exported.step)
    with pytest.raises(errors.GllmmError, match="no picture matches; check train_glob"):
        bundle.write(tiny(run_dir=str(tmp_path / "run")), str(tmp_path / "step"))
    assert not os.path.exists(tmp_path / "step")


def test_unreadable_checkpoint_is_one_line(exporting, settings, tmp_path):
    for path in (tmp_path / "run" / "checkpoints").glob("*.index"):
        path.write_bytes(b"damaged")
    with pytest.raises(errors.GllmmError, match="does not fit this model or cannot be read"):
        exporting(settings)
