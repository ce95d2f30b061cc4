"""Completion and manual: they know every command and every flag, and shells accept them."""

import shutil
import subprocess

import pytest
from cli.commandline import gllmm

from gllmm_tf.cli import completion
from gllmm_tf.cli.commands import COMMANDS
from gllmm_tf.cli.parser import make_parser

PARSER = make_parser()


@pytest.mark.parametrize("shell", completion.MAKERS)
def test_every_command_and_flag_is_there(capsys, shell):
    assert gllmm("completion", shell) == 0
    text = capsys.readouterr().out
    for name, command in PARSER.commands.items():
        assert name in text
        for option in completion.flags_of(command):
            for flag in option.option_strings:
                plain = {"fish": flag.lstrip("-"), "man": flag.replace("-", "\\-")}.get(shell, flag)
                assert plain in text, flag


def test_all_commands_have_a_parser():
    assert {*COMMANDS, "train"} == set(PARSER.commands)
    assert all(command.summary for command in PARSER.commands.values())


def ask(words):
    """What bash offers for the last of some words."""
    script = completion.bash(PARSER) + (
        f"COMP_WORDS=({' '.join(map(repr, words))}); COMP_CWORD={len(words) - 1}\n"
        '_gllmm; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    "words, offered",
    [
        (["gllmm", "comp"], ["compress", "compare", "completion"]),
        (["gllmm", "compress", "--target"], ["--target_size", "--target_bpp", "--target_psnr"]),
        (["gllmm", "compress", "--backend", "p"], ["portable"]),
        (["gllmm", "completion", "f"], ["fish", "file.png"]),
        (["gllmm", "decompress", "fi"], ["file.png"]),
        (["gllmm", "decompress", "-o", "fi"], ["file.png"]),
        (["gllmm", "compress", "--quality", ""], []),
        (["gllmm", "nothing", "--q"], []),
    ],
)
def test_bash(tmp_path, monkeypatch, words, offered):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.png").touch()
    assert sorted(ask(words)) == sorted(offered)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_accept_it(tmp_path, shell):
    program = shutil.which(shell)
    if not program:
        pytest.skip(f"needs {shell}")
    path = tmp_path / "completion"
    path.write_text(completion.MAKERS[shell](PARSER))
    subprocess.run([program, "-n", path], check=True)


def test_quotes_cannot_break_a_line():
    for line in completion.fish(PARSER).splitlines()[1:]:
        assert line.replace("'\\''", "").count("'") % 2 == 0
    for line in completion.zsh(PARSER).splitlines():
        if line.lstrip().startswith("'"):
            assert line.replace("'\\''", "").count("'") % 2 == 0


def test_manual():
    lines = completion.man(PARSER).splitlines()
    assert lines[0].startswith(".TH GLLMM 1")
    known = (".TH", ".SH", ".SS", ".TP", ".PP", ".B", ".I")
    for line in lines:
        assert not line.startswith("'")
        assert not line.startswith(".") or line.split()[0] in known
    assert lines[lines.index(".B \\-q, \\-\\-quality QUALITY") + 1].startswith("1 (smallest)")


@pytest.mark.skipif(not shutil.which("fish"), reason="needs fish")
@pytest.mark.parametrize(
    "line, offered",
    [
        ("gllmm comp", ["compare", "completion", "compress"]),
        ("gllmm compress --target", ["--target_bpp", "--target_psnr", "--target_size"]),
        ("gllmm compress --backend p", ["portable"]),
        ("gllmm completion f", ["fish"]),
    ],
)
def test_fish(tmp_path, line, offered):
    script = completion.fish(PARSER) + f"complete -C '{line}'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert sorted(row.split("\t")[0] for row in done.stdout.splitlines()) == offered
