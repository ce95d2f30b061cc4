"""Files that are complete or as they were before."""

import errno
import os

import pytest

from gllmm_tf.errors import ImageError
from gllmm_tf.files import atomic


def test_write_bytes(tmp_path):
    path = tmp_path / "out.gllmm"
    atomic.write_bytes_atomic(path, b"first")
    atomic.write_bytes_atomic(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [path]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_write_follows_links(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    atomic.write_bytes_atomic(tmp_path / "link", b"new")
    assert (tmp_path / "real").read_bytes() == b"new"
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_failed_write_leaves_what_was_there(tmp_path, monkeypatch, failure, step):
    path = tmp_path / "out.png"
    path.write_bytes(b"old")

    def fail(*args):
        raise failure

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(failure)) as caught:
        atomic.write_bytes_atomic(path, b"new")
    if isinstance(failure, OSError):
        assert caught.value.filename == str(path)
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_replacing_by_several_at_once_needs_no_agreement(tmp_path):
    """Each has a name of its own, and the last to end is what stays, whole."""
    path = tmp_path / "cache.npy"
    with atomic.replacing(path) as first, atomic.replacing(path) as second:
        assert first != second
        for name, data in ((first, b"first"), (second, b"second")):
            with open(name, "xb") as file:
                file.write(data)
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_replacing_leaves_nothing_of_what_failed(tmp_path, failure):
    path = tmp_path / "cache.npy"
    path.write_bytes(b"old")
    with pytest.raises(failure), atomic.replacing(path) as temporary:
        with open(temporary, "xb") as file:
            file.write(b"half")
        raise failure
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_full_device():
    with pytest.raises(OSError, match="No space left") as caught:
        atomic.write_bytes_atomic("/dev/full", b"data")
    assert caught.value.filename == "/dev/full"
    assert not os.path.isfile("/dev/full")


def test_unwritable_targets(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for target in (tmp_path, tmp_path / "file" / "out.png", tmp_path / "missing" / "out.png"):
        with pytest.raises(OSError) as caught:
            atomic.write_bytes_atomic(target, b"data")
        assert caught.value.filename == str(target)
        with pytest.raises(OSError):
            atomic.check_target(target, tmp_path / "source.png")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_input_is_never_the_output(tmp_path):
    source = tmp_path / "a.png"
    source.write_bytes(b"")
    (tmp_path / "link.png").symlink_to(source)
    os.link(source, tmp_path / "hard.png")
    for name in ("a.png", "link.png", "hard.png", "../" + tmp_path.name + "/a.png"):
        with pytest.raises(ImageError, match="is the input itself"):
            atomic.check_target(tmp_path / name, source)
    atomic.check_target(tmp_path / "other.png", source)
