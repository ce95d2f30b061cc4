"""Damage and lack of memory, which Pillow's libraries often report alike."""

import errno
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image, ImageCms

from gllmm_tf.errors import ImageError, OutOfMemoryError
from gllmm_tf.files import images, metadata, pillow_errors
from gllmm_tf.files.container import TAG_ALPHA

FORMATS = {
    "a.png": {},
    "a.tif": {"compression": "tiff_adobe_deflate"},
    "a.webp": {"lossless": True},
    "a.bmp": {},
    "a.jpg": {},
    "progressive.jpg": {"progressive": True},
}

# Reads and writes the files of a folder while the address space may grow by ever less, and prints
# what came of it. The codecs have been used before, so that their libraries are loaded.
STARVING = """
import os, resource, sys
import numpy as np
from gllmm_tf.files import images

def attempt(action, *arguments):
    try:
        action(*arguments)
        return "done"
    except Exception as error:
        return f"{type(error).__name__}: {error}"

folder = sys.argv[1]
names = sorted(os.listdir(folder))
pixels = images.read_image(f"{folder}/a.png").pixels
for name in names:
    images.read_image(f"{folder}/{name}")
    images.write_image(f"{folder}/out-{name}", pixels[:8, :8])
_, hard = resource.getrlimit(resource.RLIMIT_AS)
for megabytes in (40, 28, 18, 14, 10, 6, 3, 1, 0):
    for name in names:
        for action, arguments in (
            (images.read_image, (f"{folder}/{name}",)),
            (images.write_image, (f"{folder}/out-{name}", pixels)),
        ):
            with open("/proc/self/statm") as file:
                used = int(file.read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + megabytes * 1_000_000, hard))
            outcome = attempt(action, *arguments)
            resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
            print(action.__name__, name, outcome)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of the address space")
def test_too_little_memory_is_never_called_damage(tmp_path):
    rng = np.random.default_rng(0)
    steps = rng.normal(0, 3, (1000, 1000, 3))
    picture = Image.fromarray((128 + np.cumsum(steps, 1)).clip(0, 255).astype(np.uint8))
    for name, options in FORMATS.items():
        picture.save(tmp_path / name, **options)
    done = subprocess.run(
        [sys.executable, "-c", STARVING, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 9 * 2 * len(FORMATS)
    wrong = [
        line for line in lines if not line.endswith(" done") and "OutOfMemoryError" not in line
    ]
    assert not wrong
    assert any(line.startswith("read_image a.webp OutOfMemoryError") for line in lines)
    assert any(line.startswith("write_image a.webp OutOfMemoryError") for line in lines)


def no_room(*args, **kwargs):
    raise MemoryError


@pytest.mark.parametrize(
    "error", [OSError("broken data stream"), ValueError("could not create decoder object")]
)
def test_what_is_damage_and_what_is_not(monkeypatch, error):
    with (
        pytest.raises(ImageError, match=f"cut short: {error}"),
        pillow_errors.pillow_errors("damaged or cut short"),
    ):
        raise error
    monkeypatch.setattr(pillow_errors.np, "empty", no_room)
    with pytest.raises(MemoryError), pillow_errors.pillow_errors("damaged or cut short"):
        raise error


@pytest.mark.parametrize(
    "step, error",
    [
        ("open", MemoryError()),
        ("open", OSError(errno.ENOMEM, "Cannot allocate memory")),
        ("turning", MemoryError()),
        ("to_array", MemoryError()),
    ],
)
def test_reading_says_that_memory_ran_out(tmp_path, monkeypatch, step, error):
    def fail(*args, **kwargs):
        raise error

    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(path)
    target = {
        "open": (images, "open_regular"),
        "turning": (images.exif, "upright"),
        "to_array": (images.np, "empty"),
    }[step]
    monkeypatch.setattr(*target, fail)
    with pytest.raises(OutOfMemoryError) as caught:
        images.read_image(path)
    monkeypatch.undo()
    assert str(caught.value).startswith(f"{path}: not enough memory for reading the picture")


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp", "a.bmp", "a.jpg", "alpha.png"])
@pytest.mark.parametrize("error", [MemoryError(), OSError("encoder error -2"), ValueError("1")])
def test_writing_says_that_memory_ran_out(tmp_path, monkeypatch, error, name):
    def fail(*args, **kwargs):
        raise error

    beside = {}
    if name == "alpha.png":
        beside = {TAG_ALPHA: metadata.pack_alpha(Image.new("L", (4, 4)))}
    monkeypatch.setattr(Image.Image, "save", fail)
    monkeypatch.setattr(pillow_errors.np, "empty", no_room)
    path = tmp_path / name
    with pytest.raises(OutOfMemoryError) as caught:
        images.write_image(path, np.zeros((4, 4, 3), np.uint8), beside)
    assert str(caught.value).startswith(f"{path}: not enough memory for writing the picture")
    assert not list(tmp_path.iterdir())


def test_colours_are_never_wrong_for_lack_of_memory(tmp_path, monkeypatch):
    """A profile that cannot be applied is ignored with a note; not so for want of memory."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    profile = profile[:16] + b"GRAY" + profile[20:]
    path = pathlib.Path(tmp_path, "grey.png")
    Image.new("L", (4, 4)).save(path, icc_profile=profile)
    assert "ignored its colour profile" in images.read_image(path).note
    monkeypatch.setattr(pillow_errors.np, "empty", no_room)
    with pytest.raises(OutOfMemoryError):
        images.read_image(path)
