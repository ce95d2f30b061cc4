"""How experiments end: a status and one line, never a traceback for what a user did."""

import importlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from experiments.common import places, processes, program
from experiments.common.program import ExperimentError, LimitError
from gllmm_tf.errors import GllmmError

PROGRAMS = sorted(
    ".".join(path.relative_to(places.ROOT).with_suffix("").parts)
    for path in pathlib.Path(places.EXPERIMENTS).rglob("*.py")
    if re.search('^if __name__ == "__main__"', path.read_text(), re.M)
)
OTHERS = ("experiments.common.compressai_peer",)  # runs under another Python


@pytest.mark.parametrize(
    "error, status, line",
    [
        (ExperimentError("No such picture."), 1, "No such picture."),
        (GllmmError("no such model"), 1, "no such model"),
        (LimitError("too slow"), 1, "FAILED: too slow"),
        (FileNotFoundError(2, "No such file or directory", "a.csv"), 1, "a.csv: No such file"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (None, 0, ""),
    ],
)
def test_status_and_line(error, status, line, capsys):
    def work():
        if error:
            raise error

    assert program.status_of(work) == status
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(line) and err.count("\n") == (1 if line else 0)


@pytest.mark.parametrize("error", [ValueError("x"), OSError("no file in it"), MemoryError()])
def test_faults_of_the_program_keep_their_traceback(error):
    def work():
        raise error

    with pytest.raises(type(error)):
        program.status_of(work)


def test_arguments_without_flags_are_counted():
    assert program.checked([], []) == []
    assert program.checked(["a"], ["IN", "[OUT]"]) == ["a"]
    assert program.checked(["a", "b"], ["IN", "[OUT]"]) == ["a", "b"]
    with pytest.raises(ExperimentError, match="^IN is missing; see --help"):
        program.checked([], ["IN", "[OUT]"])
    with pytest.raises(ExperimentError, match="Unexpected argument 'c'; see --help"):
        program.checked(["a", "b", "c"], ["IN", "[OUT]"])


def test_numbers_of_list_flags():
    assert program.numbers("seeds", ["1", "2"], int) == [1, 2]
    assert program.numbers("qualities", ["1", "2.5"]) == [1.0, 2.5]
    with pytest.raises(ExperimentError, match="--seeds takes whole numbers, got 1,2.5."):
        program.numbers("seeds", ["1", "2.5"], int)


@pytest.mark.parametrize(
    "arguments, line",
    [
        (["--no_such_flag"], "Unknown command line flag 'no_such_flag'"),
        (["a.csv", "b.csv"], "Unexpected argument 'b.csv'; see --help."),
        (["a.csv"], "a.csv: No such file or directory."),
        ([], "RESULTS is missing; see --help."),
    ],
)
def test_a_wrong_command_line_is_one_line(arguments, line):
    done = processes.module("experiments.rate_distortion.monotone", *arguments)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(line) and done.stderr.count("\n") == 1


def test_interruption_ends_with_130(tmp_path):
    program_file = tmp_path / "waits.py"
    program_file.write_text(
        "import time\nfrom experiments.common import program\n"
        "def main(f):\n    print('started', flush=True)\n    time.sleep(60)\n"
        "program.run(main)\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(program_file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": places.ROOT},
        # A shell's background jobs, and what they start, ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout.readline() == "started\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "interrupted\n")


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name not in OTHERS])
def test_every_program_says_how_it_is_run(name):
    """Its docstring has its command, and its module can be imported beside all others."""
    module = importlib.import_module(name)
    assert f"python -m {name}" in module.__doc__, name
    assert callable(module.main)


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_is_in_the_index(name):
    index = pathlib.Path(places.EXPERIMENTS, "README.md").read_text(encoding="utf-8")
    assert name in index or name in OTHERS
