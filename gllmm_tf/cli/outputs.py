"""Where results go: their names, what they may replace, files and standard output."""

from __future__ import annotations

import argparse
import os
import sys

from gllmm_tf.cli.formats import READABLE, SUFFIXES
from gllmm_tf.cli.inputs import STANDARD, Input, gather
from gllmm_tf.cli.job import Abort, Job
from gllmm_tf.errors import GllmmError
from gllmm_tf.files import atomic, container, mark, recognise
from gllmm_tf.files.writing import PICTURE_EXTENSIONS

EXTENSION = ".gllmm"


def plan(args: argparse.Namespace) -> list[Job]:
    """Pairs inputs with outputs.

    With --output_dir every argument is an input, a pattern or a folder. Without it there is one input
    and at most one output; an output named like an input is refused, because `compress *.png` in a
    folder of two pictures would otherwise take the second one for its output.

    Raises:
        Abort: what is asked for cannot be done.
    """
    compress = args.command == "compress"
    extensions = READABLE if compress else (EXTENSION,)
    if args.output_dir is None:
        return [_single(args, extensions)]
    if args.output:
        raise Abort("--output names one file, --output_dir a folder: give one of them")
    inputs = gather(args, extensions)
    if any(one.path == STANDARD for one in inputs):
        raise Abort("standard input has no name for a file in --output_dir: give --output")
    folders = {os.path.dirname(os.path.join(args.output_dir, one.kept)) for one in inputs}
    for folder in [args.output_dir, *sorted(folders)]:
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise Abort(f"{folder}: {atomic.reason(error)}") from error
    taken: set[str] = set()
    jobs = []
    for one in inputs:
        place = os.path.join(args.output_dir, one.kept)
        target = place + EXTENSION if compress else picture_name(place, suffix_of(args), taken)
        taken.add(target)
        jobs.append(Job(one.path, target))
    return jobs


def _single(args: argparse.Namespace, extensions: tuple[str, ...]) -> Job:
    if args.recursive:
        raise Abort("--recursive needs --output_dir DIR")
    names, outputs = args.inputs, [args.output] if args.output else []
    if args.files_from is None and not args.output:
        names, outputs = names[:1], names[1:]
    inputs = gather(argparse.Namespace(**{**vars(args), "inputs": names}), extensions)
    if not inputs:
        raise Abort(f"{args.files_from}: names no files")
    if len(inputs) > 1 or len(outputs) > 1:
        raise Abort("several inputs need --output_dir DIR")
    target = outputs[0] if outputs else _default_output(inputs[0], args)
    if target == STANDARD:
        _check_standard_output(args)
    foreign = PICTURE_EXTENSIONS if args.command == "compress" else (EXTENSION,)
    if target.lower().endswith(foreign):
        raise Abort(
            f"{target}: an output of {args.command} cannot have this extension; "
            "several inputs need --output_dir DIR"
        )
    return Job(inputs[0].path, target)


def _default_output(one: Input, args: argparse.Namespace) -> str:
    if one.path == STANDARD:
        return STANDARD
    if args.command == "compress":
        return one.path + EXTENSION
    return picture_name(one.path, suffix_of(args), set())


def _check_standard_output(args: argparse.Namespace) -> None:
    if args.json:
        raise Abort("standard output takes the file or the lines of --json, not both")
    if sys.stdout is None:
        raise Abort("standard output is closed")
    if sys.stdout.isatty():
        raise Abort("standard output is a terminal: redirect it, or name a file")


def suffix_of(args: argparse.Namespace) -> str:
    """Extension of the pictures that `decompress` writes where it chooses their names."""
    return SUFFIXES[args.format or "png"]


def named_by_format(target: str, picture_format: str | None) -> str:
    """A name for the output whose extension says its format: the output's own where that is chosen."""
    if picture_format is None and target != STANDARD:
        return target
    return target + SUFFIXES[picture_format or "png"]


def picture_name(source: str, suffix: str, taken: set[str]) -> str:
    """The name for the picture of a file: photo.png for photo.jpg.gllmm, if that is free.

    Else, where photo.png exists and was not written by this program or is another's output, it is
    photo.jpg.gllmm.png.
    """
    if source.lower().endswith(EXTENSION):
        stem = source[: -len(EXTENSION)]
        root, extension = os.path.splitext(stem)
        short = (root if extension.lower() in READABLE else stem) + suffix
        free = not os.path.lexists(short) or mark.is_marked(short)
        if os.path.basename(short) != suffix and short not in taken and free:
            return short
    return source + suffix


def check(job: Job, args: argparse.Namespace) -> None:
    """Refuses an output that cannot be written or that would replace what is not this program's.

    Raises:
        GllmmError, OSError: see `atomic.check_target`; or the output exists.
    """
    if job.target == STANDARD:
        return
    atomic.check_target(job.target, job.source)
    if not os.path.isfile(job.target) or not os.path.getsize(job.target):
        return
    if args.command == "compress":
        _check_compressed(job.target, args.overwrite)
    elif not args.overwrite and not mark.is_marked(job.target):
        raise GllmmError(
            f"{job.target}: exists and is not known to be made by {args.command}; "
            "give another name, or --overwrite"
        )


def _check_compressed(target: str, overwrite: bool) -> None:
    with open(target, "rb") as file:
        start = file.read(recognise.START_BYTES)
    if start.startswith(container.MAGIC):
        return
    kind = recognise.kind_of(start)
    if kind.reader:
        raise GllmmError(f"{target}: exists and is {kind.name}; give another name")
    if not overwrite:
        raise GllmmError(
            f"{target}: exists and is not a .gllmm file; give another name, or --overwrite"
        )


def write(target: str, data: bytes | memoryview) -> None:
    """Writes a whole file, or to standard output."""
    if target != STANDARD:
        atomic.write_bytes_atomic(target, data)
        return
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def skips(job: Job, args: argparse.Namespace) -> bool:
    """Whether the output of a job exists and shall be left as it is."""
    return args.skip_existing and job.target != STANDARD and os.path.lexists(job.target)
