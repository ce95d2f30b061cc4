"""The command line `gllmm`: compress, decompress, info, evaluate, models, export.

Flags in, library calls, files and tables out; all the work is done by `gllmm_tf.codec`,
`gllmm_tf.image_io` and `gllmm_tf.coding.container`.

Exit status: 0 if all went well, 1 if any file failed (each failure is one line on stderr), 2 for a
command line that cannot be parsed, 130 when interrupted.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import contextlib
import csv
import functools
import glob
import io
import math
import os
import statistics
import sys
import threading
import time
import warnings

from absl.flags import argparse_flags
from PIL import Image

from gllmm_tf.errors import GllmmError
from gllmm_tf.files import container, images
from gllmm_tf.zoo import registry

PROGRAM = "gllmm"
EXTENSION = ".gllmm"
_ANY_SIZE = 1 << 60  # For `info`, which decodes nothing.
_WORKERS = 3  # Pictures under way at once: on two cores one reads or writes while two compute.
_PIXELS_AT_ONCE = 1 << 24  # Together; a larger picture is worked on alone.

Job = collections.namedtuple("Job", "source target")


class _Abort(Exception):
    """A fault that concerns no single file: one line for the user, and nothing more is done."""


def run() -> None:
    """Entry point of the console command and of compress.py; exits the process."""
    Image.MAX_IMAGE_PIXELS = None  # Our own limit, --max_pixels, is checked before decoding.
    warnings.filterwarnings("ignore", module="PIL")
    with contextlib.suppress(AttributeError, ValueError):
        sys.stdout.reconfigure(errors="backslashreplace")  # File names may be any bytes.
    # Not absl.app.run: TensorFlow imported inside it asks for the devices before it has switched to
    # eager mode, after which tf.init_scope leads to a graph. Of absl, the flags alone are needed.
    sys.exit(main(parse_args(sys.argv)))


def main(args: argparse.Namespace) -> int:
    """Runs one parsed command line and returns the exit status."""
    try:
        status = _COMMANDS[args.command](args)
        sys.stdout.flush()
        return status
    except _Abort as error:
        _complain(str(error))
        return 1
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except BrokenPipeError:  # The reader of our output, `head` for instance, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def parse_args(argv) -> argparse.Namespace:
    """Parses `argv`, whose first element is the program's name."""
    parser = argparse_flags.ArgumentParser(
        prog=os.path.basename(argv[0]) or PROGRAM,
        description="Learned image compression with Gaussian-Laplacian-Logistic mixtures.",
    )
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    commands.required = True

    command = commands.add_parser(
        "compress",
        help="pictures -> .gllmm files",
        description="Compresses a picture (PNG, JPEG, WebP, TIFF or BMP, 8 bits a channel).",
        usage="%(prog)s [options] IN [OUT]\n       %(prog)s [options] --output_dir DIR IN...",
    )
    _add_files(command, "OUT is IN.gllmm by default")
    _add_model(command)
    _add_limits(command)
    command.add_argument("--verbose", action="store_true", help="print bpp, PSNR, MS-SSIM, times")

    command = commands.add_parser(
        "decompress",
        help=".gllmm files -> pictures",
        description="Decompresses a .gllmm file; OUT's extension chooses the picture's format.",
        usage="%(prog)s [options] IN [OUT]\n       %(prog)s [options] --output_dir DIR IN...",
    )
    _add_files(command, "OUT is IN.png by default")
    command.add_argument(
        "--model",
        help="name or path of the model; by default the shipped one the file was made with",
    )
    command.add_argument(
        "--crop",
        type=_region,
        metavar="X,Y,W,H",
        help="write only W x H pixels of the picture, from column X and row Y on (both from 0)",
    )
    _add_limits(command)
    command.add_argument("--verbose", action="store_true", help="print bpp and times")

    command = commands.add_parser(
        "info",
        help="what a .gllmm file holds",
        description="Prints what .gllmm files hold, without decoding them.",
    )
    command.add_argument("inputs", nargs="+", metavar="IN", help="file or quoted pattern")

    command = commands.add_parser(
        "evaluate",
        help="table of size, bpp, PSNR, MS-SSIM and times",
        description="Compresses pictures to real files' bytes, decompresses these, and prints a "
        "table. bpp = bytes x 8 / (width x height). The times of the first picture of each size "
        "include preparing the networks for that size.",
    )
    command.add_argument("inputs", nargs="+", metavar="IN", help="picture or quoted pattern")
    _add_model(command)
    _add_limits(command)
    command.add_argument("--csv", metavar="FILE", help="write the table to FILE as well")

    commands.add_parser("models", help="models that ship with the package")

    command = commands.add_parser(
        "export",
        help="a model for programs without gllmm_tf",
        description="Writes a model as a TensorFlow SavedModel that codes and decodes .gllmm files, "
        "or its transforms as ONNX files (docs/export.md).",
    )
    command.add_argument("folder", metavar="DIR", help="folder to write, new or empty")
    command.add_argument("--model", help="name of a model (see models) or path of one")
    command.add_argument(
        "--format",
        choices=("saved_model", "onnx"),
        default="saved_model",
        help="saved_model (default): the whole codec; onnx: g_a and g_s alone",
    )
    command.add_argument(
        "--max_pixels",
        type=_positive_int,
        metavar="N",
        help="a SavedModel's decompress refuses files with more pixels (default 16777216: it has no "
        "tiles)",
    )
    return parser.parse_args(argv[1:])


def _add_files(parser, default: str) -> None:
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="FILE",
        help=f"IN and optionally OUT ({default}); with --output_dir, inputs or quoted patterns",
    )
    parser.add_argument("--output_dir", metavar="DIR", help="write all results into DIR")


def _add_model(parser) -> None:
    parser.add_argument("--model", help="name of a model (see models) or path of one")
    parser.add_argument(
        "--quality", type=float, help="1 (smallest) and up, fractions allowed; variable-rate models"
    )
    parser.add_argument(
        "--refine",
        type=_count,
        default=0,
        metavar="ROUNDS",
        help="improve the latents of every picture: a smaller file for the same quality, for about "
        "1.6 s per megapixel and round on two cores; 10 is a good number (default 0)",
    )


def _add_limits(parser) -> None:
    parser.add_argument(
        "--max_pixels",
        type=_positive_int,
        metavar="N",
        default=container.MAX_PIXELS,
        help="refuse pictures with more pixels (default %(default)s)",
    )
    parser.add_argument(
        "--tile",
        type=_positive_int,
        metavar="N",
        help="pixels of a tile along a picture's longer side; by default what --memory allows",
    )
    parser.add_argument(
        "--memory",
        type=_positive_int,
        metavar="MB",
        help="megabytes that the transforms may take for a tile (default 1000); a picture that "
        "fits is one tile",
    )


def _region(text: str) -> tuple[int, ...]:
    x, y, width, height = map(int, text.split(","))  # A ValueError is argparse's to report.
    return x, y, width, height


def _count(text: str) -> int:
    value = int(text)  # A ValueError is argparse's to report.
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative")
    return value


def _positive_int(text: str) -> int:
    value = int(text)  # A ValueError is argparse's to report.
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    return value


# ------------------------------------------------------------------------------------- commands


def _compress(args) -> int:
    _check_quality(args.quality)
    jobs = _plan(args, EXTENSION, images.PICTURE_EXTENSIONS)
    codecs = _Codecs(args, args.quality)
    progress = _progress(jobs)
    room = _Room(_PIXELS_AT_ONCE)
    totals = collections.Counter()

    def compress(job):
        images.check_target(job.target, job.source)
        picture = images.read_image(job.source, args.max_pixels)
        codec = codecs.chosen()
        height, width = picture.pixels.shape[:2]
        with room.take(width * height):
            encoded = codec.encode(
                picture.pixels, args.quality, picture.metadata, progress, args.refine
            )
            images.write_bytes_atomic(job.target, encoded.data)
            report = ""
            if args.verbose:
                x_hat = codec.reconstruct(encoded.latents, (height, width), args.quality)
                report = _compression_report(job, picture.pixels, x_hat, encoded)
        size, note = len(encoded.data), picture.note

        def tell():
            if note:
                _complain(f"{job.source}: note: {note}")
            if report:
                _say(report)
            totals.update(bytes=size, pixels=width * height)

        return tell

    done = _each(jobs, compress, workers=_WORKERS)
    if len(jobs) > 1:
        rate = (
            f": {totals['bytes']} bytes, {_bpp(totals['bytes'], totals['pixels']):.4f} bpp"
            if done
            else ""
        )
        _say(f"compressed {done} of {len(jobs)} files{rate}")
    return 0 if done == len(jobs) else 1


def _decompress(args) -> int:
    jobs = _plan(args, ".png", (EXTENSION,))
    codecs = _Codecs(args)
    progress = _progress(jobs)
    room = _Room(_PIXELS_AT_ONCE)

    def decompress(job):
        images.check_target(job.target, job.source)
        images.format_of(job.target)
        data, contents = _read_gllmm(job.source, args.max_pixels)
        codec = codecs.chosen() if args.model else codecs.with_identity(contents.model_id)
        width, height = contents.width, contents.height
        with room.take(width * height):
            decoded = codec.decode(data, args.max_pixels, args.crop, progress)
            metadata = decoded.metadata
            if args.crop:
                metadata = images.crop_metadata(metadata, (width, height), args.crop)
            images.write_image(job.target, decoded.image, metadata)
        size, seconds = len(data), decoded.seconds

        def tell():
            if args.verbose:
                _say(
                    f"{_one_line(job.source)}: {width} x {height}, {size} bytes, "
                    f"{_bpp(size, width * height):.4f} bpp\n  {_stages(seconds)}"
                )

        return tell

    done = _each(jobs, decompress, workers=_WORKERS)
    if len(jobs) > 1:
        _say(f"decompressed {done} of {len(jobs)} files")
    return 0 if done == len(jobs) else 1


def _info(args) -> int:
    jobs = [Job(source, None) for source in _expand(args.inputs)]

    def info(job):
        data, contents = _read_gllmm(job.source, _ANY_SIZE)
        return lambda: _say(_info_report(job.source, data, contents))

    return 0 if _each(jobs, info, progress=False) == len(jobs) else 1


def _evaluate(args) -> int:
    _check_quality(args.quality)
    jobs = [Job(source, None) for source in _expand(args.inputs)]
    for source in [job.source for job in jobs if args.csv]:
        try:
            images.check_target(args.csv, source)
        except (GllmmError, OSError) as error:
            raise _Abort(_failure(args.csv, error)) from error
    codecs = _Codecs(args, args.quality)
    rows = []
    width = max(4, *(len(os.path.basename(job.source)) for job in jobs))

    def evaluate(job):
        picture = images.read_image(job.source, args.max_pixels)
        row = _evaluate_picture(codecs.chosen(), job.source, picture, args)

        def tell():
            if not rows:
                _say(_table_line(_Row._fields, width))
            rows.append(row)
            _say(_table_row(row, width))

        return tell

    done = _each(jobs, evaluate, progress=False)
    if done > 1:
        _say(_table_row(_mean(rows), width))
    if args.csv and rows:
        try:
            images.write_bytes_atomic(args.csv, _to_csv(rows))
        except OSError as error:
            raise _Abort(_failure(args.csv, error)) from error
    return 0 if done == len(jobs) else 1


def _models(args) -> int:
    del args
    try:
        found = registry.models()
    except GllmmError as error:
        raise _Abort(str(error)) from error
    if not found:
        raise _Abort("no models ship with this installation; give --model the path of one")
    for name, info in found.items():
        _say(name)
        _say(f"  file: {registry.path_of(name)}")
        for key, value in info.items():
            _say(f"  {key}: {value}")
    return 0


def _export(args) -> int:
    if args.format == "onnx" and args.max_pixels is not None:
        raise _Abort("--max_pixels: ONNX files have no limit; leave it away")
    try:
        stored = registry.read_model(args.model)
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        if args.format == "onnx":
            from gllmm_tf.export import onnx

            for file, difference in onnx.save(stored, args.folder).items():
                _say(f"{file}: differs from the layers by {difference:.1e} of the largest value")
        else:
            from gllmm_tf.export import saved_model as export

            export.save(stored, args.folder, args.max_pixels or export.MAX_PIXELS)
    except (GllmmError, OSError) as error:
        raise _Abort(_failure(None, error)) from error
    _say(f"{args.folder}: model {stored.identity.hex()}, {_folder_size(args.folder)} bytes")
    return 0


def _folder_size(folder) -> int:
    files = (os.path.join(path, name) for path, _, names in os.walk(folder) for name in names)
    return sum(map(os.path.getsize, files))


_COMMANDS = {
    "compress": _compress,
    "decompress": _decompress,
    "info": _info,
    "evaluate": _evaluate,
    "models": _models,
    "export": _export,
}


# ----------------------------------------------------------------------------- files and models


def _plan(args, suffix: str, foreign: tuple[str, ...]) -> list[Job]:
    """Pairs inputs with outputs.

    With --output_dir every argument is an input or a pattern. Without it there is one input and at
    most one output; an output named like an input (`foreign` extensions) is refused, because
    `compress *.png` in a directory of two pictures would otherwise overwrite the second one.
    """
    if args.output_dir is None:
        sources = _expand(args.inputs[:1])
        targets = args.inputs[1:] or [source + suffix for source in sources[:1]]
        if len(sources) > 1 or len(targets) > 1:
            raise _Abort("several inputs need --output_dir DIR")
        if targets[0].lower().endswith(foreign):
            raise _Abort(
                f"{targets[0]}: an output of {args.command} cannot have this extension; "
                "several inputs need --output_dir DIR"
            )
        return [Job(sources[0], targets[0])]

    try:
        os.makedirs(args.output_dir, exist_ok=True)
    except OSError as error:
        raise _Abort(f"{args.output_dir}: {images.reason(error)}") from error
    return [
        Job(source, os.path.join(args.output_dir, os.path.basename(source) + suffix))
        for source in _expand(args.inputs)
    ]


def _expand(patterns) -> list[str]:
    """Replaces patterns by the files they match; what exists or matches nothing stays as it is."""
    sources = []
    for pattern in patterns:
        matches = []
        if not os.path.lexists(pattern) and glob.has_magic(pattern):
            matches = [
                path
                for path in sorted(glob.glob(pattern, recursive=True))
                if not os.path.isdir(path)
            ]
        sources += matches or [pattern]
    return sources


def _read_gllmm(path, max_pixels: int):
    """Returns (bytes of the file, its Container); errors need no TensorFlow and so come at once."""
    with images.open_regular(path) as file:
        data = file.read(64)
        if data.startswith(container.MAGIC):  # Else it may be any file, of any size.
            data += file.read()
    return data, container.unpack(data, max_pixels)


class _Codecs:
    """Loads codecs when they are first needed, since TensorFlow takes seconds, and once."""

    def __init__(self, args, quality: float | None = None):
        self._model, self._quality = args.model, quality
        settings = {"tile": args.tile, "memory": args.memory}
        self._settings = {name: value for name, value in settings.items() if value is not None}
        self._loaded = {}
        self._lock = threading.RLock()

    def chosen(self):
        """Returns the codec of --model or the default; a fault there ends the whole run."""
        try:
            codec = self._load(self._model)
            _check_quality(self._quality, codec)
            return codec
        except (GllmmError, OSError) as error:
            raise _Abort(_failure(self._model, error)) from error

    def with_identity(self, identity: bytes):
        """Returns the codec of the model that wrote a file."""
        with self._lock:
            if identity not in self._loaded:
                self._loaded[identity] = self._load(registry.find_model(identity))
            return self._loaded[identity]

    def _load(self, model):
        with self._lock:
            if model not in self._loaded:
                self._loaded[model] = _load_codec(model, **self._settings)
            return self._loaded[model]


def _load_codec(model, **settings):
    stored = registry.read_model(model)  # What is wrong with it should not wait for TensorFlow.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # No start-up messages of TensorFlow.
    from gllmm_tf.codec.codec import Codec

    return Codec(stored, **settings)


def _check_quality(quality: float | None, codec=None) -> None:
    """Checks --quality, as far as it can be checked without the codec or with it."""
    if quality is None:
        return
    highest = math.inf
    if codec is not None:
        if codec.num_qualities is None:
            raise _Abort("--quality: this is a fixed-rate model, which has one quality only")
        highest = codec.num_qualities
    if not (1 <= quality <= highest and math.isfinite(quality)):
        valid = "be a number from 1 up" if codec is None else f"lie in 1..{highest}"
        raise _Abort(f"--quality is {quality:g}; it must {valid}")


# ---------------------------------------------------------------------------- running, reporting


def _each(jobs, action, progress: bool = True, workers: int = 1) -> int:
    """Runs `action` on every job, reports failures, and returns how many succeeded.

    `action` returns a function that reports success. Jobs are done by `workers` threads, reports come
    from this one, in the order of the jobs.
    """
    from tqdm import tqdm

    done = 0
    made_from = {}
    for job in jobs:
        made_from.setdefault(job.target, job.source)

    def checked(job):
        first = made_from[job.target]
        if job.target and first != job.source:
            raise GllmmError(f"would overwrite {job.target}, made from {first}")
        return action(job)

    hidden = True if not progress or len(jobs) < 2 else None  # None: hidden unless on a terminal.
    outcomes = _in_order(jobs, checked, min(workers, len(jobs)))
    for job, outcome in tqdm(outcomes, total=len(jobs), disable=hidden, unit="file", leave=False):
        try:
            outcome()()
            done += 1
        except BrokenPipeError:
            raise
        except Exception as error:
            line = _failure(job.source, error)
            if line is None:
                raise
            _complain(line)
    return done


def _in_order(jobs, action, workers: int):
    """Yields (job, function that returns what action(job) returned or raises what it raised).

    With more than one worker, a thread each, as many jobs are begun ahead of the one that is yielded.
    """
    if workers == 1:
        for job in jobs:
            yield job, functools.partial(action, job)
        return
    begun = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        try:
            for job in jobs:
                begun.append((job, pool.submit(action, job).result))
                if len(begun) > workers:
                    yield begun.popleft()
            while begun:
                yield begun.popleft()
        finally:  # An interrupt or a fault: what has begun is finished, nothing more is started.
            pool.shutdown(cancel_futures=True)


class _Room:
    """Room for so many pixels at once; what is larger than the room waits until it is empty."""

    def __init__(self, pixels: int):
        self._free = self._size = pixels
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def take(self, pixels: int):
        pixels = min(pixels, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= pixels)
            self._free -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()


def _progress(jobs):
    """What makes a bar for a stage of a large picture; None beside the bar over several files."""
    if len(jobs) > 1:
        return None
    from tqdm import tqdm

    shape = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left"
    return functools.partial(tqdm, disable=None, leave=False, delay=1, bar_format=shape)


def _failure(path, error: BaseException) -> str | None:
    """Returns the line that tells the user about `error`, or None if it is a fault of ours."""
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        text = "not enough memory"
    elif isinstance(error, OSError):
        text, path = images.reason(error), error.filename or path
    elif isinstance(error, GllmmError):
        text = str(error)
    else:
        return None
    return text if path is None or text.startswith(f"{path}: ") else f"{path}: {text}"


def _complain(line: str) -> None:
    _write(f"{PROGRAM}: {_one_line(line)}", sys.stderr)


def _say(text: str) -> None:
    _write(text, sys.stdout)


def _write(text: str, file) -> None:
    from tqdm import tqdm

    tqdm.write(text, file=file)  # Moves a progress bar out of the way.
    file.flush()


def _one_line(text: str) -> str:
    """Escapes what would break the line or the terminal; file names may hold anything."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _bpp(num_bytes: int, num_pixels: int) -> float:
    """Bits per pixel of the picture itself, whatever the networks padded it to."""
    return num_bytes * 8 / num_pixels


def _stages(seconds) -> str:
    stages = ", ".join(f"{stage} {value:.2f} s" for stage, value in seconds.items())
    return f"{stages}; together {sum(seconds.values()):.2f} s"


def _quality_of(pixels, x_hat) -> tuple[float, float | None]:
    from gllmm_tf import metrics

    return metrics.psnr(pixels, x_hat), metrics.ms_ssim(pixels, x_hat)


def _compression_report(job, pixels, x_hat, encoded) -> str:
    height, width = pixels.shape[:2]
    psnr, ms_ssim = _quality_of(pixels, x_hat)
    return (
        f"{_one_line(job.source)}: {width} x {height}, {len(encoded.data)} bytes, "
        f"{_bpp(len(encoded.data), width * height):.4f} bpp, PSNR {psnr:.2f} dB, MS-SSIM "
        f"{'- (needs 176 pixels a side)' if ms_ssim is None else f'{ms_ssim:.4f}'}\n"
        f"  {_stages(encoded.seconds)}"
    )


def _info_report(path, data: bytes, contents: container.Container) -> str:
    c = contents
    payload = sum(map(len, c.metadata.values()))
    kinds = {container.TAG_ICC: "colour profile", container.TAG_ALPHA: "alpha"}
    metadata = ", ".join(
        f"{kinds.get(tag, f'unknown ({tag})')} {len(value)} bytes"
        for tag, value in c.metadata.items()
    )
    quality = f"{1 + c.quality_index / 16:g}" + ("" if c.quality_index else ", or fixed rate")
    return "\n".join(
        [
            _one_line(str(path)),
            f"  picture    {c.width} x {c.height} pixels",
            f"  size       {len(data)} bytes, {_bpp(len(data), c.width * c.height):.4f} bpp",
            f"  model      {registry.name_of(c.model_id) or 'not among the shipped ones'} ({c.model_id.hex()})",
            f"  quality    {quality}",
            f"  streams    z {len(c.z_stream)} bytes, y {len(c.y_stream)} bytes",
            f"  metadata   {metadata or 'none'}",
            f"  container  {len(data) - len(c.z_stream) - len(c.y_stream) - payload} bytes, "
            f"format version {container.VERSION}",
        ]
    )


# ------------------------------------------------------------------------------ table of evaluate

_Row = collections.namedtuple("_Row", "file bytes bpp psnr ms_ssim encode_s decode_s")
_FORMATS = _Row("{}", "{:.0f}", "{:.4f}", "{:.2f}", "{:.5f}", "{:.2f}", "{:.2f}")
_WIDTHS = _Row(0, 9, 8, 7, 9, 9, 9)


def _evaluate_picture(codec, path, picture: images.Picture, args) -> _Row:
    start = time.perf_counter()
    data = codec.encode(picture.pixels, args.quality, picture.metadata, refine=args.refine).data
    middle = time.perf_counter()
    decoded = codec.decode(data, max_pixels=args.max_pixels)
    end = time.perf_counter()
    height, width = picture.pixels.shape[:2]
    psnr, ms_ssim = _quality_of(picture.pixels, decoded.image)
    bpp = _bpp(len(data), width * height)
    return _Row(path, len(data), bpp, psnr, ms_ssim, middle - start, end - middle)


def _mean(rows) -> _Row:
    """Arithmetic means over the pictures; MS-SSIM over those large enough to have one."""
    columns = _Row(*zip(*rows))
    known = [value for value in columns.ms_ssim if value is not None]
    means = [statistics.fmean(column) for column in columns[1:] if column is not columns.ms_ssim]
    means.insert(3, statistics.fmean(known) if known else None)
    return _Row("mean", *means)


def _table_row(row: _Row, width: int) -> str:
    row = row._replace(file=_one_line(os.path.basename(row.file)))
    return _table_line(["-" if v is None else f.format(v) for f, v in zip(_FORMATS, row)], width)


def _table_line(cells, width: int) -> str:
    return cells[0].ljust(width) + "".join(c.rjust(w) for c, w in zip(cells[1:], _WIDTHS[1:]))


def _to_csv(rows) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_Row._fields)
    for row in rows:
        writer.writerow(["" if v is None else f.format(v) for f, v in zip(_FORMATS, row)])
    return text.getvalue().encode("utf-8", "backslashreplace")
