"""Files that are either complete or as they were before, and the checks ahead of the work.

Everything is written under a temporary name and renamed, so that a reader never meets half a file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import threading
from collections.abc import Iterator

from gllmm_tf.errors import GllmmError, ImageError

_NAME_BYTES = 64  # of a file's name that its temporary name begins with

_unfinished: set[str] = set()  # temporary files of this process
_turn = threading.RLock()  # a signal may come while it is held
_abandoned: list[bool] = []  # not empty: no temporary file is begun any more


def write_bytes_atomic(path, data) -> None:
    """Writes `data` to the file `path`, which afterwards holds all of it or what it held before.

    Links are followed. An existing device or pipe cannot be replaced and is written to directly.

    Raises:
      OSError: The file cannot be written; nothing is left behind.
    """
    path = os.fspath(path)
    try:
        if os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, "is a directory; give a file name")
        if os.path.exists(path) and not os.path.isfile(path):
            with open(path, "wb") as file:
                file.write(data)
        else:
            _replace(os.path.realpath(path), data)
    except OSError as error:  # Name the file as the user does, not the temporary one.
        raise OSError(error.errno, error.strerror, path) from error


def _replace(target: str, data) -> None:
    with replacing(target) as temporary, open(temporary, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def replacing(target: str | os.PathLike) -> Iterator[str]:
    """Yields a new name beside `target`; what was written there takes its place at the end.

    The name is random: several processes, on several machines, may write into one folder. After an
    error or an interrupt nothing is left of it.
    """
    folder, name = os.path.split(os.fspath(target))
    # File systems count bytes, and some of them want whole characters.
    start = os.fsencode(name)[:_NAME_BYTES].decode("utf-8", "ignore")
    temporary = os.path.join(folder, f".{start}.{secrets.token_hex(6)}.tmp")
    with unfinished(temporary):
        yield temporary
        os.replace(temporary, target)


@contextlib.contextmanager
def unfinished(path: str) -> Iterator[None]:
    """A with-block that makes, or uses, the temporary file `path`, of which nothing is left behind."""
    with _turn:
        if _abandoned:
            raise KeyboardInterrupt
        _unfinished.add(path)
    try:
        yield
    finally:
        with _turn:
            _unfinished.discard(path)
            _remove(path)


def abandon() -> None:
    """Removes all temporary files and begins no other: the process is about to end, threads or not."""
    _abandoned.append(True)
    with _turn:
        for path in _unfinished:
            _remove(path)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def check_target(target, source) -> None:
    """Checks, before the work is done, that what is made from `source` may go to `target`.

    Raises:
      ImageError: `target` is the file `source`, under whatever name.
      GllmmError: its name is longer than the file system allows.
      OSError: `target` is a directory, or its directory does not exist or cannot be written to.
    """
    if os.path.isdir(target):
        raise IsADirectoryError(errno.EISDIR, "is a directory; give a file name", os.fspath(target))
    folder = os.path.dirname(os.path.realpath(target))
    if not os.path.isdir(folder):
        raise NotADirectoryError(
            errno.ENOTDIR, f"there is no directory {folder}", os.fspath(target)
        )
    places = [folder, target] if os.path.isfile(target) else [folder]
    if os.path.exists(target) and not os.path.isfile(target):
        places = [target]  # a device, which is not replaced
    if not all(os.access(place, os.W_OK) for place in places):
        raise PermissionError(errno.EACCES, "cannot be written", os.fspath(target))
    _check_name(folder, target)
    with contextlib.suppress(OSError):  # Either may not exist.
        if os.path.samefile(source, target):
            raise ImageError(f"{target}: is the input itself; give another output name")


def _check_name(folder: str, target) -> None:
    name = os.path.basename(os.path.realpath(target))
    with contextlib.suppress(OSError, AttributeError, ValueError):  # Not every system tells.
        if len(os.fsencode(name)) > os.pathconf(folder, "PC_NAME_MAX") > 0:
            error = errno.ENAMETOOLONG
            raise GllmmError(f"{os.fspath(target)}: {os.strerror(error)}; give a shorter name")


def open_regular(path):
    """Opens a file for reading; raises OSError for anything else (a pipe may block for ever)."""
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory", os.fspath(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    return open(path, "rb")


def reason(error: BaseException) -> str:
    """Returns what an exception says, on one line and without the file name."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())
