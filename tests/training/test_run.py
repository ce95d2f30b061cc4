"""The loop: resuming bit by bit, clear refusals, clean stops."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT
from training.tiny_runs import LAMBDAS, assert_same, rows_of, state, tensorboard_tags, tiny

from gllmm_tf import Codec, errors
from gllmm_tf.coding import empty_channels
from gllmm_tf.training import data
from gllmm_tf.training import run as loop
from gllmm_tf.training.learner import Learner
from gllmm_tf.training.run import Run
from gllmm_tf.training.settings import Settings
from gllmm_tf.zoo import model_file


def test_resumed_run_is_the_uninterrupted_one_bit_by_bit(uninterrupted, tmp_path):
    """In bfloat16 with Muon, average and variable rate; the next test has float32."""
    settings, expected, rows, _ = uninterrupted("bfloat16")
    folder = tmp_path / "run"
    shutil.copytree(f"{settings.run.run_dir}-dead", folder)
    assert [row["step"] for row in rows_of(folder)] == [1, 2, 3, 4, 5]
    with open(folder / "metrics.jsonl", "a") as f:
        f.write('{"step": 6, "lo')  # a death amid a line
    run = Run(settings.replace(run_dir=str(folder)))
    assert int(run.learner.step) == 3
    assert [row["step"] for row in rows_of(folder)] == [1, 2, 3]
    run.train()
    assert_same(state(run.learner), expected)
    assert rows_of(folder) == rows


def command(settings, **changes):
    """The command line of a run."""
    given = [f"--{name}={as_text(v)}" for name, v in {**settings.flat(), **changes}.items()]
    return [sys.executable, os.path.join(ROOT, "train.py"), *given]


def as_text(value):
    """A setting as a flag has it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else value


@pytest.mark.slow
def test_killed_process_continues_bit_by_bit(uninterrupted, tmp_path):
    settings, expected, rows, _ = uninterrupted("float32")
    line = command(settings, run_dir=tmp_path)
    process = subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    for text in process.stderr:
        if text.startswith("step 4:"):
            process.send_signal(signal.SIGKILL)
            break
    process.stderr.close()
    assert process.wait() == -signal.SIGKILL
    again = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "continuing" in again.stderr and "from step 3" in again.stderr
    assert rows_of(tmp_path) == rows
    learner = Learner(settings)
    latest = tf.train.latest_checkpoint(str(tmp_path / "checkpoints"))
    learner.checkpoint.restore(latest).assert_existing_objects_matched().expect_partial()
    assert_same(state(learner), expected)
    assert os.path.exists(tmp_path / "model.npz")


def test_exported_model_knows_its_empty_channels(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(empty_channels, "ENOUGH", 1)
    settings = tiny(train_glob=(pictures,), run_dir=str(tmp_path), steps=1, lambdas=LAMBDAS)
    run = Run(settings)
    run.train()
    rows = model_file.ModelFile.read(tmp_path).exact[empty_channels.NAME]
    with run.learner.averaged():
        np.testing.assert_array_equal(
            rows, empty_channels.fit(run.learner.model, run.crops.pictures)
        )
    assert rows.shape == (3, empty_channels.SIZES, 8)


def test_finished_run_says_so_and_exports_again(uninterrupted, capsys):
    settings, expected, rows, _ = uninterrupted("float32")
    model = os.path.join(settings.run.run_dir, "model.npz")
    os.remove(model)
    run = Run(settings)
    result = run.train()
    assert "its 6 steps are done; raise steps to go on" in capsys.readouterr().err
    assert result == rows[-1]["validation"]
    assert rows_of(settings.run.run_dir) == rows
    assert_same(state(run.learner), expected)
    assert os.path.exists(model)


def test_exported_model_codes_a_picture(uninterrupted, pictures):
    settings, _, rows, _ = uninterrupted("float32")
    codec = Codec.load(settings.run.run_dir)
    picture = data.decode(data.find_pictures(pictures)[0])
    encoded = codec.encode(picture)
    np.testing.assert_array_equal(codec.decompress(encoded.data), codec.decode(encoded.data).image)
    assert codec.config == settings.model.config()
    assert rows[-1]["validation"]["qualities"][0]["psnr"] > 5


def test_run_records_what_it_is(uninterrupted):
    settings, _, rows, _ = uninterrupted("bfloat16")
    with open(os.path.join(settings.run.run_dir, "config.json")) as f:
        record = json.load(f)
    assert Settings.of(**record["settings"]) == settings
    assert record["versions"]["tensorflow"] == tf.__version__
    wanted = {"settings", "revision", "modified", "versions", "pictures", "held_out", "start"}
    assert set(record) == wanted and record["held_out"] == "content"
    assert record["pictures"]["count"] == 5
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6, 6]
    assert len(rows[-1]["validation"]["qualities"]) == 3
    for row in rows[-1]["validation"]["qualities"]:
        files = row["files"]
        assert files["pictures"] == 1 and files["psnr"] > 5
        assert files["estimated_bpp"] == row["bpp"]  # one picture was held out: it is the same
        # Untrained, the two are far apart; test_validation.py compares them for a trained model.
        assert files["bpp"] > 0 and (files["bpp"] * 64 * 64 / 8).is_integer()
    assert rows[-2]["pixels"] == 6 * 2 * 64 * 64
    wanted = {"train/loss", "validation/quality_2/file_bpp"}
    wanted |= {f"validation/quality_{q}/original_and_decoded" for q in (1, 2, 3)}
    assert wanted <= tensorboard_tags(settings.run.run_dir)


def test_run_counts_small_pictures_and_holds_out(pictures, tmp_path, capsys):
    settings = tiny(train_glob=(pictures,), run_dir=str(tmp_path), validation_images=2)
    run = Run(settings)
    training_paths, held_out = data.split(data.find_pictures(pictures), 2)
    assert len(held_out) == 2 and not set(training_paths) & set(held_out)
    small = sum(path.endswith("4.png") for path in training_paths)
    assert run.crops.num_small == small
    assert len(run.crops) == 3 - small
    assert len(run.validation) == 2 - (1 - small)
    message = capsys.readouterr().err
    assert f"3 training pictures, {small} of them left out as smaller than the patch" in message


def test_run_stops_after_too_many_skips(eagerly, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SKIPS_UNTIL_STOP", 3)
    settings = tiny(train_glob=(pictures,), run_dir=str(tmp_path), checkpoint_every=1)
    run = Run(settings)
    take_step = run.learner.take_step

    def fragile(crops, quality, step):
        if step == 1:
            weight = run.learner.variables[0]
            weight.assign(tf.fill(weight.shape, np.nan))
        return take_step(crops, quality, step)

    run.learner.take_step = fragile
    with pytest.raises(errors.GllmmError) as caught:
        run.train()
    message = str(caught.value)
    assert "3 steps in a row, to step 4, had a non-finite loss or gradient" in message
    assert "continues from" in message and "ckpt-1, which is of before" in message
    assert "\n" not in message
    rows = rows_of(tmp_path)
    assert [row["skipped"] for row in rows] == [0, 1, 2]
    assert rows[0]["loss"] > 0 and rows[1]["loss"] is None
    again = Run(settings.replace(learning_rate=1e-6))
    assert int(again.learner.step) == 1 and len(rows_of(tmp_path)) == 1
    assert all(np.all(np.isfinite(v.numpy())) for v in again.learner.variables)


def test_full_disk_is_reported_before_the_first_step(pictures, tmp_path, monkeypatch):
    usage = shutil.disk_usage
    small = lambda folder: usage(folder)._replace(free=200_000)  # noqa: E731
    run = Run(tiny(train_glob=(pictures,), run_dir=str(tmp_path)))
    monkeypatch.setattr(shutil, "disk_usage", small)
    with pytest.raises(errors.GllmmError, match="0 MB free, the checkpoints need .* make room"):
        run.check_room()


def test_checkpoint_that_cannot_be_read_is_one_line(uninterrupted, tmp_path):
    """The settings say another network than the checkpoint holds."""
    settings = uninterrupted("float32")[0]
    place = tmp_path / "run"
    shutil.copytree(settings.run.run_dir, place)
    record = json.loads((place / "config.json").read_text())
    record["settings"]["num_filters"] = 10
    (place / "config.json").write_text(json.dumps(record))
    with pytest.raises(
        errors.GllmmError, match="does not fit this model or cannot be read"
    ) as caught:
        Run(settings.replace(run_dir=str(place), num_filters=10))
    assert "\n" not in str(caught.value)


def test_signal_stops_cleanly_and_the_time_limit_too(eagerly, pictures, tmp_path, capsys):
    settings = tiny(train_glob=(pictures,), run_dir=str(tmp_path), steps=40, max_seconds=1e-3)
    Run(settings).train()
    assert "stopped at step 1: time limit of 0 s" in capsys.readouterr().err
    run = Run(settings.replace(max_seconds=0.0))
    take_step = run.learner.take_step

    def interrupted(crops, quality, step):
        if step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
        return take_step(crops, quality, step)

    run.learner.take_step = interrupted
    run.train()
    assert run.stop.interrupted
    assert "stopped at step 2: SIGTERM; the same command continues" in capsys.readouterr().err
    assert run.manager.latest_checkpoint.endswith("-2")


def test_second_signal_ends_at_once_and_the_folder_is_free(eagerly, pictures, tmp_path):
    settings = tiny(train_glob=(pictures,), run_dir=str(tmp_path), steps=40, checkpoint_every=1)
    run = Run(settings)
    take_step = run.learner.take_step

    def impatient(crops, quality, step):
        if step == 1:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)
        return take_step(crops, quality, step)

    run.learner.take_step = impatient
    with pytest.raises(KeyboardInterrupt):
        run.train()
    assert run.manager.latest_checkpoint.endswith("-1")
    program = "import sys; from gllmm_tf.training import lock; lock.take(sys.argv[1])"
    subprocess.run([sys.executable, "-c", program, tmp_path], check=True)


def test_unreadable_pictures_are_named_or_counted(eagerly, pictures, tmp_path, capsys):
    place = tmp_path / "pictures"
    shutil.copytree(os.path.dirname(pictures), place)
    bad = {
        "2 cut.png": (place / "0.png").read_bytes()[:900],
        "5.png": b"<html>404</html>",
        "6.png": b"",
        "7.png": b"\x00" * 500,
    }
    for name, data_of in bad.items():
        (place / name).write_bytes(data_of)
    settings = tiny(
        train_glob=(f"{place}/*.png",), run_dir=str(tmp_path / "run"), steps=1, checkpoint_every=1
    )
    with pytest.raises(errors.ImageError, match="2 cut.png: .*; remove it or narrow train_glob"):
        Run(settings)
    run = Run(settings.replace(skip_unreadable=True))
    message = capsys.readouterr().err
    assert "4 of 9 pictures cannot be read" in message
    assert all(re.search(f"left out: .*/{name}: ", message) for name in bad)
    run.train()
    assert run.folder.record["pictures"]["count"] == 5
    for name in bad:
        (place / name).unlink()
    again = Run(settings.replace(steps=2))  # without them, and without the flag
    assert int(again.learner.step) == 1
    for step in range(4):  # the same crops, of the same pictures
        np.testing.assert_array_equal(again.crops.crop(step, 0), run.crops.crop(step, 0))
    np.testing.assert_array_equal(again.validation, run.validation)
