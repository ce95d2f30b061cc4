"""Errors that a user can act on.

Each message is one line that names the file or value, what is wrong with it and what to do; the
command line prints it as it is and exits with status 1. Faults of the program itself keep Python's
own exceptions.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

_NO_MEMORY = (
    "bad_alloc",
    "bad allocation",
    "cannot allocate memory",
    "Cannot allocate memory",
    "can't start new thread",
    "failed to map segment",
    "could not create a memory",
)


class GllmmError(Exception):
    """Root of everything the command line reports without a traceback.

    Attributes:
        argument: Name of the argument of the library that is at fault, or None. The command line
            names its flag behind the message.
    """

    def __init__(self, message: str = "", argument: str | None = None):
        super().__init__(message)
        self.argument = argument

    def with_flag(self) -> str:
        """The message for a command line, whose flag has the name of the argument."""
        return f"{self} (--{self.argument})" if self.argument else str(self)


class FormatError(GllmmError):
    """Bytes that are not a readable `.gllmm` file."""


class ImageError(GllmmError):
    """A picture that cannot be read, coded or written."""


class ModelError(GllmmError):
    """A model file, model name or model configuration that cannot be used."""


class OutOfMemoryError(GllmmError, MemoryError):
    """The machine has too little memory for what was asked; nothing is wrong with the data."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out.

    Python and NumPy raise MemoryError; the operating system an OSError of its own number, or a
    RuntimeError where it has no thread for us; TensorFlow its ResourceExhaustedError, known here by its
    name because this module needs no TensorFlow. Libraries of C++ and their loader have words for it.
    """
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return True
    return any(words in str(error) for words in _NO_MEMORY)


@contextlib.contextmanager
def running_out_of_memory(work: str, remedy: str = "free some memory") -> Iterator[None]:
    """Turns whatever says that memory ran out inside the block into an `OutOfMemoryError`.

    Args:
        work: What was being done, for the message.
        remedy: What the user can do about it.
    """
    try:
        yield
    except OutOfMemoryError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise OutOfMemoryError(f"not enough memory for {work}; {remedy}") from error
        raise
