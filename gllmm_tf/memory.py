"""How much memory this process may take, and which picture has how much of it.

A limit is what the user names for the whole process, the address space (`ulimit -v`) or the data
(`ulimit -d`) of a process, or the memory of a control group, as clusters and containers set them. What a
picture needs is estimated from its size (`work.py`); what cannot fit is refused before the work begins,
where to fail in the middle of it may end the process without a word.
"""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import mmap
import os
import re
import sys
import threading
from collections.abc import Iterator
from typing import NamedTuple

from gllmm_tf.errors import OutOfMemoryError

MEGABYTE = 1 << 20
TILE = 1000 * MEGABYTE
"""What the networks take for a tile at most, where nothing limits them."""

# As measured: of a tile's estimate, what becomes resident, and what addresses are taken for it.
_RESIDENT, _ADDRESSES = 0.75, 1.5
_THREAD = 20 * MEGABYTE  # addresses of a thread, its stack first of all
_ARENA_MAX, _ARENAS = -8, 2  # of glibc's mallopt
_UNLIMITED = 1 << 60
_of_tile: contextvars.ContextVar[int | None] = contextvars.ContextVar("of_tile", default=None)
_CACHE = r"^(?:total_)?inactive_file (\d+)"  # what the system gives back when it is wanted


class Room(NamedTuple):
    """What one limit leaves.

    Attributes:
        left: Bytes.
        of_tile: Bytes of it for a byte of a tile.
        name: How the user knows the limit.
        limit: Bytes that it allows in all.
        argument: Name of the argument of the library that set it, or None.
    """

    left: int
    of_tile: float
    name: str
    limit: int
    argument: str | None = None


class Backend(NamedTuple):
    """What a backend takes beside all pictures, once it has loaded: megabytes.

    Attributes:
        resident: Memory that it touches.
        addresses: Addresses, beside those of its threads.
    """

    resident: int
    addresses: int


def rooms() -> list[Room]:
    """What the limits of the system leave to this process now; empty where there are none."""
    found = [
        Room(limit - _status(used), _ADDRESSES, name, limit)
        for name, limit, used in (
            ("the address space (ulimit -v)", _rlimit("RLIMIT_AS"), "VmSize"),
            ("the data size (ulimit -d)", _rlimit("RLIMIT_DATA"), "VmData"),
        )
        if limit < _UNLIMITED
    ]
    return found + list(_groups())


def need(backend: Backend, what: str) -> None:
    """Raises OutOfMemoryError where the limits leave too little to load a backend."""
    for room in rooms():
        if room.of_tile == _ADDRESSES:
            _share_heaps()
        wanted = backend.resident if room.of_tile == _RESIDENT else backend.addresses
        if wanted * MEGABYTE > room.left:
            raise OutOfMemoryError(
                f"not enough memory for {what}: it needs about {wanted} MB, and of the "
                f"{_megabytes(room.limit)} MB of {room.name} {_megabytes(room.left)} are left; raise "
                "that limit"
            )


def of_tile() -> int:
    """Bytes that a tile may take, about, in the work of this thread: see `Memory.take`."""
    return _of_tile.get() or TILE


class Memory:
    """The memory of one codec, shared by its threads.

    Args:
        backend: What the codec's networks and threads are going to take beside the pictures.
        total: Megabytes that the whole process may take; None for no limit beside the system's.
    """

    def __init__(self, backend: Backend, total: int | None = None):
        threads = _THREAD * _cores()
        self._rooms = []
        for room in rooms():
            kept = backend.resident * MEGABYTE
            if room.of_tile == _ADDRESSES:
                kept = backend.addresses * MEGABYTE + threads
            self._rooms.append(room._replace(left=room.left - kept))
        if total is not None:
            left = (total - backend.resident) * MEGABYTE - _status("VmRSS")
            limit = total * MEGABYTE
            self._rooms.append(Room(left, _RESIDENT, "the memory that is allowed", limit, "memory"))
        self._taken = [0.0] * len(self._rooms)
        self._changed = threading.Condition()

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit."""
        return bool(self._rooms)

    def set_aside(self, megabytes: int) -> None:
        """Leaves so much less for pictures from now on: for networks that come later."""
        with self._changed:
            self._rooms = [r._replace(left=r.left - megabytes * MEGABYTE) for r in self._rooms]

    @contextlib.contextmanager
    def take(self, what: str, fixed: int, least_tile: int, whole: int) -> Iterator[None]:
        """Sets what a tile may take inside; waits for other threads where both do not fit.

        Args:
            what: The work, for the message.
            fixed: Bytes that it needs whatever the tile.
            least_tile: Bytes of the smallest tile.
            whole: Bytes of a tile that is all of the picture.

        Raises:
            OutOfMemoryError: it does not fit, even alone.
        """
        if _of_tile.get() is not None:  # a part of work that has its memory
            yield
            return
        tile = TILE
        for room in self._rooms:
            if fixed + room.of_tile * least_tile > room.left:
                wanted = room.limit - room.left + fixed + room.of_tile * least_tile
                raise OutOfMemoryError(
                    f"not enough memory for {what}: the process needs about {_megabytes(wanted)} MB, and "
                    f"{room.name} is {_megabytes(room.limit)} MB; raise it, or take a smaller picture",
                    room.argument,
                )
            tile = min(tile, int((room.left - fixed) / room.of_tile))
        used = [fixed + room.of_tile * min(tile, max(whole, least_tile)) for room in self._rooms]
        with self._changed:
            self._changed.wait_for(lambda: self._fits(used))
            self._add(used, 1)
        before = _of_tile.set(tile)
        try:
            yield
        finally:
            _of_tile.reset(before)
            with self._changed:
                self._add(used, -1)
                self._changed.notify_all()

    def _fits(self, used):
        taken = zip(self._rooms, self._taken, used)
        return not any(self._taken) or all(t + more <= room.left for room, t, more in taken)

    def _add(self, used, sign):
        self._taken = [t + sign * more for t, more in zip(self._taken, used)]


def is_short(size: int = 1 << 28) -> bool:
    """Whether there are not even so many bytes left, so that what failed may have failed for that."""
    if any(room.left < size for room in rooms()):
        return True
    try:
        mmap.mmap(-1, size).close()  # never touched, so it is free
    except OSError:
        return True
    return False


def _share_heaps() -> None:
    """Has threads share a few heaps, of which glibc otherwise sets 64 MB of addresses aside for each."""
    with contextlib.suppress(Exception):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, _ARENAS)


def _megabytes(size: float) -> int:
    return int(size) >> 20


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def _rlimit(name: str) -> int:
    """A limit of the process in bytes, `_UNLIMITED` for none."""
    try:
        import resource

        limit = resource.getrlimit(getattr(resource, name))[0]
        return _UNLIMITED if limit == resource.RLIM_INFINITY else limit
    except (ImportError, AttributeError, OSError, ValueError):
        return _UNLIMITED


def _status(name: str) -> int:
    """Bytes that this process has now, 0 where the system does not say."""
    text = _read("/proc/self/status")
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.M)
    if found:
        return int(found[1]) << 10
    with contextlib.suppress(ImportError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak << 10
    return 0


def _groups() -> Iterator[Room]:
    """What the control groups of this process leave that have a limit."""
    for line in _read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, names = "/sys/fs/cgroup", ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            root, names = (
                "/sys/fs/cgroup/memory",
                ("memory.limit_in_bytes", "memory.usage_in_bytes"),
            )
        else:
            continue
        parts = [part for part in path.split("/") if part and part != ".."]
        for depth in range(len(parts) + 1):  # a container may see its own group as the root
            folder = "/".join([root, *parts[:depth]])
            limit, used = (_read(f"{folder}/{name}").strip() for name in names)
            if limit.isdecimal() and used.isdecimal() and int(limit) < _UNLIMITED:
                found = re.search(_CACHE, _read(f"{folder}/memory.stat"), re.M)
                left = int(limit) - int(used) + (int(found[1]) if found else 0)
                yield Room(left, _RESIDENT, "the memory of the control group", int(limit))


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
