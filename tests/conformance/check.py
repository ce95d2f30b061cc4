"""Runs a decoder over the conformance files and says what it got wrong. README.md has the details.

    python tests/conformance/check.py --decoder 'my_decoder {file} {model} {folder}'
    python tests/conformance/check.py --decoder portable

A decoder is a command, or the name of one of ours: portable, tensorflow, plain. The exit status is 0 if all
is right. Needs NumPy and Pillow, and for a command nothing of gllmm_tf.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE] * (HERE not in sys.path)

import decoders  # noqa: E402

OURS = tuple(decoders.DECODERS)
METADATA = (*decoders.COMPRESSED.values(), "alpha.gray")
LARGEST_DIFFERENCE = 1  # of pixels
LARGEST_SHARE = 0.001  # of the values, that may differ

Decode = Callable[..., object]
"""(file, model file, folder for the results, of an enhancement layer also the model file below); raises
Refused where it does not accept the file."""


def manifest() -> Mapping[str, list[dict]]:
    """`files`: what decodes, with the results; `refused`: what a decoder must not accept."""
    with open(os.path.join(HERE, "manifest.json"), encoding="utf-8") as file:
        return json.load(file)


def path_of(part: str) -> str:
    """Path of what a row of the list names."""
    return os.path.normpath(os.path.join(HERE, part))


def command(line: str, seconds: int) -> Decode:
    """The decoder that a command is; {file}, {model} and {folder} stand for the paths."""

    def decode(path, model, folder, base=""):
        names = {"file": path, "model": model, "folder": folder, "base": base}
        words = [word.format(**names) for word in shlex.split(line)]
        done = subprocess.run(words, capture_output=True, timeout=seconds)
        if done.returncode < 0 or done.returncode > 127:
            raise RuntimeError(
                f"killed by signal {-done.returncode if done.returncode < 0 else '?'}"
            )
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
            raise decoders.Refused(said[-1])

    return decode


def complaints_of(row: dict, decode: Decode) -> Iterator[str]:
    """What is wrong with a decoder's results for a file of the list."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            below = [path_of(row["base"])] if "base" in row else []
            decode(path_of(row["file"]), path_of(row["model"]), folder, *below)
        except decoders.Refused as error:
            yield f"refused: {error}"
            return
        for key in "zyr" if below else "zy":
            yield from _latent(folder, f"{key}.i32", row[key])
        picture = _read(folder, "picture.rgb")
        if picture is not None and row["picture"]:
            yield from picture_complaints(picture, row)
        for name in METADATA:
            found, wanted = _read(folder, name), row["metadata"].get(name)
            if found is not None and hashlib.sha256(found).hexdigest() != wanted:
                yield f"{name} {'is another one' if wanted else 'should not be there'}"


def picture_complaints(found: bytes, row: dict) -> Iterator[str]:
    """What is wrong with the bytes of a picture."""
    with Image.open(path_of(row["picture"])) as image:
        wanted = np.asarray(image.convert("RGB"), np.int16).reshape(-1)
    if len(found) != wanted.size:
        yield f"picture.rgb has {len(found)} bytes instead of {wanted.size}"
        return
    difference = np.abs(np.frombuffer(found, np.uint8) - wanted)
    share = np.mean(difference > 0)
    if difference.max() > LARGEST_DIFFERENCE or share > LARGEST_SHARE:
        yield f"pixels differ by up to {difference.max()}, {share:.3%} of the values"


def refusal_complaints(row: dict, decode: Decode) -> Iterator[str]:
    """What is wrong with how a decoder takes a file that it has to refuse."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            decode(path_of(row["file"]), path_of(row["model"]), folder)
        except decoders.Refused:
            return
        yield f"accepted, but it has to be refused ({row['for']})"


def _read(folder, name):
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return None
    with open(path, "rb") as file:
        return file.read()


def _latent(folder, name, wanted):
    found, size = _read(folder, name), 4 * int(np.prod(wanted["shape"]))
    if found is None:
        yield f"{name} was not written"
    elif len(found) != size:
        yield f"{name} has {len(found)} bytes instead of {size}"
    elif hashlib.sha256(found).hexdigest() != wanted["sha256"]:
        yield f"{name} holds other integers"


def run(decode: Decode, only: str = "") -> int:
    """Checks all files with `only` in their name; returns how many are wrong."""
    wrong = 0
    kinds = (("files", complaints_of), ("refused", refusal_complaints))
    for kind, check in kinds:
        for row in manifest()[kind]:
            if only not in row["file"]:
                continue
            try:
                found = list(check(row, decode))
            except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
                found = [str(error)]
            print(f"{row['file']}: {'; '.join(found) or 'right'}")
            wrong += bool(found)
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--decoder", required=True, help=f"a command, or one of {', '.join(OURS)}")
    parser.add_argument("--only", default="", help="only files with this in their path")
    parser.add_argument("--timeout", type=int, default=300, help="seconds for a file")
    given = parser.parse_args()
    if given.decoder in OURS:

        def decode(*paths):
            return decoders.decode(given.decoder, *paths)
    else:
        decode = command(given.decoder, given.timeout)
    wrong = run(decode, given.only)
    print(f"{wrong} wrong" if wrong else "all right")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
