"""What the commands do: flags in, library calls, files and tables out. Each returns the exit status.

What takes time to import is imported by the command that needs it.
"""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Callable, Sequence

from gllmm_tf.cli.inputs import expand
from gllmm_tf.cli.job import PROGRAM, Abort, Job, Report
from gllmm_tf.cli.jobs import each, read_gllmm
from gllmm_tf.cli.model_table import models
from gllmm_tf.cli.reports import Voice, facts_of, failure, info_report, say
from gllmm_tf.codec import backends
from gllmm_tf.errors import GllmmError
from gllmm_tf.zoo import registry

ANY_SIZE = 1 << 60  # For `info`, which decodes nothing.


def info(args: argparse.Namespace) -> int:
    jobs = [Job(source) for source in expand(args.inputs)]
    voice = Voice(args)

    def info(job: Job) -> Report:
        data, contents = read_gllmm(job.source, ANY_SIZE)

        def tell():
            voice.say(info_report(job.source, data, contents))
            voice.record(input=job.source, **facts_of(data, contents))

        return tell

    return 0 if each(jobs, info, voice, progress=False) == len(jobs) else 1


def export(args: argparse.Namespace) -> int:
    if args.format == "onnx" and args.max_pixels is not None:
        raise Abort("--max_pixels: ONNX files have no limit; omit it")
    try:
        stored = registry.read_model(args.model)
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        if args.format == "onnx":
            from gllmm_tf.export import onnx

            onnx.save(stored, args.folder)
        else:
            backends.need_tensorflow("a SavedModel", "format")
            from gllmm_tf.export import saved_model as export

            export.save(stored, args.folder, args.max_pixels or export.MAX_PIXELS)
    except (GllmmError, OSError) as error:
        raise Abort(failure(None, error)) from error
    say(f"{args.folder}: model {stored.identity.hex()}, {folder_size(args.folder)} bytes")
    return 0


def train(arguments: Sequence[str]) -> int:
    """Trains; `arguments` are the flags of train.py, parsed where the settings are."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from gllmm_tf.training import flags

    flags.main([f"{PROGRAM} train", *arguments])
    return 0


def folder_size(folder: str) -> int:
    files = (os.path.join(path, name) for path, _, names in os.walk(folder) for name in names)
    return sum(map(os.path.getsize, files))


def _later(module: str, name: str) -> Callable[[argparse.Namespace], int]:
    """A command of a module that is imported when it is called."""
    return lambda args: getattr(importlib.import_module(f"gllmm_tf.cli.{module}"), name)(args)


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "compress": _later("coding", "compress"),
    "decompress": _later("coding", "decompress"),
    "info": info,
    "evaluate": _later("evaluation", "evaluate"),
    "compare": _later("compare", "compare"),
    "models": models,
    "export": export,
    "completion": _later("completion", "completion"),
}
