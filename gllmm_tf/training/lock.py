"""One process at a time in the folder of a run. No TensorFlow.

The lock is the system's, on a file that stays: it ends with the process that holds it, however that ends,
and it is seen by other machines that share the folder where the file system passes locks on (NFS, Lustre
and GPFS as they are usually mounted, SMB). Where there are no locks at all, nothing is refused.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import time
from typing import IO

from gllmm_tf.errors import GllmmError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FILE_NAME = "lock"

_TAKEN = (errno.EACCES, errno.EAGAIN)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_held: dict[str, IO[str]] = {}
"""{path: file} of the locks of this process: closing any file of that path would end the lock."""


def take(folder: str, argument: str = "run_dir") -> None:
    """Takes the lock of a folder, which this process may hold already.

    Args:
        folder: That exists.
        argument: What messages call it.

    Raises:
        GllmmError: another process holds it, or the folder cannot be written.
    """
    path = os.path.join(os.path.realpath(folder), FILE_NAME)
    if fcntl is None or path in _held:
        return
    try:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (held until it is given back)
    except OSError as error:
        raise GllmmError(
            f"{folder}: cannot be written ({error.strerror}); give another {argument}", argument
        ) from error
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        with file:
            if error.errno in _NO_LOCKS:
                return
            if error.errno not in _TAKEN:
                raise
            raise GllmmError(
                f"{folder}: {_holder(file)} is at work there; wait for it or stop it, or give another "
                f"{argument}",
                argument,
            ) from error
    with contextlib.suppress(OSError):  # for the message above only
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}))
        file.flush()
    _held[path] = file


def give_back(folder: str) -> None:
    """Ends the lock that this process holds, if it does."""
    file = _held.pop(os.path.join(os.path.realpath(folder), FILE_NAME), None)
    if file is not None:
        file.close()


def _holder(file) -> str:
    """Who holds the lock, as far as that is known."""
    try:
        file.seek(0)
        facts = json.loads(file.read())
        return f"process {facts['pid']} on {facts['host']}, since {facts['since']},"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")
