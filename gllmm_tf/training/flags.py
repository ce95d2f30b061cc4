"""Settings as flat absl flags: the command `gllmm train` and the script train.py.

Each field of each group of `Settings` is a flag of the same name; a list is given with commas. A
file that --config names holds settings as well; flags on the command line come before it.
"""

from __future__ import annotations

import runpy
import sys
from typing import Any

from absl import flags

from gllmm_tf.codec import backends
from gllmm_tf.errors import GllmmError
from gllmm_tf.training.folder import INTERRUPTED
from gllmm_tf.training.settings import FIELDS, Settings, item_kind, kind_of

_DEFINE = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
}


def define(flag_values: flags.FlagValues) -> None:
    """Defines a flag per setting, and --config."""
    for name, (_, field) in FIELDS.items():
        text = field.metadata["help"]
        if item_kind(field):
            default = ",".join(str(item) for item in field.default)
            text = f"{text[:-1]}; with commas in between."
            flags.DEFINE_string(name, default, text, flag_values=flag_values)
        else:
            _DEFINE[kind_of(field)](name, field.default, text, flag_values=flag_values)
    flags.DEFINE_string(
        "config",
        "",
        "FILE.py or FILE.py:KEY with SETTINGS; flags on the command line come before them.",
        flag_values=flag_values,
    )


def settings_of(flag_values: flags.FlagValues) -> Settings:
    """The `Settings` that the flags, and the file that --config names, decide.

    Raises:
        GllmmError: a value cannot be used, or train_glob or run_dir is missing.
    """
    values = read_config(flag_values.config) if flag_values.config else {}
    for name in FIELDS:
        if flag_values[name].present:
            values[name] = flag_values[name].value
    settings = Settings.of(**values)
    if not settings.data.train_glob:
        raise GllmmError("no training pictures; name them", "train_glob")
    if not settings.run.run_dir:
        raise GllmmError("no folder for the run; name one", "run_dir")
    return settings


def read_config(name: str) -> dict[str, Any]:
    """Reads settings from a Python file.

    The file defines a dict `SETTINGS` of fields of `Settings`, lists as lists, or a dict of such
    dicts, of which the name then says the key.

    Args:
        name: "FILE.py" or "FILE.py:KEY".

    Returns:
        {field: value}.

    Raises:
        GllmmError: one line: the name, what is wrong, what to do.
    """
    path, _, key = name.partition(".py:")
    path = f"{path}.py" if key else name
    try:
        table = runpy.run_path(path).get("SETTINGS")
    except Exception as error:  # whatever the code of the file may raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise GllmmError(f"{name}: cannot be run ({reason}); correct it", "config") from error
    if not isinstance(table, dict):
        raise GllmmError(f"{name}: defines no dict SETTINGS; add it", "config")
    several = bool(table) and all(isinstance(value, dict) for value in table.values())
    if several and key not in table:
        raise GllmmError(
            f"{name}: has no settings {key!r}; choose {path}:KEY with KEY one of "
            f"{', '.join(table)}",
            "config",
        )
    if key and not several:
        raise GllmmError(f"{name}: has one set of settings only; leave out :{key}", "config")
    try:
        return Settings.typed(table[key] if several else table)
    except GllmmError as error:
        raise GllmmError(f"{name}: {error}", "config") from error


def parse(program: str, values: flags.FlagValues, argv: list[str]) -> list[str] | None:
    """Parses a command line into `values`; returns None after --help was shown.

    Ends the process with status 1 and one line for what cannot be parsed.
    """
    flags.DEFINE_bool("help", False, "Show this help.", short_name="h", flag_values=values)
    try:
        rest = values([program, *argv[1:]], known_only=False)
    except flags.Error as error:
        if "--help" in argv[1:] or "-h" in argv[1:]:
            rest = []
        else:
            sys.exit(f"{program}: {error}; see --help")
    if values["help"].value or not rest:
        print(f"{program}: every setting is a flag.\n\nflags:\n{values.get_help()}")
        return None
    if len(rest) > 1:
        sys.exit(f"{program}: unexpected argument {rest[1]!r}; every setting is a flag, see --help")
    return rest


def main(argv: list[str]) -> None:
    """Trains as the flags say.

    Args:
        argv: The program's name, for messages, and its arguments.

    Ends the process with status 1 and one line for what cannot be done, with `INTERRUPTED` after a
    signal, which the same command makes good.
    """
    program, values = argv[0], flags.FlagValues()
    define(values)
    if parse(program, values, argv) is None:
        return
    try:
        settings = settings_of(values)
        backends.need_tensorflow("training", None)
        from gllmm_tf.training.run import Run  # late: help and bad flags need no TensorFlow

        run = Run(settings)
        run.train()
    except GllmmError as error:
        sys.exit(f"{program}: {error.with_flag()}")
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    if run.stop.interrupted:
        sys.exit(INTERRUPTED)
