"""What the desktop is told about .gllmm files, tried with the programs that read it where they are."""

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree

import pytest
from conftest import DATA, ROOT
from PIL import Image

from gllmm_tf.desktop import install, thumbnail
from gllmm_tf.files.container import MAGIC
from gllmm_tf.pillow_plugin import EXTENSION, MIME_TYPE
from gllmm_tf.zoo import registry

GOLDEN = os.path.join(DATA, "golden.gllmm")
MAGIC_FILE = str(install.FOLDER / "gllmm.magic")


def needs(*programs):
    missing = [program for program in programs if not shutil.which(program)]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def output_of(*command, **environment):
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def share(tmp_path):
    """A share folder with everything installed."""
    install.install(tmp_path / "share")
    return tmp_path / "share"


@pytest.fixture
def nameless(tmp_path):
    """A .gllmm file whose name says nothing."""
    return shutil.copy(GOLDEN, tmp_path / "picture")


@needs("file")
def test_file_knows_the_format(tmp_path, nameless):
    def file(*options):
        return output_of("file", "--brief", "-m", MAGIC_FILE, *options)

    assert file("--mime-type", nameless) == MIME_TYPE
    assert file("--extension", nameless) == EXTENSION[1:]
    assert file(nameless).startswith(
        "gllmm picture, format version 1, quality index 37, model f281"
    )
    others = {"short": MAGIC[:3], "text": b"GLM", "png": b"\x89PNG\r\n\x1a\n"}
    for name, data in others.items():
        (tmp_path / name).write_bytes(data)
        assert "gllmm" not in file(tmp_path / name)


def test_type_is_that_of_the_format():
    root = xml.etree.ElementTree.parse(install.FOLDER / "gllmm.xml").getroot()
    space = {"m": "http://www.freedesktop.org/standards/shared-mime-info"}
    (kind,) = root.findall("m:mime-type", space)
    assert kind.get("type") == MIME_TYPE
    assert kind.find("m:glob", space).get("pattern") == f"*{EXTENSION}"
    match = kind.find("m:magic/m:match", space)
    assert match.get("offset") == "0"
    assert match.get("value").encode().decode("unicode_escape").encode("latin-1") == MAGIC


@needs("update-mime-database", "xdg-mime", "mimetype")  # which xdg-mime asks without a desktop
def test_desktop_knows_the_format_by_name_and_by_content(share, nameless, tmp_path):
    environment = {
        "XDG_DATA_HOME": str(share),
        "HOME": str(tmp_path),
        "XDG_DATA_DIRS": "/usr/share",
    }
    named = shutil.copy(GOLDEN, tmp_path / f"a{EXTENSION}")
    assert output_of("xdg-mime", "query", "filetype", named, **environment) == MIME_TYPE
    if shutil.which("gio"):
        for path in (named, nameless):
            info = output_of("gio", "info", "-a", "standard::content-type", path, **environment)
            assert f"standard::content-type: {MIME_TYPE}" in info
    (picture := tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert output_of("xdg-mime", "query", "filetype", picture, **environment) == "image/png"


def test_installing_and_removing(tmp_path, capsys):
    share = tmp_path / "share"
    other = share / "mime" / "packages" / "other.xml"
    other.parent.mkdir(parents=True)
    other.write_text("<mime-info xmlns='http://www.freedesktop.org/standards/shared-mime-info'/>")
    arguments = ["--share", str(share)]
    for _ in range(2):
        assert install.main(arguments) == 0
    written = [share / place for place in install.PLACES.values()]
    assert all(f"wrote {path}" in capsys.readouterr().out or path.exists() for path in written)
    assert install.main([*arguments, "--remove"]) == 0
    assert not any(path.exists() for path in written) and other.exists()
    assert install.main([*arguments, "--remove"]) == 0


def test_folder_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "share").write_text("")
    assert install.main(["--share", str(tmp_path / "share")]) == 1
    line = capsys.readouterr().err
    assert "cannot be written" in line and "(--share)" in line and line.count("\n") == 1


def test_thumbnailer_is_found_without_its_folder_in_the_path(tmp_path, monkeypatch):
    python, program = tmp_path / "bin" / "python", tmp_path / "bin" / install.PROGRAM
    python.parent.mkdir()
    monkeypatch.setattr(sys, "executable", str(python))
    assert f"\nExec={install.PROGRAM} %i %o %s\n" in install.contents("gllmm.thumbnailer")
    program.write_text("")
    text = install.contents("gllmm.thumbnailer")
    assert f"\nTryExec={program}\nExec={program} %i %o %s\nMimeType={MIME_TYPE};" in text


@pytest.fixture
def golden_model(tmp_path, monkeypatch):
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copy(os.path.join(DATA, "golden_model.npz"), folder / "golden.npz")
    monkeypatch.setattr(registry, "FOLDER", str(folder))


@pytest.mark.parametrize("size, wanted", [(16, 16), (4096, None)])
def test_thumbnail_is_a_small_png_whatever_its_name(golden_model, tmp_path, size, wanted):
    target = tmp_path / ".thumbnail.8F3A"  # GNOME makes an empty file of such a name
    target.write_bytes(b"")
    thumbnail.thumbnail(GOLDEN, str(target), size)
    with Image.open(target) as image, Image.open(GOLDEN) as whole:
        assert image.format == "PNG"
        assert max(image.size) == (wanted or max(whole.size))


def test_thumbnailer_fails_with_one_line(tmp_path, monkeypatch, capsys):
    broken = tmp_path / "a.gllmm"
    with open(GOLDEN, "rb") as file:
        broken.write_bytes(file.read()[:-1])
    monkeypatch.setattr(thumbnail, "MAX_PIXELS_FOR_OTHERS", 100)
    target = tmp_path / "out"
    for source, message in (
        (GOLDEN, "more than the limit of 100 for a thumbnail"),
        (str(tmp_path / "none.gllmm"), "No such file"),
        (os.path.join(ROOT, "setup.py"), "cannot identify image file"),
    ):
        monkeypatch.setattr(sys, "argv", ["gllmm-thumbnailer", source, str(target), "64"])
        assert thumbnail.main() == 1
        line = capsys.readouterr().err
        assert message in line and source in line and line.count("\n") == 1
    monkeypatch.setattr(thumbnail, "MAX_PIXELS_FOR_OTHERS", 1 << 24)
    monkeypatch.setattr(sys, "argv", ["gllmm-thumbnailer", str(broken), str(target)])
    assert thumbnail.main() == 1
    assert "checksum does not match" in capsys.readouterr().err
    assert not target.exists()
