"""The command line of training: flags, configuration files, refusals of one line."""

import os
import runpy
import subprocess
import sys
from types import SimpleNamespace

import pytest
from absl import flags as absl_flags
from conftest import ROOT

from gllmm_tf import config as config_lib
from gllmm_tf import errors
from gllmm_tf.training import flags
from gllmm_tf.training.folder import Stop
from gllmm_tf.training.settings import FIELDS, Settings

CONFIG = "SETTINGS = {'one': {'num_filters': 64, 'flat': 1}, 'two': {'lambdas': [0.01]}}"


def test_config_file(tmp_path):
    path = tmp_path / "runs.py"
    path.write_text(CONFIG)
    values = flags.read_config(f"{path}:one")
    assert values == {"num_filters": 64, "flat": 1.0} and type(values["flat"]) is float
    assert flags.read_config(f"{path}:two") == {"lambdas": (0.01,)}
    path.write_text("SETTINGS = dict(steps=7, lambdas=[float(i) for i in (1, 2)])")
    assert flags.read_config(str(path)) == {"steps": 7, "lambdas": (1.0, 2.0)}


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
        ("SETTINGS = {'steps': '1'}", "", "steps='1' cannot be used; it must be of type int"),
        ("SETTINGS = {'lambdas': 0.01}", "", "lambdas=0.01 cannot be used; give a list of float"),
    ],
)
def test_bad_config_file_is_one_line(tmp_path, text, key, message):
    path = tmp_path / "runs.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(errors.GllmmError, match=message) as caught:
        flags.read_config(f"{path}{key}")
    assert "\n" not in str(caught.value)


def test_command_line(tmp_path):
    """A wrong flag is one line; --config is read and explicit flags come before it."""
    config = tmp_path / "runs.py"
    config.write_text("SETTINGS = dict(num_filters=64, steps=7, jit=True)")
    train = [sys.executable, os.path.join(ROOT, "train.py")]

    def complaint(*flags):
        done = subprocess.run([*train, *flags], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 1
        return done.stderr

    assert complaint("--steps=many").count("\n") == 1
    run_dir = tmp_path / "run"
    flags = ["--steps=9", "--nojit", "--train_glob=/-", f"--run_dir={run_dir}"]
    text = complaint(f"--config={config}", *flags)
    assert text == "train.py: /-: no picture matches; check train_glob (--train_glob)\n"
    assert complaint() == "train.py: no training pictures; name them (--train_glob)\n"
    assert complaint("--train_glob=-") == "train.py: no folder for the run; name one (--run_dir)\n"
    assert "unexpected argument 'now'" in complaint("now")


def test_flags_decide_settings(tmp_path):
    config = tmp_path / "runs.py"
    config.write_text("SETTINGS = dict(num_filters=64, steps=7, jit=True, lambdas=[0.1, 0.2])")
    values = absl_flags.FlagValues()
    flags.define(values)
    line = ["--steps=9", "--nojit", "--train_glob=a*.png, b/*.jpg", "--run_dir=r"]
    values(["train.py", f"--config={config}", *line])
    settings = flags.settings_of(values)
    assert settings.model.num_filters == 64 and settings.model.lambdas == (0.1, 0.2)  # the file
    assert (settings.schedule.steps, settings.run.jit) == (9, False)  # the command line
    assert settings.data.train_glob == ("a*.png", "b/*.jpg")
    assert settings.data.batch == 8  # the default


@pytest.mark.parametrize(
    "text, wanted",
    [
        (r"Photos\, 2019/*.jpg", ("Photos, 2019/*.jpg",)),
        (r"a\,b/*,c\,d/*, e/*", ("a,b/*", "c,d/*", "e/*")),
        (r"a\b/*", (r"a\b/*",)),
    ],
)
def test_commas_in_paths(text, wanted):
    values = absl_flags.FlagValues()
    flags.define(values)
    values(["train.py", f"--train_glob={text}", "--run_dir=r,s"])
    settings = flags.settings_of(values)
    assert settings.data.train_glob == wanted and settings.run.run_dir == "r,s"
    assert Settings.of(**settings.flat()) == settings  # as a record has them


@pytest.mark.parametrize("how", ["signal", "time limit", "Ctrl-C before the first step"])
def test_exit_status_of_a_run_that_did_not_end(monkeypatch, capsys, how):
    """130 for what interrupted it; a time limit was asked for."""

    class Run:
        stop = Stop()

        def __init__(self, settings):
            if how.startswith("Ctrl-C"):
                raise KeyboardInterrupt

        def train(self):
            self.stop.reason, self.stop.interrupted = how, how == "signal"

    module = SimpleNamespace(Run=Run)
    monkeypatch.setitem(sys.modules, "gllmm_tf.training.run", module)
    line = ["train.py", "--train_glob=a", "--run_dir=b"]
    if how == "time limit":
        flags.main(line)
        return
    with pytest.raises(SystemExit) as caught:
        flags.main(line)
    assert caught.value.code == 130
    text = capsys.readouterr().err
    assert text == ("train.py: interrupted\n" if how.startswith("Ctrl-C") else "")


def test_every_setting_is_a_flag_with_help():
    values = absl_flags.FlagValues()
    flags.define(values)
    assert set(FIELDS) == set(values) - {"config"}
    assert all(values[name].help.endswith(".") for name in FIELDS)


def test_configurations_of_experiments():
    """Each is complete but for pictures and folder."""
    places = os.path.join(ROOT, "experiments", "configs")
    settings = Settings.of(**flags.read_config(os.path.join(places, "gllmm_n48.py")))
    assert (settings.model.num_filters, settings.schedule.steps) == (48, 16500)
    assert settings.optimizer.muon_largest == 512 and len(settings.model.lambdas) == 8

    path = os.path.join(places, "gllmm_n144.py")
    keys = ["start", "middle", "revived", "spaced", "fresh", "last", "idle"]
    assert list(runpy.run_path(path)["SETTINGS"]) == keys
    for key in keys:
        settings = Settings.of(**flags.read_config(f"{path}:{key}"))
        assert settings.model.trunk_widths == (64, 96, 128) and settings.model.init_from
    for key in ("mse-0.0075", "mse-0.0016"):
        settings = Settings.of(**flags.read_config(os.path.join(places, f"gllmm_n128.py:{key}")))
        assert settings.model.config() == config_lib.gllmm(128)


def test_published_configurations():
    path = os.path.join(ROOT, "experiments", "configs", "published.py")
    keys = runpy.run_path(path)["SETTINGS"]
    assert len(keys) == 2 * (6 + 4)
    for key in keys:
        settings = Settings.of(**flags.read_config(f"{path}:{key}"))
        model = settings.model
        assert key == f"{model.system}-{model.metric}-{model.lambdas[0]:g}"
        make = getattr(config_lib, model.system)
        assert model.config() == make(model.num_filters, metric=model.metric)
        low = model.lambdas[0] in (0.0016, 0.0032, 0.0075, 3, 12)
        wide = {"gllmm": 256, "cheng2020": 192}[model.system]
        assert model.num_filters == (128 if low else wide)
        assert settings.optimizer.optimizer == "adam" and settings.optimizer.ema == 0
        assert settings.learning_rate_at(0) == settings.learning_rate_at(1_499_999) == 1e-4
