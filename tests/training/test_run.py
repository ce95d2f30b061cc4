"""The loop: resuming bit by bit, skipping what is not finite, clear refusals, learning at all."""

import dataclasses
import glob
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from gllmm_tf import Codec, errors
from gllmm_tf import config as config_lib
from gllmm_tf.coding import empty_channels
from gllmm_tf.training import data, distribution
from gllmm_tf.training import run as training
from gllmm_tf.zoo import model_file

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TINY = dict(
    num_filters=8,
    families="gaussian",
    components=1,
    stages=1,
    entropy_widths="16,16",
    patch=64,
    batch=2,
    steps=6,
    warmup=1,
    validation_images=1,
    validation_size=64,
    validation_files=0,
    precision="float32",
    log_every=1,
    checkpoint_every=3,
    evaluate_every=0,
)
LAMBDAS = "0.002,0.01,0.05"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """The glob of five smooth pictures, one of them smaller than a patch."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i, (height, width) in enumerate([(80, 96), (70, 64), (64, 90), (100, 66), (40, 300)]):
        rows, columns = np.mgrid[:height, :width]
        waves = np.outer(rows.ravel(), rng.uniform(-0.2, 0.2, 3))
        waves += np.outer(columns.ravel(), rng.uniform(-0.2, 0.2, 3))
        values = (128 + 100 * np.sin(waves)).reshape(height, width, 3)
        Image.fromarray(values.astype(np.uint8)).save(folder / f"{i}.png")
    return f"{folder}/*.png"


def tiny(**changes):
    """Settings of a tiny run."""
    return training.Settings(**{**TINY, "train_glob": "-", "run_dir": "-", **changes})


def state(learner):
    """Everything that a step may change but the clock, as arrays."""
    average = learner.average.averages if learner.average else []
    counters = [learner.step, learner.skipped, learner.pixels]
    variables = [*learner.model.variables, *learner.optimizer.variables, *average, *counters]
    return [v.numpy() for v in variables]


def assert_same(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second):
        np.testing.assert_array_equal(a, b)


def rows_of(folder):
    """Lines of metrics.jsonl without what a clock measured."""
    with open(os.path.join(folder, "metrics.jsonl")) as f:
        rows = [json.loads(line) for line in f]
    for row in rows:
        row.pop("seconds", None)
        row.pop("seconds_per_step", None)
    return rows


def tensorboard_tags(folder):
    """Names of everything that the run has put on TensorBoard."""
    tags = set()
    for path in glob.glob(os.path.join(folder, "tensorboard", "events*")):
        for record in tf.data.TFRecordDataset(path):
            event = tf.compat.v1.Event.FromString(record.numpy())
            tags.update(value.tag for value in event.summary.value)
    return tags


PRECISIONS = {
    "float32": dict(precision="float32", optimizer="adam", ema=0.0),
    "bfloat16": dict(precision="bfloat16", optimizer="muon", lambdas=LAMBDAS, validation_files=1),
}


@pytest.fixture(scope="module")
def uninterrupted(pictures, tmp_path_factory):
    """name in PRECISIONS -> (settings, state after six steps, metrics, learner).

    The folder of the run has a copy, FOLDER-dead, as a process that dies after step 5 leaves it.
    """
    done = {}

    def get(name):
        if name not in done:
            folder = str(tmp_path_factory.mktemp("uninterrupted"))
            settings = tiny(train_glob=pictures, run_dir=folder, **PRECISIONS[name])
            run = training.Run(settings)
            take_step = run.learner.take_step

            def copying(crops, quality, step):
                if step == 5:  # two steps after the checkpoint
                    shutil.copytree(folder, f"{folder}-dead")
                return take_step(crops, quality, step)

            run.learner.take_step = copying
            run.train()
            done[name] = settings, state(run.learner), rows_of(folder), run.learner
        return done[name]

    return get


def test_resumed_run_is_the_uninterrupted_one_bit_by_bit(uninterrupted, tmp_path):
    """In bfloat16 with Muon, average and variable rate; the next test has float32."""
    settings, expected, rows, _ = uninterrupted("bfloat16")
    folder = tmp_path / "run"
    shutil.copytree(f"{settings.run_dir}-dead", folder)
    assert [row["step"] for row in rows_of(folder)] == [1, 2, 3, 4, 5]
    with open(folder / "metrics.jsonl", "a") as f:
        f.write('{"step": 6, "lo')  # a death amid a line
    run = training.Run(dataclasses.replace(settings, run_dir=str(folder)))
    assert int(run.learner.step) == 3
    assert [row["step"] for row in rows_of(folder)] == [1, 2, 3]
    run.train()
    assert_same(state(run.learner), expected)
    assert rows_of(folder) == rows


def command(settings, **changes):
    """The command line of a run."""
    values = {**dataclasses.asdict(settings), **changes}
    flags = [f"--{k}={str(v).lower() if v is False else v}" for k, v in values.items()]
    return [sys.executable, os.path.join(ROOT, "train.py"), *flags]


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
    learner = training.Learner(settings)
    latest = tf.train.latest_checkpoint(str(tmp_path / "checkpoints"))
    learner.checkpoint.restore(latest).assert_existing_objects_matched().expect_partial()
    assert_same(state(learner), expected)
    assert os.path.exists(tmp_path / "model.npz")


def test_exported_model_knows_its_empty_channels(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(empty_channels, "_ENOUGH", 1)
    settings = tiny(train_glob=pictures, run_dir=str(tmp_path), steps=1, lambdas=LAMBDAS)
    run = training.Run(settings)
    run.train()
    rows = model_file.ModelFile.read(tmp_path).exact[empty_channels.NAME]
    with run.learner.averaged():
        np.testing.assert_array_equal(
            rows, empty_channels.fit(run.learner.model, run.crops.pictures)
        )
    assert rows.shape == (3, empty_channels.SIZES, 8)


def test_finished_run_says_so_and_exports_again(uninterrupted, capsys):
    settings, expected, rows, _ = uninterrupted("float32")
    model = os.path.join(settings.run_dir, "model.npz")
    os.remove(model)
    run = training.Run(settings)
    result = run.train()
    assert "its 6 steps are done; raise --steps to go on" in capsys.readouterr().err
    assert result == rows[-1]["validation"]
    assert rows_of(settings.run_dir) == rows
    assert_same(state(run.learner), expected)
    assert os.path.exists(model)


def test_exported_model_codes_a_picture(uninterrupted, pictures):
    settings, _, rows, _ = uninterrupted("float32")
    codec = Codec.load(settings.run_dir)
    picture = data.decode(data.find_pictures(pictures)[0])
    encoded = codec.encode(picture)
    np.testing.assert_array_equal(codec.decompress(encoded.data), codec.decode(encoded.data).image)
    assert codec.config == settings.model_config()
    assert rows[-1]["validation"]["qualities"][0]["psnr"] > 5


def test_run_records_what_it_is(uninterrupted):
    settings, _, rows, _ = uninterrupted("bfloat16")
    with open(os.path.join(settings.run_dir, "config.json")) as f:
        record = json.load(f)
    assert record["settings"] == dataclasses.asdict(settings)
    assert record["versions"]["tensorflow"] == tf.__version__
    assert set(record) == {"settings", "revision", "versions", "pictures"}
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
    assert wanted <= tensorboard_tags(settings.run_dir)


def test_run_counts_small_pictures_and_holds_out(pictures, tmp_path, capsys):
    settings = tiny(train_glob=pictures, run_dir=str(tmp_path), validation_images=2)
    run = training.Run(settings)
    training_paths, held_out = data.split(data.find_pictures(pictures), 2)
    assert len(held_out) == 2 and not set(training_paths) & set(held_out)
    small = sum(path.endswith("4.png") for path in training_paths)
    assert run.crops.num_small == small
    assert len(run.crops) == 3 - small
    assert len(run.validation) == 2 - (1 - small)
    message = capsys.readouterr().err
    assert f"3 training pictures, {small} of them left out as smaller than the patch" in message


@pytest.fixture
def learner(uninterrupted):
    """A learner with Muon, Adam, an average and a variable rate, after six steps or more."""
    return uninterrupted("bfloat16")[3]


def batch(learner, size=64):
    """(smooth crops, qualities)."""
    rows, columns = np.mgrid[:size, :size]
    waves = np.stack([rows / 9 + k * columns / 14 for k in (-1, 0, 1)], -1)
    crops = np.stack([128 + 90 * np.sin(waves), 128 + 90 * np.cos(2 * waves)])
    qualities = np.array([1.0, 2.5] if learner.config.lambdas else [0.0, 0.0], np.float32)
    return tf.constant(crops.astype(np.uint8)), tf.constant(qualities)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_step_that_is_not_finite_changes_nothing(learner, value):
    crops, qualities = batch(learner)
    weight = learner.variables[0]
    good = weight.numpy()
    bad = good.copy()
    bad.flat[3] = value
    weight.assign(bad)
    before, skipped = state(learner), int(learner.skipped)
    values = learner.take_step(crops, qualities, 6)
    after = state(learner)
    weight.assign(good)
    assert values["good"] == 0
    assert_same(after[:-3], before[:-3])  # all but the counters
    assert int(learner.skipped) == skipped + 1
    assert int(after[-3]) == int(before[-3]) + 1  # the step has passed
    assert int(after[-1]) == int(before[-1]) + 2 * 64 * 64
    assert any(learner.optimizer.uses_muon(v) for v in learner.variables)
    assert learner.take_step(crops, qualities, 7)["good"] == 1
    assert all(np.all(np.isfinite(v)) for v in state(learner))


def test_clipping_bounds_the_update(learner):
    values = learner.take_step(*batch(learner), 8)
    assert values["gradient_norm"] > 1.0 == learner.settings.clip_norm
    adam = [
        (v, first)
        for v, (first, *rest) in zip(learner.variables, learner.optimizer._moments)
        if rest
    ]
    # The first moment of Adam is a mean of gradients, whose norms together are at most 1.
    assert np.sqrt(sum(np.sum(first.numpy() ** 2) for _, first in adam)) <= 1.0


def test_average_follows_the_weights():
    source = tf.Variable([2.0])
    average = training.WeightAverage([source], 0.9)
    expected = 2.0
    for step, value in enumerate([3.0, -1.0, 5.0, 4.0], 1):
        source.assign([value])
        average.update(tf.constant(step, tf.int64))
        decay = min(0.9, (1 + step) / (10 + step))
        expected += (1 - decay) * (value - expected)
        np.testing.assert_allclose(average.averages[0], [expected], rtol=1e-6)
    with average.applied():
        np.testing.assert_allclose(source, [expected], rtol=1e-6)
    np.testing.assert_array_equal(source, [4.0])


def test_run_stops_after_too_many_skips(eagerly, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SKIPS_UNTIL_STOP", 3)
    settings = tiny(train_glob=pictures, run_dir=str(tmp_path), checkpoint_every=1)
    run = training.Run(settings)
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
    assert "continue from" in message and "lower --learning_rate" in message
    assert "\n" not in message
    rows = rows_of(tmp_path)
    assert [row["skipped"] for row in rows] == [0, 1, 2]
    assert rows[0]["loss"] > 0 and rows[1]["loss"] is None


SYSTEMS = {
    "gaussian": dict(families="gaussian", components=3),
    "laplacian": dict(families="laplacian"),
    "logistic": dict(families="logistic"),
    "gaussian and laplacian": dict(families="gaussian,laplacian"),
    "gaussian and logistic": dict(families="gaussian,logistic", rounding="noise"),
    "laplacian and logistic": dict(families="laplacian,logistic", lambdas=LAMBDAS),
    "all": dict(families="", components=3, stages=2, lambdas=LAMBDAS, precision="bfloat16"),
    "cheng2020": dict(system="cheng2020", families="", components=3, stages=0, optimizer="adam"),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_system_learns(eagerly, name):
    """The loss of one batch falls in a few steps, and is finite in each."""
    learner = training.Learner(tiny(warmup=0, flat=1.0, ema=0.0, **SYSTEMS[name]))
    if name == "cheng2020":
        assert learner.config.families == ("gaussian",) and learner.config.stages == 1
    crops, qualities = batch(learner)
    rows = [learner.take_step(crops, qualities, step) for step in range(8)]
    assert all(row["good"] and np.isfinite(row["loss"]) for row in rows)
    assert rows[-1]["loss"] < 0.9 * rows[0]["loss"]
    for row in rows:
        assert row["bpp"] == pytest.approx(row["y_bpp"] + row["z_bpp"], rel=1e-5)


def test_ms_ssim_learns(eagerly):
    settings = tiny(metric="ms-ssim", lambdas="12", patch=192, validation_size=192, ema=0.0)
    learner = training.Learner(settings)
    crops, qualities = batch(learner, 192)
    rows = [learner.take_step(crops, qualities, step) for step in range(3)]
    assert all(row["good"] and 0 < row["ms_ssim"] < 1 for row in rows)
    assert rows[-1]["loss"] < rows[0]["loss"]
    expected = 12 * (1 - rows[0]["ms_ssim"]) + rows[0]["bpp"]
    assert rows[0]["loss"] == pytest.approx(expected, rel=1e-5)


def test_learning_rate_schedule():
    settings = tiny(steps=1000, warmup=10, flat=0.2, learning_rate=1e-3)
    rates = np.array([settings.learning_rate_at(step) for step in range(1000)])
    np.testing.assert_allclose(rates[:10], 1e-4 * np.arange(1, 11))
    np.testing.assert_allclose(rates[9:201], 1e-3)
    progress = (np.arange(200, 1000) - 200) / 800
    np.testing.assert_allclose(rates[200:], 5e-4 * (1 + np.cos(np.pi * progress)))
    constant = tiny(steps=1000, warmup=0, flat=1.0, learning_rate=1e-4)
    assert {constant.learning_rate_at(step) for step in range(1000)} == {1e-4}


def test_published_values_fill_what_is_empty():
    settings = dict(families="", stages=0, entropy_widths="")
    assert tiny(**settings).model_config() == config_lib.gllmm(8, components=1)
    cheng = tiny(system="cheng2020", **settings).model_config()
    assert cheng == config_lib.cheng2020(8, components=1)
    assert tiny(system="cheng2020", **{**settings, "stages": 3}).stages == 3


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(train_glob=""), "--train_glob='' cannot be used; name the training pictures"),
        (dict(run_dir=""), "--run_dir='' cannot be used; name a folder"),
        (dict(patch=100), "--patch=100 cannot be used; give a positive multiple of 64"),
        (dict(metric="ms-ssim"), "at least 161 pixels a side, not 64; raise --patch"),
        (dict(metric="ms-ssim", patch=192), "--validation_size=64 is too small for MS-SSIM"),
        (dict(metric="ssim"), "metric 'ssim' is unknown; choose one of mse, ms-ssim"),
        (dict(lambdas="0.01,x"), "--lambdas='0.01,x' is not a comma-separated list of numbers"),
        (dict(lambdas="-1"), "--lambdas='-1' cannot be used; give positive numbers"),
        (dict(lambdas="0.03,0.01"), "lambdas is (0.03, 0.01), it must be"),
        (dict(system="jpeg"), "--system='jpeg' is unknown; choose one of gllmm, cheng2020"),
        (dict(families="cauchy"), "families is ('cauchy',), it must be"),
        (dict(num_filters=7), "num_filters is 7, it must be an even whole number"),
        (dict(entropy_widths="8"), "entropy_widths is (8,), it must be two widths"),
        (dict(optimizer="sgd"), "--optimizer='sgd' cannot be used; choose muon or adam"),
        (dict(precision="float16"), "choose float32 or bfloat16"),
        (dict(ema=1.0), "--ema=1.0 cannot be used; give a decay from 0 to below 1"),
        (dict(steps=0), "--steps=0 cannot be used; give at least 1"),
        (dict(strategy="all"), "--strategy='all' cannot be used; choose one of one, mirrored"),
        (
            dict(strategy="mirrored", jit=True),
            "--jit=True cannot be used; leave it out with several",
        ),
        (dict(validation_files=-1), "--validation_files=-1 cannot be used; give 0 or more"),
    ],
)
def test_bad_settings_are_one_line(changes, message):
    with pytest.raises(errors.GllmmError) as caught:
        tiny(**changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folder_that_cannot_be_written_is_named_first(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "find_pictures", lambda globs: pytest.fail("too late"))
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.GllmmError, match="file/run: cannot be written .*; give another"):
        training.Run(tiny(train_glob=pictures, run_dir=str(tmp_path / "file" / "run")))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(errors.GllmmError, match="config.json: is not the record of a run"):
        training.Run(tiny(train_glob=pictures, run_dir=str(tmp_path)))


def test_other_settings_do_not_continue_a_run(uninterrupted):
    settings = uninterrupted("float32")[0]
    with pytest.raises(errors.GllmmError, match="its run has --batch=2, not 3; use that value"):
        training.Run(dataclasses.replace(settings, batch=3))


def test_other_pictures_do_not_continue_a_run(uninterrupted, pictures):
    settings = uninterrupted("float32")[0]
    run = training.Run.__new__(training.Run)
    run.folder = settings.run_dir
    with open(os.path.join(settings.run_dir, "config.json")) as f:
        before = json.load(f)
    with pytest.raises(errors.GllmmError) as caught:
        run._record_pictures(before, data.find_pictures(pictures)[:-1])
    message = "its run began with 5 pictures, --train_glob names 4, or others; bring them back"
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_full_disk_is_reported_before_the_first_step(pictures, tmp_path, monkeypatch):
    usage = training.shutil.disk_usage
    small = lambda folder: usage(folder)._replace(free=200_000)  # noqa: E731
    run = training.Run(tiny(train_glob=pictures, run_dir=str(tmp_path)))
    monkeypatch.setattr(training.shutil, "disk_usage", small)
    with pytest.raises(errors.GllmmError, match="0 MB free, the checkpoints need .* make room"):
        run._check_room()


def test_checkpoint_that_cannot_be_read_is_one_line(uninterrupted, tmp_path):
    settings = uninterrupted("float32")[0]
    folder = os.path.join(settings.run_dir, "checkpoints")
    with pytest.raises(errors.GllmmError, match="does not fit this model or cannot be read"):
        run = training.Run.__new__(training.Run)
        run.settings, run.folder = settings, settings.run_dir
        run.devices = distribution.Devices()
        run.learner = training.Learner(tiny(num_filters=10))
        run.manager = tf.train.CheckpointManager(run.learner.checkpoint, folder, 3)
        run._resume()


def test_signal_stops_cleanly_and_the_time_limit_too(eagerly, pictures, tmp_path, capsys):
    settings = tiny(train_glob=pictures, run_dir=str(tmp_path), steps=40, max_seconds=1e-3)
    training.Run(settings).train()
    assert "stopped at step 1: time limit of 0 s" in capsys.readouterr().err
    run = training.Run(dataclasses.replace(settings, max_seconds=0.0))
    take_step = run.learner.take_step

    def interrupted(crops, quality, step):
        if step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
        return take_step(crops, quality, step)

    run.learner.take_step = interrupted
    run.train()
    assert "stopped at step 2: SIGTERM; the same command continues" in capsys.readouterr().err
    assert run.manager.latest_checkpoint.endswith("-2")


CONFIG = "SETTINGS = {'one': {'num_filters': 64, 'flat': 1}, 'two': {'lambdas': '0.01'}}"


def test_config_file(tmp_path):
    path = tmp_path / "runs.py"
    path.write_text(CONFIG)
    values = training.read_config(f"{path}:one")
    assert values == {"num_filters": 64, "flat": 1.0} and type(values["flat"]) is float
    assert training.read_config(f"{path}:two") == {"lambdas": "0.01"}
    path.write_text("SETTINGS = dict(steps=7, lambdas=','.join(['1', '2']))")
    assert training.read_config(str(path)) == {"steps": 7, "lambdas": "1,2"}


@pytest.mark.parametrize(
    "text, key, message",
    [
        (None, "", "cannot be run"),
        ("1 +", "", "cannot be run"),
        ("raise ValueError('no such day')", "", r"cannot be run \(no such day\)"),
        ("settings = {}", "", "defines no dict SETTINGS"),
        ("SETTINGS = [1]", "", "defines no dict SETTINGS"),
        (CONFIG, "", "has no settings ''; choose .*runs.py:KEY with KEY one of one, two"),
        (CONFIG, ":three", "has no settings 'three'"),
        ("SETTINGS = {'steps': 1}", ":one", "has one set of settings only; leave out :one"),
        ("SETTINGS = {'colour': 1}", "", "'colour' is no setting; train.py --help lists them"),
        ("SETTINGS = {'steps': '1'}", "", "steps is '1', it must be of type int"),
        ("SETTINGS = {'lambdas': 0.01}", "", "lambdas is 0.01, it must be of type str"),
    ],
)
def test_bad_config_file_is_one_line(tmp_path, text, key, message):
    path = tmp_path / "runs.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(errors.GllmmError, match=message) as caught:
        training.read_config(f"{path}{key}")
    assert "\n" not in str(caught.value)


def test_command_line(tmp_path):
    """A wrong flag is one line; --config is read and explicit flags come before it."""
    config = tmp_path / "runs.py"
    config.write_text("SETTINGS = dict(num_filters=64, steps=7, jit=True)")
    train = [sys.executable, os.path.join(ROOT, "train.py")]

    def complaint(*flags):
        done = subprocess.run([*train, *flags], capture_output=True, text=True)
        assert done.returncode == 1
        return done.stderr

    assert complaint("--steps=many").count("\n") == 1
    run_dir = tmp_path / "run"
    flags = ["--steps=9", "--nojit", "--train_glob=/-", f"--run_dir={run_dir}"]
    text = complaint(f"--config={config}", *flags)
    assert text == "train.py: /-: no picture matches; check --train_glob\n"
    with open(run_dir / "config.json") as f:
        settings = json.load(f)["settings"]
    assert settings["num_filters"] == 64  # from the file
    assert (settings["steps"], settings["jit"]) == (9, False)  # from the command line
    assert settings["batch"] == 8  # the default


def test_configurations_of_experiments():
    """Each is complete but for pictures and folder, and says what it costs."""
    shipped = os.path.join(ROOT, "experiments", "train_gllmm_n48.py")
    settings = training.Settings(train_glob="-", run_dir="-", **training.read_config(shipped))
    assert (settings.num_filters, settings.steps, settings.muon_largest) == (48, 16500, 512)
    assert len(settings.lambda_list) == 8

    path = os.path.join(ROOT, "experiments", "train_published.py")
    keys = runpy.run_path(path)["SETTINGS"]
    assert len(keys) == 2 * (6 + 4)
    for key in keys:
        values = training.read_config(f"{path}:{key}")
        settings = training.Settings(train_glob="-", run_dir="-", **values)
        assert key == f"{settings.system}-{settings.metric}-{settings.lambdas}"
        make = getattr(config_lib, settings.system)
        assert settings.model_config() == make(settings.num_filters, metric=settings.metric)
        low = settings.lambdas in ("0.0016", "0.0032", "0.0075", "3", "12")
        wide = {"gllmm": 256, "cheng2020": 192}[settings.system]
        assert settings.num_filters == (128 if low else wide)
        assert settings.optimizer == "adam" and settings.ema == 0
        assert settings.learning_rate_at(0) == settings.learning_rate_at(1_499_999) == 1e-4


@pytest.mark.parametrize(
    "text, slow",
    [
        ("flags\t\t: fpu avx avx2 fma\n", True),
        ("flags\t\t: fpu avx2 avx512f avx512_bf16\n", False),
        ("Features\t: fp asimd bf16\n", False),
    ],
)
def test_processors_that_emulate_bfloat16(tmp_path, text, slow):
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor\t: 0\n{text}")
    assert training.emulates_bfloat16(str(path)) == slow
    assert not training.emulates_bfloat16(str(tmp_path / "none"))
