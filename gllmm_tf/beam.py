"""Compresses many pictures on Apache Beam: one machine's processes, or a cluster (extra `beam`).

    python -m gllmm_tf.beam --input='photos/**.jpg' --output_dir=packed --quality=4 \\
        --direct_running_mode=multi_processing --direct_num_workers=2

Input and output may be whatever Beam has a file system for (local paths, gs://, s3://, hdfs://).
What this module does not know among the flags goes to Beam, `--runner` first of all.

    match files --> reshuffle --> CompressFile --> records --> manifest.jsonl

A picture DIR/sub/a.jpg of the pattern DIR/**.jpg becomes OUTPUT/sub/a.jpg.gllmm. Once it is there,
OUTPUT/_records/sub/a.jpg.json says from what it was made: SHA-256 of input and output, model, quality,
refinement.
A later run skips a file whose record fits the input, the settings and the output, all of them read
again and the output's own checksum verified; everything else is made anew. So the same command
continues after whatever stopped it, and takes up what was added or changed.

Files that cannot be compressed stop nothing: their line of manifest.jsonl says why, and a later run tries
them again, those too for which memory did not suffice. Files are written
under OUTPUT/_temporary and renamed. Counters: compressed, skipped, failed, bytes_in, bytes_out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import json
import os
import re
import secrets
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from absl.flags import argparse_flags

from gllmm_tf import work
from gllmm_tf.codec import wanted
from gllmm_tf.codec.scale import Scale
from gllmm_tf.errors import GllmmError, running_out_of_memory
from gllmm_tf.files import atomic, container, images
from gllmm_tf.files.metadata import tags_to_strip
from gllmm_tf.zoo import registry

if TYPE_CHECKING:
    from gllmm_tf.codec.base import Codec

PROGRAM = "gllmm_tf.beam"
if importlib.util.find_spec("apache_beam") is None:
    _MISSING = f"{PROGRAM}: apache_beam is not installed: pip install 'gllmm_tf[beam]'"
    raise SystemExit(_MISSING) if __name__ == "__main__" else ImportError(_MISSING)

import apache_beam as beam  # noqa: E402
from apache_beam.io import fileio  # noqa: E402
from apache_beam.io.filesystem import BeamIOError, CompressionTypes  # noqa: E402
from apache_beam.io.filesystems import FileSystems  # noqa: E402
from apache_beam.metrics import Metrics, MetricsFilter  # noqa: E402
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions  # noqa: E402
from apache_beam.utils.shared import Shared  # noqa: E402

# What DirectRunner stands for. Newer Beams put another program in its place, which they download and
# which knows no --direct_num_workers.
LOCAL_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
COUNTERS = ("compressed", "skipped", "failed", "bytes_in", "bytes_out")
MANIFEST, RECORDS, TEMPORARY = "manifest.jsonl", "_records", "_temporary"
_PIECE = 1 << 20  # Bytes that are read at a time.


class PipelineError(GllmmError):
    """A run that cannot start."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is to be done.

    Attributes:
        input: pattern of pictures; `**` matches across folders.
        output_dir: folder for everything that is written.
        model: name or path of a model, readable by the workers; None for the default.
        quality: 1..Q for a variable-rate model, None for the default.
        refine: rounds of refinement, see `Codec.encode`.
        target_size: bytes of each file at most, as 20000 or "20k", in place of a quality.
        target_bpp: the same in bits per pixel.
        target_psnr: dB of each decoded picture at least.
        max_pixels: largest width x height, a side below 64 counted as 64.
        strip: metadata to leave out, see `read_image`.
    """

    input: str
    output_dir: str
    model: str | None = None
    quality: float | None = None
    refine: int = 0
    max_pixels: int = container.MAX_PIXELS
    strip: str = ""
    target_size: int | str | None = None
    target_bpp: float | None = None
    target_psnr: float | None = None

    @property
    def targets(self) -> dict[str, Any]:
        """What `Codec.encode` takes in place of a quality, those that are given."""
        names = ("target_size", "target_bpp", "target_psnr")
        given = {name: getattr(self, name) for name in names}
        return {name: value for name, value in given.items() if value is not None}


def run(settings: Settings, beam_arguments: Iterable[str] = ()) -> dict[str, int]:
    """Runs the pipeline and waits for its end.

    Args:
        settings: what is to be done.
        beam_arguments: flags of Beam, as on a command line.

    Returns:
        {counter: value}; empty where the runner reports none.

    Raises:
        PipelineError, ModelError: the run cannot start.
    """
    settings = _checked(settings)
    options = PipelineOptions(list(beam_arguments))
    standard = options.view_as(StandardOptions)
    standard.runner = standard.runner or LOCAL_RUNNER
    pipeline = beam.Pipeline(options=options)
    compress_files(pipeline, settings)
    result = pipeline.run()
    result.wait_until_finish()
    _clear(FileSystems.join(settings.output_dir, TEMPORARY))
    found = result.metrics().query(MetricsFilter().with_namespace(PROGRAM))["counters"]
    counts = {counter.key.metric.name: counter.result for counter in found}
    return {name: counts.get(name, 0) for name in COUNTERS} if counts else {}


def compress_files(pipeline: beam.Pipeline, settings: Settings) -> beam.PCollection:
    """Adds the steps to a pipeline; returns the PCollection of records, one dict per file."""
    outputs = FileSystems.join(settings.output_dir, "")
    records = (
        pipeline
        | "match" >> fileio.MatchFiles(settings.input)
        | "path" >> beam.Map(lambda found: found.path)
        | "not our own" >> beam.Filter(lambda path: not path.startswith(outputs))
        | "spread" >> beam.Reshuffle()
        | "compress" >> beam.ParDo(CompressFile(settings))
    )
    _ = (
        records
        | "line" >> beam.Map(lambda record: (None, json.dumps(record)))
        | "together" >> beam.GroupByKey()
        | "manifest" >> beam.Map(_write_manifest, settings.output_dir)
    )
    return records


class CompressFile(beam.DoFn):
    """One path to one record; a model is loaded once per process, whatever its number of threads."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._base = _base_of(settings.input)
        self._shared = Shared()
        self._counters = {name: Metrics.counter(PROGRAM, name) for name in COUNTERS}

    def setup(self) -> None:
        self._codec = self._shared.acquire(lambda: _load(self._settings.model))

    def process(self, path: str) -> Iterator[dict]:
        """Yields the record of the file `path`, after its output and its own record are in place."""
        record = self._try(path, path[len(self._base) :])
        self._counters[record["status"]].inc()
        self._counters["bytes_in"].inc(record.get("bytes_in", 0))
        if record["status"] == "compressed":
            self._counters["bytes_out"].inc(record["bytes_out"])
        yield record

    def _try(self, path: str, name: str) -> dict:
        record = {"input": path, "output": f"{name}.gllmm"}
        try:
            with running_out_of_memory(path, "run it again with fewer workers"):
                return self._compress(path, name, record)
        except (GllmmError, OSError) as error:
            return {**record, "status": "failed", "error": atomic.reason(error)}

    def _compress(self, path: str, name: str, record: dict) -> dict:
        settings, codec = self._settings, self._codec
        target = FileSystems.join(settings.output_dir, record["output"])
        record_path = FileSystems.join(settings.output_dir, RECORDS, f"{name}.json")
        with tempfile.TemporaryDirectory(prefix="gllmm-") as folder:
            local = os.path.join(folder, os.path.basename(name))
            record["bytes_in"], digest = _fetch(path, local)
            record["input_sha256"] = digest
            record.update(
                model=_model_of(codec, settings),
                quality=settings.quality,
                refine=settings.refine,
                strip=settings.strip or None,  # As in records of earlier versions, which have none.
                target=settings.targets or None,
            )
            finished = _finished(record, record_path, target)
            if finished:
                return {**finished, "status": "skipped"}
            try:
                picture = images.read_image(local, settings.max_pixels, strip=settings.strip)
            except GllmmError as error:
                raise type(error)(str(error).replace(local, path), error.argument) from None
        encoded = codec.encode(
            picture.pixels,
            settings.quality,
            **settings.targets,
            metadata=picture.metadata,
            refine=settings.refine,
        )
        data = encoded.data
        if settings.targets:
            record["quality_taken"] = encoded.quality
            record["model_taken"] = encoded.identity.hex()
        height, width = picture.pixels.shape[:2]
        record.update(width=width, height=height, bytes_out=len(data))
        record["output_sha256"] = hashlib.sha256(data).hexdigest()
        if picture.note:
            record["note"] = picture.note
        _put(settings.output_dir, target, data)
        _put(settings.output_dir, record_path, json.dumps(record).encode())
        return {**record, "status": "compressed"}


def _model_of(codec: Codec, settings: Settings) -> str:
    """Identity of the model that a file will be of; of both of a scale joined, where a target chooses."""
    own, higher = codec.identity.hex(), codec.scale.continuation
    if higher is None:
        return own
    if settings.targets:
        return f"{own}+{higher.identity.hex()}"
    is_above = codec.scale.is_above(codec.scale.step_of(settings.quality))
    return higher.identity.hex() if is_above else own


def _finished(record: dict, record_path: str, target: str) -> dict | None:
    """The stored record of a file that needs no work: same input and settings, sound output."""
    try:
        stored = json.loads(_read(record_path))
        if any(stored.get(key) != value for key, value in record.items()):
            return None
        data = _read(target)
        container.unpack(data, work.counted_pixels(stored["width"], stored["height"]))
    except (OSError, ValueError, KeyError, GllmmError):
        return None
    return stored if hashlib.sha256(data).hexdigest() == stored.get("output_sha256") else None


def _write_manifest(lines, output_dir: str) -> None:
    """Writes all records, given as (None, lines), by path of the input."""
    text = "".join(f"{line}\n" for line in sorted(lines[1]))
    _put(output_dir, FileSystems.join(output_dir, MANIFEST), text.encode())


def _load(model: str | None):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from gllmm_tf.codec.base import Codec

    return Codec.load(model)


# Files ----------------------------------------------------------------------------------------


def _fetch(path: str, local: str) -> tuple[int, str]:
    """Copies a file to a local one; returns its bytes and SHA-256."""
    state, size = hashlib.sha256(), 0
    with _open(path) as source, open(local, "wb") as copy:
        while piece := source.read(_PIECE):
            state.update(piece)
            size += len(piece)
            copy.write(piece)
    return size, state.hexdigest()


def _open(path: str):
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def _read(path: str) -> bytes:
    with _open(path) as file:
        return file.read()


def _put(output_dir: str, target: str, data: bytes) -> None:
    """Writes a file that is there as a whole or not at all."""
    temporary = FileSystems.join(output_dir, TEMPORARY, secrets.token_hex(8))
    with FileSystems.create(temporary, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        file.write(data)
    with contextlib.suppress(OSError):  # It exists, or renaming will say what is wrong.
        FileSystems.mkdirs(FileSystems.split(target)[0])
    try:
        FileSystems.rename([temporary], [target])
    except BeamIOError:  # Some file systems do not rename onto a file that exists.
        if not FileSystems.exists(target):
            raise
        FileSystems.delete([target])
        FileSystems.rename([temporary], [target])


def _clear(folder: str) -> None:
    """Removes what interrupted runs have left; a folder that is not there, or stays, does no harm."""
    with contextlib.suppress(OSError):
        (found,) = FileSystems.match([FileSystems.join(folder, "*")])
        FileSystems.delete([file.path for file in found.metadata_list])
        FileSystems.delete([folder])


def _base_of(pattern: str) -> str:
    """The part of a pattern that all matches share, up to a separator."""
    fixed = re.split(r"[*?\[]", pattern)[0]
    return fixed[: max(fixed.rfind("/"), fixed.rfind(os.sep)) + 1]


def _local(path: str) -> str:
    """Makes a local path absolute; workers may have another working directory."""
    return path if "://" in path else os.path.abspath(path)


def _checked(settings: Settings) -> Settings:
    """Settings with absolute paths and the default quality; what is wrong is said before work starts."""
    stored, continuation = registry.read_scale(settings.model)
    scale = Scale(stored.config, continuation)
    scale.step_of(settings.quality)
    tags_to_strip(settings.strip)
    target = wanted.chosen(settings.target_size, settings.target_bpp, settings.target_psnr)
    wanted.check_beside_quality(target, settings.quality)
    if target and not scale.qualities:
        raise PipelineError("this model has one fixed rate; omit the target", target.argument)
    if settings.refine < 0:
        raise PipelineError(f"refine is {settings.refine}, it must be 0 or more", "refine")
    model, named = settings.model, [registry.DEFAULT_ALIAS, *registry.names()]
    settings = dataclasses.replace(
        settings,
        input=_local(settings.input),
        output_dir=_local(settings.output_dir),
        model=_local(model) if model and model not in named else model,
    )
    try:
        (found,) = FileSystems.match([settings.input], [1])
    except (OSError, ValueError) as error:
        raise PipelineError(f"{settings.input}: {atomic.reason(error)}") from None
    if not found.metadata_list:
        raise PipelineError(f"{settings.input}: no file matches; quote the pattern")
    return settings


# Command --------------------------------------------------------------------------------------


def parse(argv: Sequence[str]) -> tuple[Settings, list[str]]:
    """Returns (settings, flags for Beam)."""
    parser = argparse_flags.ArgumentParser(
        prog=PROGRAM,
        description="Compresses the pictures of a pattern; continues where a former run ended.",
        epilog="All other flags are Beam's: --runner, --direct_running_mode, --direct_num_workers, ..",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--input", required=True, help="quoted pattern; ** matches across folders")
    add("--output_dir", required=True, help="folder for .gllmm files, records and manifest.jsonl")
    add("--model", help="name of a shipped model or path of one that all workers can read")
    add("--quality", type=float, help="1 (smallest) and up, fractions allowed")
    add("--refine", type=int, default=0, help="rounds of refinement: smaller files, much slower")
    add("--strip", default="", help="leave out some of exif,xmp,icc or all")
    add("--target_size", help="bytes of each file at most, as 20000 or 20k, in place of a quality")
    add("--target_bpp", type=float, help="the same in bits per pixel")
    add("--target_psnr", type=float, help="dB of each decoded picture at least")
    add("--max_pixels", type=int, default=container.MAX_PIXELS, help="refuse larger pictures")
    known, rest = parser.parse_known_args(argv[1:])
    fields = [field.name for field in dataclasses.fields(Settings)]
    return Settings(**{name: getattr(known, name) for name in fields}), rest


def main(argv: Sequence[str]) -> None:
    """Runs a command line; files that fail are counted and do not make it fail."""
    settings, rest = parse(argv)
    try:
        counts = run(settings, rest)
    except GllmmError as error:
        sys.exit(f"{PROGRAM}: {error.with_flag()}")
    text = ", ".join(f"{name} {value}" for name, value in counts.items())
    print(f"{text or 'done'}; see {FileSystems.join(settings.output_dir, MANIFEST)}")


if __name__ == "__main__":
    from gllmm_tf import beam as importable  # Workers find its classes under this name.

    importable.main(sys.argv)
