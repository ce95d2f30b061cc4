"""The command `gllmm`: one command line to one exit status, whatever happens on the way."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator

INTERRUPTED = 128  # and the number of the signal is the exit status


class Stopped(KeyboardInterrupt):
    """A signal has ended the work."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number


def run() -> None:
    """Entry point of the console command and of compress.py; exits the process."""
    _fill_standard_streams()
    training = sys.argv[1:2] == ["train"]
    status = _status_of(_train if training else _command, handled=not training)
    if status > INTERRUPTED and not training:
        _leave(status)
    sys.exit(status)


def _train() -> int:
    from gllmm_tf.cli import commands

    _prepare(pictures=True)
    return commands.train(sys.argv[2:])


def _command() -> int:
    from gllmm_tf.cli.parser import parse_args

    args = parse_args(sys.argv)
    _prepare(pictures=args.command in ("compress", "decompress", "evaluate", "compare"))
    return _call(args)


def main(args: argparse.Namespace) -> int:
    """Runs one parsed command line and returns the exit status."""
    return _status_of(lambda: _call(args), handled=False)


def _call(args: argparse.Namespace) -> int:
    from gllmm_tf.cli import commands

    return commands.COMMANDS[args.command](args)


def _prepare(pictures: bool) -> None:
    if pictures:  # Without them the start is quick.
        from PIL import Image

        Image.MAX_IMAGE_PIXELS = None  # Our own limit, --max_pixels, is checked before decoding.
    warnings.filterwarnings("ignore", module="PIL")
    logging.getLogger("PIL").addHandler(logging.NullHandler())  # Which would write to stderr.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # File names may be any bytes.


def _fill_standard_streams() -> None:
    """Where a standard stream is closed, no other file takes its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # The lowest number that is free.


def _status_of(command: Callable[[], int], handled: bool) -> int:
    """The exit status of a command; `handled`: its signals are to be handled here."""
    try:
        with _handled_signals() if handled else contextlib.nullcontext():
            status = command()
            if sys.stdout is not None:
                sys.stdout.flush()
        return status
    except KeyboardInterrupt as error:
        number = getattr(error, "number", signal.SIGINT)
        _complain("interrupted" if number == signal.SIGINT else "terminated")
        return INTERRUPTED + number
    except BrokenPipeError:  # The reader of our output, `head` for instance, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        from gllmm_tf.cli.job import Abort

        if not isinstance(error, Abort):
            raise
        _complain(str(error))
        return 1


def _complain(line: str) -> None:
    from gllmm_tf.cli.reports import complain

    complain(line)


@contextlib.contextmanager
def _handled_signals() -> Iterator[None]:
    """The first signal ends the work with one line; a second one ends the process at once."""

    def stop(number, frame):
        for other in signals:
            signal.signal(other, lambda again, frame: _leave(INTERRUPTED + again))
        raise Stopped(number)

    names = ("SIGINT", "SIGTERM", "SIGHUP")
    signals = [getattr(signal, name) for name in names if hasattr(signal, name)]
    # Whoever started us may have chosen that we hear nothing of one: nohup, a shell's background job.
    before = {number: signal.getsignal(number) for number in signals}
    signals = [number for number in signals if before[number] not in (signal.SIG_IGN, None)]
    for number in signals:
        signal.signal(number, stop)
    yield
    for number in signals:  # Not after an interrupt: then the next signal ends the process.
        signal.signal(number, before[number])


def _leave(status: int) -> None:
    """Ends the process although threads are at work: they compute for a while what nobody wants."""
    if "gllmm_tf.files.atomic" in sys.modules:
        sys.modules["gllmm_tf.files.atomic"].abandon()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(
            Exception
        ):  # It may be closed, or be busy in what was interrupted.
            stream.flush()
    os._exit(status)
