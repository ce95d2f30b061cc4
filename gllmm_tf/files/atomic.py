"""Files that are either complete or as they were before, and the checks ahead of the work.

Everything is written under a temporary name and renamed, so that a reader never meets half a file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator

from gllmm_tf.errors import ImageError


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
    temporary = os.path.join(folder, f".{name[:64]}.{secrets.token_hex(6)}.tmp")
    try:
        yield temporary
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def check_target(target, source) -> None:
    """Checks, before the work is done, that what is made from `source` may go to `target`.

    Raises:
      ImageError: `target` is the file `source`, under whatever name.
      OSError: `target` is a directory, or its directory does not exist or cannot be written to.
    """
    if os.path.isdir(target):
        raise IsADirectoryError(errno.EISDIR, "is a directory; give a file name", os.fspath(target))
    folder = os.path.dirname(os.path.realpath(target))
    if not os.path.isdir(folder):
        raise NotADirectoryError(
            errno.ENOTDIR, f"there is no directory {folder}", os.fspath(target)
        )
    is_device = os.path.exists(target) and not os.path.isfile(target)  # It is not replaced.
    if not os.access(target if is_device else folder, os.W_OK):
        raise PermissionError(errno.EACCES, "cannot be written", os.fspath(target))
    with contextlib.suppress(OSError):  # Either may not exist.
        if os.path.samefile(source, target):
            raise ImageError(f"{target}: is the input itself; give another output name")


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
