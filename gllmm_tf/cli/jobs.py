"""Many files at once: with which codec, in what order, how many at a time."""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import contextlib
import functools
import math
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from gllmm_tf.cli.inputs import STANDARD
from gllmm_tf.cli.job import Abort, Job, Report
from gllmm_tf.cli.reports import STREAMS, Voice, failure
from gllmm_tf.codec import wanted
from gllmm_tf.errors import GllmmError
from gllmm_tf.files import atomic, container
from gllmm_tf.zoo import registry

if TYPE_CHECKING:
    from gllmm_tf.codec.base import Codec
    from gllmm_tf.files import images

T = TypeVar("T")
R = TypeVar("R")

WAIT = 0.2  # seconds after which a signal is noticed at the latest


def read_gllmm(path: str, max_pixels: int) -> tuple[bytes, container.Container]:
    """Returns (bytes of the file, its Container); errors need no TensorFlow and so come at once."""
    opened = contextlib.nullcontext(sys.stdin.buffer) if path == STANDARD else None
    with opened or atomic.open_regular(path) as file:
        data = file.read(64)
        if data.startswith(container.MAGIC):  # Else it may be any file, of any size.
            data += file.read()
    return data, container.unpack(data, max_pixels)


def read_picture(path: str, max_pixels: int, strip=()) -> images.Picture:
    """`images.read_image`, also from standard input."""
    from gllmm_tf.files import images

    if path != STANDARD:
        return images.read_image(path, max_pixels, strip=strip)
    copy = os.path.join(tempfile.gettempdir(), f"gllmm-{os.urandom(6).hex()}")
    with atomic.unfinished(copy):
        with open(copy, "xb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        try:
            return images.read_image(copy, max_pixels, strip=strip)
        except GllmmError as error:
            raise type(error)(str(error).replace(copy, STREAMS[path]), error.argument) from error


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
                codec.check_quality(self._quality)
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
    stored, continuation = registry.read_scale(model)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # No start-up messages of TensorFlow.
    from gllmm_tf.codec.base import Codec

    return Codec.of(stored, continuation=continuation, **settings)


def check_quality(quality: float | None, given: Mapping[str, Any] | None = None) -> None:
    """Refuses what no model has, before one is loaded; `given`: targets, by argument of `encode`."""
    if quality is not None and not 1 <= quality < math.inf:
        raise Abort(f"quality is {quality:g}, it must be a number from 1 up (--quality)")
    try:
        values = {name[len("target_") :]: value for name, value in (given or {}).items()}
        wanted.check_beside_quality(wanted.chosen(**values), quality)
    except GllmmError as error:
        raise Abort(error.with_flag()) from error


def each(
    jobs: Sequence[Job],
    action: Callable[[Job], Report],
    voice: Voice,
    progress: bool = True,
    workers: int = 0,
) -> int:
    """Runs `action` on every job, reports failures, and returns how many succeeded.

    Jobs are done by `workers` threads, reports come from this one, in the order of the jobs. Without
    workers the jobs are done here: for what is done at once, since nothing interrupts a network here.
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

    # None: hidden unless on a terminal.
    hidden = True if not progress or voice.quiet or len(jobs) < 2 else None
    with _pool(min(workers, len(jobs))) as pool:
        outcomes = in_order(jobs, checked, pool, workers)
        bar = tqdm(outcomes, total=len(jobs), disable=hidden, unit="file", leave=False)
        for job, outcome in bar:
            done += _told(job, outcome, voice)
    return done


@contextlib.contextmanager
def _pool(workers: int) -> Iterator[concurrent.futures.Executor | None]:
    """Threads, or None for none. At the end, and after a fault, what has begun is finished and nothing
    more is started; after an interrupt nobody waits for what has begun."""
    pool = concurrent.futures.ThreadPoolExecutor(workers) if workers else None
    wait = True
    try:
        yield pool
    except KeyboardInterrupt:
        wait = False
        raise
    finally:
        if pool:
            pool.shutdown(wait=wait, cancel_futures=True)


def _told(job: Job, outcome: Callable[[], Report], voice: Voice) -> bool:
    """Tells of a job that is done, or why it is not; returns which of both it was."""
    try:
        outcome()()
        return True
    except BrokenPipeError:
        raise
    except Exception as error:
        line = failure(job.source, error)
        if line is None:
            raise
        voice.fail(job, line)
        return False


def _result(future: concurrent.futures.Future[R]) -> R:
    """What a job returned or raised. A signal that comes just ahead of a wait does not end it: so it
    is a short one, again and again."""
    while not concurrent.futures.wait([future], WAIT).done:
        pass
    return future.result()


def in_order(
    jobs: Iterable[T],
    action: Callable[[T], R],
    pool: concurrent.futures.Executor | None = None,
    ahead: int = 0,
) -> Iterator[tuple[T, Callable[[], R]]]:
    """Yields (job, function that returns what action(job) returned or raises what it raised).

    With a pool, `ahead` jobs are begun ahead of the one that is yielded; without, the function works.
    """
    begun: collections.deque[tuple[T, Callable[[], R]]] = collections.deque()
    for job in jobs:
        if pool is None:
            yield job, functools.partial(action, job)
            continue
        begun.append((job, functools.partial(_result, pool.submit(action, job))))
        if len(begun) > ahead:
            yield begun.popleft()
    yield from begun


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


def progress_of(jobs: Sequence[Job], voice: Voice) -> Callable | None:
    """What makes a bar for a stage of a large picture; None beside the bar over several files."""
    if len(jobs) > 1 or voice.quiet:
        return None
    from tqdm import tqdm

    shape = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left"
    return functools.partial(tqdm, disable=None, leave=False, delay=1, bar_format=shape)
