"""Every decoder of ours finds in the conformance files what is in them; the files reach what they claim."""

import hashlib
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from conformance import branches, check
from conftest import ROOT

from gllmm_tf.codec import layered
from gllmm_tf.coding.streams import Streams
from gllmm_tf.config import HYPER_STRIDE
from gllmm_tf.files import container
from gllmm_tf.portable.latent_coder import LatentCoder
from gllmm_tf.zoo.model_file import ModelFile

decoders = check.decoders
FILES, REFUSED = check.manifest()["files"], check.manifest()["refused"]
SLOW = "photograph"  # in plain Python: of a model with many channels
GRAPHS = (
    "models/three.npz",
    "models/one.npz",
    "models/layer.npz",
)  # each takes seconds to build; check.py has all
MEGABYTE = 1 << 20


def each(rows):
    return pytest.mark.parametrize("row", rows, ids=lambda row: row["name"])


def decoder(name, **settings):
    return lambda *paths: decoders.decode(name, *paths, **settings)


@each(FILES)
def test_portable_decoder(row):
    assert list(check.complaints_of(row, decoder("portable"))) == []


@each([row for row in FILES if row["name"] in ("tiles", "escapes")])
def test_portable_decoder_in_tiles(row):
    assert list(check.complaints_of(row, decoder("portable", tile=64))) == []


@each([row for row in FILES if row["model"] in GRAPHS])
def test_tensorflow_decoder(row):
    pytest.importorskip("tensorflow_compression")
    assert list(check.complaints_of(row, decoder("tensorflow"))) == []


@each([row for row in FILES if row["name"] != SLOW])
def test_plain_decoder_and_what_the_files_reach(row):
    """The specification as code: the same symbols, the same pixels, the branches of the list."""
    import plain_decoder
    import plain_pixels

    with open(check.path_of(row["file"]), "rb") as f:
        file = plain_decoder.File(f.read())
    model = plain_decoder.Model(check.path_of(row["model"]))
    base = plain_decoder.Model(check.path_of(row["base"])) if "base" in row else None
    tables = plain_decoder.read_tables(decoders.TABLES)
    latents = plain_decoder.decode(file, model, tables, base=base)
    for key, latent in zip("zyr", latents):
        assert np.shape(latent) == tuple(row[key]["shape"])
        digest = hashlib.sha256(plain_decoder.to_bytes(latent)).hexdigest()
        assert digest == row[key]["sha256"], key
    if row["picture"]:
        pixels = plain_pixels.picture(plain_pixels.synthesise(latents, file, model, base), file)
        assert list(check.picture_complaints(pixels, row)) == []
    assert file.seen == set(row["reaches"])


def test_every_branch_is_reached():
    reached = [row["reaches"] for row in FILES if row["name"] != SLOW]  # those that are tested
    assert set().union(*reached) == branches.names()


@each(REFUSED)
@pytest.mark.parametrize("name", decoders.DECODERS)
def test_broken_files_are_refused(name, row):
    if name == "tensorflow":
        pytest.importorskip("tensorflow_compression")
    assert list(check.refusal_complaints(row, decoder(name))) == []


@each(FILES)
def test_symbols_give_the_same_streams(row):
    """The other direction."""
    with open(check.path_of(row["file"]), "rb") as file:
        parts = container.unpack(file.read())
    coder = LatentCoder(ModelFile.read(check.path_of(row["model"])))
    if "base" in row:
        below = LatentCoder(ModelFile.read(check.path_of(row["base"])))
        coder = layered.LayeredCoder(coder, below)
    streams = Streams(parts.z_stream, parts.y_stream)
    latents = coder.decode(streams, row["z"]["shape"][:2], row["quality_index"])
    assert list(latents.y_hat.shape[:2]) == [HYPER_STRIDE * side for side in row["z"]["shape"][:2]]
    assert coder.encode(*latents, row["quality_index"]) == streams


def test_the_suite_is_small():
    found = [os.path.join(folder, f) for folder, _, files in os.walk(check.HERE) for f in files]
    assert sum(os.path.getsize(path) for path in found if "__pycache__" not in path) < MEGABYTE


# The program that others run --------------------------------------------------------------------

ONE = next(row for row in FILES if row["name"] == "one_family")


@pytest.mark.parametrize(
    "part, change, complaint",
    [
        ("y.i32", lambda data: data[:-1] + bytes([data[-1] ^ 1]), "y.i32 holds other integers"),
        ("z.i32", lambda data: data[:-4], r"z.i32 has \d+ bytes instead of \d+"),
        ("y.i32", None, "y.i32 was not written"),
        ("picture.rgb", lambda data: data[3:], r"picture.rgb has \d+ bytes"),
        ("picture.rgb", lambda data: bytes([data[0] ^ 2]) + data[1:], "pixels differ by up to 2"),
        ("picture.rgb", lambda data: bytes(v ^ 1 for v in data), "pixels differ by up to 1, 100"),
    ],
)
def test_faults_of_decoders_are_found(part, change, complaint):
    def wrong(path, model, folder):
        decoders.decode("portable", path, model, folder)
        target = os.path.join(folder, part)
        with open(target, "rb") as file:
            data = file.read()
        os.unlink(target)
        if change:
            with open(target, "wb") as file:
                file.write(change(data))

    (found,) = check.complaints_of(ONE, wrong)
    assert re.match(complaint, found)


@pytest.mark.parametrize(
    "program, only, last",
    [
        (
            f"{sys.executable} {check.HERE}/decoders.py plain {{file}} {{model}} {{folder}}",
            "e_p",
            0,
        ),
        (f"{sys.executable} -c pass", "one_pixel", 1),
        (f"{sys.executable} -c 'raise SystemExit(9)'", "one_pixel", 1),
        (f"{sys.executable} -c pass", "refused/magic", 1),
        (f"{sys.executable} -c 'raise SystemExit(9)'", "refused/magic", 0),
        (f"{sys.executable} -c 'import os; os.abort()'", "refused/magic", 1),
        ("no_such_program", "refused/magic", 1),
    ],
)
def test_commands_are_checked(program, only, last):
    command = [sys.executable, os.path.join(check.HERE, "check.py")]
    command += ["--decoder", program, "--only", only]
    done = subprocess.run(command, capture_output=True, text=True)
    said = done.stdout.splitlines()
    assert (done.returncode, said[-1]) == (last, "1 wrong" if last else "all right"), done.stdout
    assert said[0].startswith("files/one_pixel" if "_p" in only else only)


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import check, decoders
assert check.run(lambda *paths: decoders.decode("portable", *paths)) == 0
assert not [name for name in sys.modules if name.startswith(("tensorflow", "keras"))]
"""


def test_portable_backend_needs_no_tensorflow():
    environment = {**os.environ, "PYTHONPATH": ROOT}
    arguments = [sys.executable, "-c", PROGRAM, check.HERE]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
