"""Which code and which libraries a model was made with."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np


def revision() -> tuple[str, bool]:
    """(git revision of this code, whether it was changed since); ("", False) without git."""
    here = os.path.dirname(os.path.abspath(__file__))

    def git(*arguments):
        command = ["git", "-C", here, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--", "."))
    except (OSError, subprocess.CalledProcessError):
        return "", False


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    found = {"python": sys.version.split()[0], "numpy": np.__version__}
    tensorflow = sys.modules.get("tensorflow")
    return {**found, "tensorflow": tensorflow.__version__} if tensorflow else found
