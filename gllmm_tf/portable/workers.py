"""Threads for what can run side by side; NumPy lets go of the interpreter while it works on arrays."""

from __future__ import annotations

import collections
import concurrent.futures
import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

_MOST = 8  # parts: beyond that, handing out work takes longer than the work


@functools.cache
def cores() -> int:
    """Processor cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def count() -> int:
    """Threads that work at once."""
    return min(cores(), _MOST)


_here = threading.local()


def _begin():
    _here.is_worker = True


@functools.cache
def _pool():
    return concurrent.futures.ThreadPoolExecutor(count(), "gllmm", _begin)


def _alone():
    """Whether this thread is itself a worker, which must not wait for others, or there is one core."""
    return getattr(_here, "is_worker", False) or count() == 1


def run(tasks: Sequence[Callable[[], object]]) -> None:
    """Calls functions without arguments side by side, the last one in this thread."""
    if _alone() or len(tasks) == 1:
        for task in tasks:
            task()
        return
    others = [_pool().submit(task) for task in tasks[:-1]]
    try:
        tasks[-1]()
    finally:
        concurrent.futures.wait(others)
    for other in others:
        other.result()


def in_order(function: Callable, items: Iterable) -> Iterator[Any]:
    """Yields function(item) for each item, in order; only a few are ahead of the one in use."""
    if _alone():
        yield from map(function, items)
        return
    ahead: collections.deque[concurrent.futures.Future] = collections.deque()
    try:
        for item in items:
            ahead.append(_pool().submit(function, item))
            if len(ahead) > count():
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        for future in ahead:
            future.cancel()
        concurrent.futures.wait(ahead)


def reset_after_fork() -> None:
    """A child process has none of its parent's threads."""
    _pool.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=reset_after_fork)
