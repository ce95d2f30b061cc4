"""Completion for shells and the manual page, made from the parser, so that they know what it knows."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator

from gllmm_tf import __version__
from gllmm_tf.cli.job import PROGRAM
from gllmm_tf.cli.parser import Parser, make_parser

WIDTH = 96
FILES = ("FILE", "IN", "OUT", "DIR", "LIST", "PAGE", "A", "B")  # metavars that stand for paths


def completion(args: argparse.Namespace) -> int:
    """Prints what was asked for."""
    from gllmm_tf.cli.reports import say

    say(MAKERS[args.shell](make_parser()).rstrip("\n"))
    return 0


def flags_of(parser: Parser) -> list[argparse.Action]:
    """Arguments with a dash, those that are not shown left out."""
    return [o for o in parser.options if o.option_strings and o.help != argparse.SUPPRESS]


def takes_value(option: argparse.Action) -> bool:
    """Whether a word follows the flag."""
    return option.nargs != 0


def help_of(option: argparse.Action) -> str:
    """The line of help, with its values filled in."""
    values = {**vars(option), "prog": PROGRAM}
    return (option.help or "") % values


# Shells ---------------------------------------------------------------------------------------


def bash(parser: Parser) -> str:
    """A function for bash, and for zsh with bashcompinit."""
    cases, values = [], []
    for name, command in parser.commands.items():
        words = [word for option in flags_of(command) for word in option.option_strings]
        words += [str(c) for o in command.options if not o.option_strings for c in o.choices or ()]
        cases.append(f'    {name}) words="{" ".join(words)}" ;;')
        for option in filter(takes_value, flags_of(command)):
            for flag in option.option_strings:
                choices = " ".join(map(str, option.choices or ()))
                place = "@" if option.metavar in FILES else choices
                values.append(f'    {name}:{flag}) values="{place}" ;;')
    return f"""# bash: eval "$({PROGRAM} completion bash)"
_{PROGRAM}() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}
  local command=${{COMP_WORDS[1]}} words="" values="-"
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{" ".join(parser.commands)} --help --version" -- "$word"))
    return
  fi
  case "$command:$before" in
{chr(10).join(values)}
  esac
  case "$values" in
    -) ;;
    @) COMPREPLY=($(compgen -f -- "$word")); return ;;
    *) COMPREPLY=($(compgen -W "$values" -- "$word")); return ;;
  esac
  case "$command" in
{chr(10).join(cases)}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
  case "$word" in -*) ;; *) COMPREPLY+=($(compgen -f -- "$word")) ;; esac
}}
complete -o filenames -F _{PROGRAM} {PROGRAM}
"""


def zsh(parser: Parser) -> str:
    """A function for zsh."""
    names = [f"    {_quoted(f'{n}:{c.summary}')}" for n, c in parser.commands.items()]
    cases = []
    for name, command in parser.commands.items():
        specs = [spec for option in flags_of(command) for spec in _zsh_specs(option)]
        places = [o for o in command.options if not o.option_strings]
        words = [f"({' '.join(o.choices)})" for o in places if o.choices]
        specs.append(_quoted(f"*::{'what' if words else 'file'}:{words[0] if words else '_files'}"))
        lines = " \\\n        ".join(specs)
        cases.append(f"    {name})\n      _arguments -S \\\n        {lines} ;;")
    return f"""#compdef {PROGRAM}
# zsh: eval "$({PROGRAM} completion zsh)", behind compinit
_{PROGRAM}() {{
  local -a commands
  commands=(
{chr(10).join(names)}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
{chr(10).join(cases)}
  esac
}}
compdef _{PROGRAM} {PROGRAM}
"""


def _zsh_specs(option: argparse.Action) -> Iterator[str]:
    text = help_of(option)
    for sign in "[]:":
        text = text.replace(sign, f"\\{sign}")
    value = ""
    if takes_value(option):
        choices = f"({' '.join(map(str, option.choices))})" if option.choices else ""
        value = f":value:{choices or ('_files' if option.metavar in FILES else ' ')}"
    for flag in option.option_strings:
        yield _quoted(f"{flag}[{text}]{value}")


def fish(parser: Parser) -> str:
    """Lines for fish."""
    lines = [f"# fish: {PROGRAM} completion fish | source"]
    for name, command in parser.commands.items():
        lines.append(
            f"complete -c {PROGRAM} -n __fish_use_subcommand -f -a {name} -d {_quoted(command.summary)}"
        )
        seen = _quoted(f"__fish_seen_subcommand_from {name}")
        for option in command.options:
            if option.option_strings and option.help == argparse.SUPPRESS:
                continue
            words = [f"complete -c {PROGRAM} -n {seen}"]
            for flag in option.option_strings:
                words.append(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}")
            if option.choices:
                words.append(f"-f -a {_quoted(' '.join(map(str, option.choices)))}")
            elif not option.option_strings:
                continue
            if option.option_strings and takes_value(option):
                words.append("-r" if option.choices or option.metavar in FILES else "-x")
            lines.append(" ".join([*words, f"-d {_quoted(help_of(option))}"]))
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# The manual -----------------------------------------------------------------------------------


def man(parser: Parser) -> str:
    """The manual page, in man's own macros."""
    lines = [
        f'.TH {PROGRAM.upper()} 1 "" "{PROGRAM} {__version__}"',
        ".SH NAME",
        f"{PROGRAM} \\- {_roff(parser.description or '')}",
        ".SH SYNOPSIS",
        f".B {PROGRAM}",
        ".I COMMAND",
        "[options] ...",
        ".SH COMMANDS",
    ]
    for name, command in parser.commands.items():
        usage = " ".join(command.format_usage().split()).removeprefix("usage: ")
        lines += [f".SS {PROGRAM} {name}", _roff(command.description or command.summary), ".PP"]
        lines += [f".B {_roff(usage)}"] if name != "train" else []
        for option in command.options:
            lines += [".TP", _heading(option), _roff(help_of(option))]
    lines += [
        ".SH EXIT STATUS",
        "0: all files; 1: at least one failed; 2: the command line is wrong;",
    ]
    lines += ["128 and the number of a signal: ended by it, 130 by Control-C."]
    return "\n".join(line for block in lines for line in _wrapped(block)) + "\n"


def _heading(option: argparse.Action) -> str:
    value = option.metavar or (option.dest.upper() if not option.choices else "")
    value = " ".join(value) if isinstance(value, tuple) else value
    value = value or "{" + ",".join(map(str, option.choices or ())) + "}"
    if not option.option_strings:
        return f".I {_roff(value)}"
    flags = ", ".join(sorted(option.option_strings, key=len))
    return f".B {_roff(flags)}" + (f" {_roff(value)}" if takes_value(option) else "")


def _roff(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text[:1] in (".", "'") else text


def _wrapped(line: str) -> list[str]:
    return [line] if line.startswith(".") else textwrap.wrap(line, WIDTH, break_on_hyphens=False)


MAKERS = {"bash": bash, "zsh": zsh, "fish": fish, "man": man}
