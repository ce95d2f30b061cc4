"""How every experiment starts and ends.

    def define_flags() -> None: ..
    def main(f: flags.FlagValues, results: str) -> None: ..

    if __name__ == "__main__":
        program.run(main, define_flags, ["RESULTS"])

Flags are defined when the program runs, not when its module is imported: programs import each other,
and tests import many. A program ends with

    0    it did its work, and what it measured keeps the limits that it has
    1    one line on standard error: a wrong flag, a file that cannot be read, a limit that is broken
    130  it was interrupted
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from absl import app, flags

from experiments.common import places
from gllmm_tf.errors import GllmmError


class ExperimentError(Exception):
    """A request that cannot be carried out; the message is one line for the user."""


class LimitError(ExperimentError):
    """A measurement that breaks a limit of its experiment; the figures have been printed before."""

    def __str__(self) -> str:
        return f"FAILED: {super().__str__()}"


def run(
    main: Callable[..., None],
    define_flags: Callable[[], None] = lambda: None,
    arguments: Sequence[str] = (),
    flags_parser: Callable[[Sequence[str]], list[str]] | None = None,
) -> None:
    """Parses the command line, calls `main(flags.FLAGS, *arguments)` and exits the process.

    Args:
        main: the program.
        define_flags: defines its flags.
        arguments: names of what is given without a flag; in brackets if it may be left out, in
            which case `main` is called without it.
        flags_parser: in place of absl's own, as for `absl.app.run`.
    """
    define_flags()

    def call(argv: Sequence[str]) -> None:
        sys.exit(status_of(lambda: main(flags.FLAGS, *checked(argv[1:], arguments))))

    app.run(call, flags_parser=flags_parser or _parse)


def status_of(work: Callable[[], None]) -> int:
    """Runs `work` and returns the exit status; what went wrong is a line on standard error."""
    try:
        work()
    except GllmmError as error:
        print(error.with_flag(), file=sys.stderr)
        return 1
    except ExperimentError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        if error.filename is None:  # no file that the user named: a fault of the program
            raise
        print(f"{error.filename}: {error.strerror or error}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def checked(given: Sequence[str], names: Sequence[str]) -> Sequence[str]:
    """Returns the arguments without flags if they are as many as `names` wants.

    Raises:
        ExperimentError: there are too few or too many.
    """
    needed = sum(not name.startswith("[") for name in names)
    if len(given) < needed:
        raise ExperimentError(f"{names[len(given)]} is missing; see --help.")
    if len(given) > len(names):
        raise ExperimentError(f"Unexpected argument {given[len(names)]!r}; see --help.")
    return given


def _parse(argv: Sequence[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        sys.exit(f"{' '.join(str(error).split())}; see --help")


# Flags that many experiments have -------------------------------------------------------------


def define_images(default: Sequence[str] | None = None) -> None:
    """Defines --images, which has to be given where there is no default."""
    text = "Folder of pictures, picture or quoted glob; may be repeated."
    flags.DEFINE_multi_string("images", default, text, required=default is None)


def define_model() -> None:
    """Defines --model; None stands for the shipped default."""
    flags.DEFINE_string("model", None, "Name or path of a model; default: the shipped default.")


def define_qualities(default: Sequence[str] = ()) -> None:
    """Defines --qualities, a list."""
    flags.DEFINE_list("qualities", list(default), "Qualities of a model of variable rate.")


def define_page(page: str) -> None:
    """Defines --page: the page of docs/ that holds the table."""
    path = f"{places.DOCS}/{page}"
    flags.DEFINE_string("page", path, "Page to put the table into, or nothing.")


def define_photographs() -> None:
    """Defines --train_glob and --cache_dir, as train.py has them."""
    flags.DEFINE_list("train_glob", [], "Globs of training pictures, quoted, with commas between.")
    flags.DEFINE_string("cache_dir", "runs/cache", "Folder for the decoded pictures.")


def numbers(name: str, values: Sequence[str], kind: Callable[[str], float] = float) -> list:
    """Returns the values of a list flag as numbers.

    Args:
        name: of the flag.
        values: as given.
        kind: `int` or `float`.

    Raises:
        ExperimentError: one is no number.
    """
    try:
        return [kind(value) for value in values]
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise ExperimentError(f"--{name} takes {what}, got {','.join(values)}.") from None
