"""The commands `compress` and `decompress`."""

from __future__ import annotations

import argparse
import collections
from collections.abc import Sequence

from gllmm_tf import memory, work
from gllmm_tf.cli import outputs
from gllmm_tf.cli.inputs import STANDARD
from gllmm_tf.cli.job import Job, Report
from gllmm_tf.cli.jobs import (
    Codecs,
    Room,
    check_quality,
    each,
    progress_of,
    read_gllmm,
    read_picture,
)
from gllmm_tf.cli.reports import (
    STREAMS,
    Voice,
    bpp,
    compression_report,
    facts_of,
    metadata_bytes,
    one_line,
    quality_of,
    stages,
)
from gllmm_tf.errors import ImageError
from gllmm_tf.files import images
from gllmm_tf.files.grey import is_grey
from gllmm_tf.files.metadata import crop_metadata

WORKERS = 3  # Pictures under way at once: on two cores one reads or writes while two compute.
PIXELS_AT_ONCE = 1 << 24  # Together; a larger picture is worked on alone.
TARGETS = ("target_size", "target_bpp", "target_psnr")


def workers(args: argparse.Namespace) -> int:
    """Pictures under way at once: one where memory is limited, so that none is read beside another."""
    return 1 if args.memory or memory.rooms() else WORKERS


def compress(args: argparse.Namespace) -> int:
    task = _Task(args)
    wanted = {name: getattr(args, name) for name in TARGETS}
    check_quality(args.quality, wanted)
    codecs = Codecs(args, args.quality)

    def compress(job: Job) -> Report:
        outputs.check(job, args)
        picture = read_picture(job.source, args.max_pixels, args.strip)
        codec = codecs.chosen()
        height, width = shape = picture.pixels.shape[:2]
        with task.room.take(work.padded_pixels(width, height)):
            encoded = codec.encode(
                picture.pixels,
                args.quality,
                **wanted,
                metadata=picture.metadata,
                refine=args.refine,
                progress=task.progress,
            )
            outputs.write(job.target, encoded.data)
            measured = None
            if args.verbose:
                grey = is_grey(picture.pixels)
                x_hat = codec.reconstruct(encoded.latents, shape, encoded.quality, is_grey=grey)
                measured = quality_of(picture.pixels, x_hat)
        notes, found = [*picture.notes, *encoded.notes], any(wanted.values())
        facts = {
            "width": width,
            "height": height,
            "bytes": len(encoded.data),
            "bpp": bpp(len(encoded.data), width * height),
            "quality": encoded.quality,
            "model": encoded.identity.hex(),
            **({"psnr": measured[0], "ms_ssim": measured[1]} if measured else {}),
            "metadata": metadata_bytes(picture.metadata),
        }
        report = compression_report(job.source, shape, encoded, measured)

        def tell():
            task.done(job, facts, encoded.seconds, notes)
            if args.verbose or found:
                task.voice.say(report)

        return tell

    return task.run(compress, "compressed")


def decompress(args: argparse.Namespace) -> int:
    task = _Task(args)
    codecs = Codecs(args)

    def decompress(job: Job) -> Report:
        outputs.check(job, args)
        data, contents = read_gllmm(job.source, args.max_pixels)
        named = outputs.named_by_format(job.target, args.format)
        shown = args.crop[2:] if args.crop else (contents.width, contents.height)
        images.check_format(named, contents.metadata, shown)
        codec = codecs.chosen() if args.model else codecs.with_identity(contents.model_id)
        width, height = contents.width, contents.height
        with task.room.take(work.padded_pixels(width, height)):
            decoded = codec.decode(
                data, crop=args.crop, max_pixels=args.max_pixels, progress=task.progress
            )
            metadata = decoded.metadata
            if args.crop:
                metadata = crop_metadata(metadata, (width, height), args.crop)
            try:
                written, notes = images.encode_image(
                    decoded.image, metadata, images.format_of(named)
                )
            except ImageError as error:
                raise ImageError(f"{job.target}: {error}", error.argument) from error
            outputs.write(job.target, written)
        facts = {**facts_of(data, contents), "quality": decoded.quality}

        def tell():
            task.done(job, facts, decoded.seconds, notes)
            if args.verbose:
                task.voice.say(
                    f"{one_line(STREAMS.get(job.source, job.source))}: {width} x {height}, "
                    f"{len(data)} bytes, {bpp(len(data), width * height):.4f} bpp\n"
                    f"  {stages(decoded.seconds)}"
                )

        return tell

    return task.run(decompress, "decompressed")


class _Task:
    """What `compress` and `decompress` have in common: plan, progress, sums."""

    def __init__(self, args: argparse.Namespace):
        self._args = args
        self._jobs = outputs.plan(args)
        self.voice = Voice(args)
        if any(job.target == STANDARD for job in self._jobs):
            self.voice.leave_stdout()
        self.progress = progress_of(self._jobs, self.voice)
        self.room = Room(PIXELS_AT_ONCE)
        self._sums: collections.Counter[str] = collections.Counter()

    def done(self, job: Job, facts: dict, seconds: dict[str, float], notes: Sequence[str]) -> None:
        """Tells of a finished file."""
        self._sums.update(bytes=facts["bytes"], pixels=facts["width"] * facts["height"])
        self.voice.note(job.source, notes)
        self.voice.record(
            input=job.source, output=job.target, **facts, seconds=dict(seconds), notes=list(notes)
        )

    def run(self, action, participle: str) -> int:
        """Does all jobs and returns the exit status."""
        args, jobs = self._args, self._jobs

        def unless_there(job: Job) -> Report:
            if not outputs.skips(job, args):
                return action(job)

            def tell():
                self._sums.update(skipped=1)
                self.voice.record(input=job.source, output=job.target, skipped=True)

            return tell

        done = each(jobs, unless_there, self.voice, workers=args.workers or workers(args))
        sums, skipped = self._sums, self._sums["skipped"]
        if len(jobs) > 1:
            rate = ""
            if args.command == "compress" and sums["pixels"]:
                rate = f": {sums['bytes']} bytes, {bpp(sums['bytes'], sums['pixels']):.4f} bpp"
            there = f", {skipped} were there" if skipped else ""
            self.voice.say(f"{participle} {done - skipped} of {len(jobs)} files{there}{rate}")
        return 0 if done == len(jobs) else 1
