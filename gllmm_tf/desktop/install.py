"""Puts what describes `.gllmm` files to where desktops look, and takes it away again.

python -m gllmm_tf.desktop                              # for this user
python -m gllmm_tf.desktop --share /usr/local/share     # for all, as root
python -m gllmm_tf.desktop --remove
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Sequence

from gllmm_tf.errors import GllmmError
from gllmm_tf.files.atomic import write_bytes_atomic

FOLDER = pathlib.Path(__file__).parent
PLACES = {
    "gllmm.xml": "mime/packages/gllmm.xml",
    "gllmm.thumbnailer": "thumbnailers/gllmm.thumbnailer",
}
"""{file of this folder: its place below a share folder}. For gllmm.magic there is none."""

PROGRAM = "gllmm-thumbnailer"


def contents(name: str) -> str:
    """The text of a file as it is installed: the thumbnailer by its path, where that is known.

    A desktop session need not have the folder of the program in its PATH.
    """
    text = (FOLDER / name).read_text(encoding="utf-8")
    program = pathlib.Path(sys.executable).parent / PROGRAM
    return text.replace(f"={PROGRAM}", f"={program}") if program.is_file() else text


def install(share: str | os.PathLike) -> list[str]:
    """Writes the files below a share folder; returns their paths.

    Raises:
        GllmmError: One of them cannot be written.
    """
    paths = []
    for name, place in PLACES.items():
        path = os.path.join(share, place)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_bytes_atomic(path, contents(name).encode())
        except OSError as error:
            raise GllmmError(
                f"{path}: cannot be written ({error.strerror}); give another folder", "share"
            ) from error
        paths.append(path)
    _update(share)
    return paths


def remove(share: str | os.PathLike) -> list[str]:
    """Removes what `install` wrote; returns the paths that were there.

    Raises:
        GllmmError: One of them cannot be removed.
    """
    paths = [os.path.join(share, place) for place in PLACES.values()]
    paths = [path for path in paths if os.path.exists(path)]
    for path in paths:
        try:
            os.remove(path)
        except OSError as error:
            raise GllmmError(f"{path}: cannot be removed ({error.strerror})", "share") from error
    _update(share)
    return paths


def default_share() -> str:
    """The share folder of this user."""
    return os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")


def _update(share) -> None:
    """Has shared-mime-info read its folder again, where it is installed."""
    program, folder = shutil.which("update-mime-database"), os.path.join(share, "mime")
    if program and os.path.isdir(folder):
        with contextlib.suppress(OSError):
            subprocess.run([program, folder], capture_output=True, check=False)


def main(argv: Sequence[str]) -> int:
    """Runs a command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m gllmm_tf.desktop", description="Tells the desktop what .gllmm files are."
    )
    parser.add_argument(
        "--share", default=default_share(), help="folder to write below (default: %(default)s)"
    )
    parser.add_argument("--remove", action="store_true", help="take the files away again")
    args = parser.parse_args(argv)
    try:
        for path in (remove if args.remove else install)(args.share):
            print(f"{'removed' if args.remove else 'wrote'} {path}")
    except GllmmError as error:
        print(f"gllmm_tf.desktop: {error.with_flag()}", file=sys.stderr)
        return 1
    if not shutil.which("update-mime-database"):
        print("update-mime-database is not installed: desktops see the change without it later")
    return 0
