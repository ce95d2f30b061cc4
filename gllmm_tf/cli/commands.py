"""What the commands do: flags in, library calls, files and tables out. Each returns the exit status."""

from __future__ import annotations

import argparse
import collections
import os
from collections.abc import Sequence

from gllmm_tf import memory, work
from gllmm_tf.cli.jobs import (
    EXTENSION,
    Abort,
    Codecs,
    Job,
    Report,
    Room,
    check_quality,
    each,
    expand,
    plan,
    progress_of,
    read_gllmm,
)
from gllmm_tf.cli.reports import (
    PROGRAM,
    Notes,
    Row,
    bpp,
    compression_report,
    evaluate_picture,
    failure,
    info_report,
    mean,
    one_line,
    say,
    stages,
    table_line,
    table_row,
    to_csv,
)
from gllmm_tf.codec import backends
from gllmm_tf.errors import GllmmError
from gllmm_tf.files import atomic, images
from gllmm_tf.files.grey import is_grey
from gllmm_tf.files.metadata import crop_metadata
from gllmm_tf.zoo import registry

ANY_SIZE = 1 << 60  # For `info`, which decodes nothing.
WORKERS = 3  # Pictures under way at once: on two cores one reads or writes while two compute.
PIXELS_AT_ONCE = 1 << 24  # Together; a larger picture is worked on alone.


def workers(args: argparse.Namespace) -> int:
    """Pictures under way at once: one where memory is limited, so that none is read beside another."""
    return 1 if args.memory or memory.rooms() else WORKERS


def compress(args: argparse.Namespace) -> int:
    check_quality(args.quality)
    notes = Notes(args.verbose)
    jobs = plan(args, EXTENSION, images.PICTURE_EXTENSIONS)
    codecs = Codecs(args, args.quality)
    progress = progress_of(jobs)
    room = Room(PIXELS_AT_ONCE)
    totals: collections.Counter[str] = collections.Counter()

    def compress(job: Job) -> Report:
        atomic.check_target(job.target, job.source)
        picture = images.read_image(job.source, args.max_pixels, strip=args.strip)
        codec = codecs.chosen()
        height, width = picture.pixels.shape[:2]
        with room.take(work.padded_pixels(width, height)):
            encoded = codec.encode(
                picture.pixels,
                args.quality,
                metadata=picture.metadata,
                refine=args.refine,
                progress=progress,
            )
            atomic.write_bytes_atomic(job.target, encoded.data)
            report = ""
            if args.verbose:
                x_hat = codec.reconstruct(
                    encoded.latents,
                    (height, width),
                    args.quality,
                    is_grey=is_grey(picture.pixels),
                )
                report = compression_report(job.source, picture.pixels, x_hat, encoded)
        size, said = len(encoded.data), [*picture.notes, *encoded.notes]

        def tell():
            notes.tell(job.source, said)
            if report:
                say(report)
            totals.update(bytes=size, pixels=width * height)

        return tell

    done = each(jobs, compress, workers=workers(args))
    if len(jobs) > 1:
        rate = (
            f": {totals['bytes']} bytes, {bpp(totals['bytes'], totals['pixels']):.4f} bpp"
            if done
            else ""
        )
        say(f"compressed {done} of {len(jobs)} files{rate}")
    return 0 if done == len(jobs) else 1


def decompress(args: argparse.Namespace) -> int:
    jobs = plan(args, ".png", (EXTENSION,))
    notes = Notes(args.verbose)
    codecs = Codecs(args)
    progress = progress_of(jobs)
    room = Room(PIXELS_AT_ONCE)

    def decompress(job: Job) -> Report:
        atomic.check_target(job.target, job.source)
        data, contents = read_gllmm(job.source, args.max_pixels)
        shown = args.crop[2:] if args.crop else (contents.width, contents.height)
        images.check_format(job.target, contents.metadata, shown)
        codec = codecs.chosen() if args.model else codecs.with_identity(contents.model_id)
        width, height = contents.width, contents.height
        with room.take(work.padded_pixels(width, height)):
            decoded = codec.decode(
                data, crop=args.crop, max_pixels=args.max_pixels, progress=progress
            )
            metadata = decoded.metadata
            if args.crop:
                metadata = crop_metadata(metadata, (width, height), args.crop)
            said = images.write_image(job.target, decoded.image, metadata)
        size, seconds = len(data), decoded.seconds

        def tell():
            notes.tell(job.source, said)
            if args.verbose:
                say(
                    f"{one_line(job.source)}: {width} x {height}, {size} bytes, "
                    f"{bpp(size, width * height):.4f} bpp\n  {stages(seconds)}"
                )

        return tell

    done = each(jobs, decompress, workers=workers(args))
    if len(jobs) > 1:
        say(f"decompressed {done} of {len(jobs)} files")
    return 0 if done == len(jobs) else 1


def info(args: argparse.Namespace) -> int:
    jobs = [Job(source) for source in expand(args.inputs)]

    def info(job: Job) -> Report:
        data, contents = read_gllmm(job.source, ANY_SIZE)
        return lambda: say(info_report(job.source, data, contents))

    return 0 if each(jobs, info, progress=False) == len(jobs) else 1


def evaluate(args: argparse.Namespace) -> int:
    check_quality(args.quality)
    jobs = [Job(source) for source in expand(args.inputs)]
    for source in [job.source for job in jobs if args.csv]:
        try:
            atomic.check_target(args.csv, source)
        except (GllmmError, OSError) as error:
            raise Abort(failure(args.csv, error)) from error
    codecs = Codecs(args, args.quality)
    rows: list[Row] = []
    width = max(4, *(len(os.path.basename(job.source)) for job in jobs))

    def evaluate(job: Job) -> Report:
        picture = images.read_image(job.source, args.max_pixels)
        row = evaluate_picture(codecs.chosen(), job.source, picture, args)

        def tell():
            if not rows:
                say(table_line(Row._fields, width))
            rows.append(row)
            say(table_row(row, width))

        return tell

    done = each(jobs, evaluate, progress=False)
    if done > 1:
        say(table_row(mean(rows), width))
    if args.csv and rows:
        try:
            atomic.write_bytes_atomic(args.csv, to_csv(rows))
        except OSError as error:
            raise Abort(failure(args.csv, error)) from error
    return 0 if done == len(jobs) else 1


def models(args: argparse.Namespace) -> int:
    del args
    try:
        found = registry.models()
    except GllmmError as error:
        raise Abort(str(error)) from error
    if not found:
        raise Abort("no models ship with this installation; give --model the path of one")
    for name, info in found.items():
        say(name)
        say(f"  file: {registry.path_of(name)}")
        for key, value in info.items():
            say(f"  {key}: {value}")
    return 0


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


COMMANDS = {
    "compress": compress,
    "decompress": decompress,
    "info": info,
    "evaluate": evaluate,
    "models": models,
    "export": export,
}
