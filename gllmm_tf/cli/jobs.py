"""Many files at once: which inputs become which outputs, with which codec, and in what order."""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import contextlib
import functools
import glob
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from gllmm_tf.cli.reports import complain, failure
from gllmm_tf.errors import GllmmError
from gllmm_tf.files import atomic, container
from gllmm_tf.zoo import registry

if TYPE_CHECKING:
    from gllmm_tf.codec.base import Codec

EXTENSION = ".gllmm"
T = TypeVar("T")
R = TypeVar("R")


class Job(NamedTuple):
    """Paths of one input and of its output, which is "" where nothing is written."""

    source: str
    target: str = ""


class Abort(Exception):
    """A fault that concerns no single file: one line for the user, and nothing more is done."""


Report = Callable[[], object]
"""What tells of a job that is done, called in the order of the jobs."""


def plan(args: argparse.Namespace, suffix: str, foreign: tuple[str, ...]) -> list[Job]:
    """Pairs inputs with outputs.

    With --output_dir every argument is an input or a pattern. Without it there is one input and at
    most one output; an output named like an input (`foreign` extensions) is refused, because
    `compress *.png` in a directory of two pictures would otherwise overwrite the second one.
    """
    if args.output_dir is None:
        sources = expand(args.inputs[:1])
        targets = args.inputs[1:] or [source + suffix for source in sources[:1]]
        if len(sources) > 1 or len(targets) > 1:
            raise Abort("several inputs need --output_dir DIR")
        if targets[0].lower().endswith(foreign):
            raise Abort(
                f"{targets[0]}: an output of {args.command} cannot have this extension; "
                "several inputs need --output_dir DIR"
            )
        return [Job(sources[0], targets[0])]

    try:
        os.makedirs(args.output_dir, exist_ok=True)
    except OSError as error:
        raise Abort(f"{args.output_dir}: {atomic.reason(error)}") from error
    return [
        Job(source, os.path.join(args.output_dir, os.path.basename(source) + suffix))
        for source in expand(args.inputs)
    ]


def expand(patterns: Iterable[str]) -> list[str]:
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


def read_gllmm(path: str, max_pixels: int) -> tuple[bytes, container.Container]:
    """Returns (bytes of the file, its Container); errors need no TensorFlow and so come at once."""
    with atomic.open_regular(path) as file:
        data = file.read(64)
        if data.startswith(container.MAGIC):  # Else it may be any file, of any size.
            data += file.read()
    return data, container.unpack(data, max_pixels)


class Codecs:
    """Loads codecs when they are first needed, since their backends take time, and once."""

    def __init__(self, args: argparse.Namespace, quality: float | None = None):
        self._model, self._quality = args.model, quality
        settings = {"backend": args.backend, "tile": args.tile, "memory": args.memory}
        self._settings = {name: value for name, value in settings.items() if value is not None}
        self._loaded: dict[str | bytes | None, Codec] = {}
        self._lock = threading.RLock()

    def chosen(self) -> Codec:
        """Returns the codec of --model or the default; a fault there ends the whole run."""
        try:
            codec = self._load(self._model)
            if self._quality is not None:
                codec.quality_index(self._quality)
            return codec
        except (GllmmError, OSError) as error:
            raise Abort(failure(self._model, error)) from error

    def with_identity(self, identity: bytes) -> Codec:
        """Returns the codec of the model that wrote a file."""
        with self._lock:
            if identity not in self._loaded:
                self._loaded[identity] = self._load(registry.find_model(identity))
            return self._loaded[identity]

    def _load(self, model: str | None) -> Codec:
        with self._lock:
            if model not in self._loaded:
                self._loaded[model] = load_codec(model, **self._settings)
            return self._loaded[model]


def load_codec(model: str | os.PathLike | None, **settings: Any) -> Codec:
    """Like `Codec.load`, but without a backend for a model that cannot be used."""
    stored = registry.read_model(model)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # No start-up messages of TensorFlow.
    from gllmm_tf.codec.base import Codec

    return Codec.of(stored, **settings)


def check_quality(quality: float | None) -> None:
    """Refuses what no model has, before one is loaded."""
    if quality is not None and not 1 <= quality < math.inf:
        raise Abort(f"quality is {quality:g}, it must be a number from 1 up (--quality)")


def each(
    jobs: Sequence[Job],
    action: Callable[[Job], Report],
    progress: bool = True,
    workers: int = 1,
) -> int:
    """Runs `action` on every job, reports failures, and returns how many succeeded.

    Jobs are done by `workers` threads, reports come from this one, in the order of the jobs.
    """
    from tqdm import tqdm

    done = 0
    made_from: dict[str, str] = {}
    for job in jobs:
        made_from.setdefault(job.target, job.source)

    def checked(job: Job) -> Report:
        first = made_from[job.target]
        if job.target and first != job.source:
            raise GllmmError(f"would overwrite {job.target}, made from {first}")
        return action(job)

    hidden = True if not progress or len(jobs) < 2 else None  # None: hidden unless on a terminal.
    outcomes = in_order(jobs, checked, min(workers, len(jobs)))
    for job, outcome in tqdm(outcomes, total=len(jobs), disable=hidden, unit="file", leave=False):
        try:
            outcome()()
            done += 1
        except BrokenPipeError:
            raise
        except Exception as error:
            line = failure(job.source, error)
            if line is None:
                raise
            complain(line)
    return done


def in_order(
    jobs: Iterable[T], action: Callable[[T], R], workers: int
) -> Iterator[tuple[T, Callable[[], R]]]:
    """Yields (job, function that returns what action(job) returned or raises what it raised).

    With more than one worker, a thread each, as many jobs are begun ahead of the one that is yielded.
    """
    if workers == 1:
        for job in jobs:
            yield job, functools.partial(action, job)
        return
    begun: collections.deque[tuple[T, Callable[[], R]]] = collections.deque()
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


class Room:
    """Room for so many pixels at once; what is larger than the room waits until it is empty."""

    def __init__(self, pixels: int):
        self._free = self._size = pixels
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def take(self, pixels: int) -> Iterator[None]:
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


def progress_of(jobs: Sequence[Job]) -> Callable | None:
    """What makes a bar for a stage of a large picture; None beside the bar over several files."""
    if len(jobs) > 1:
        return None
    from tqdm import tqdm

    shape = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left"
    return functools.partial(tqdm, disable=None, leave=False, delay=1, bar_format=shape)
