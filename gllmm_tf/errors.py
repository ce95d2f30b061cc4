"""Errors that a user can act on.

Each message is one line that names the file or value, what is wrong with it and what to do; the
command line prints it as it is and exits with status 1. Faults of the program itself keep Python's
own exceptions.
"""


class GllmmError(Exception):
    """Root of everything the command line reports without a traceback."""


class FormatError(GllmmError):
    """Bytes that are not a readable `.gllmm` file."""


class ImageError(GllmmError):
    """A picture that cannot be read, coded or written."""


class ModelError(GllmmError):
    """A model file, model name or model configuration that cannot be used."""
