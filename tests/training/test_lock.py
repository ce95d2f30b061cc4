"""One process at a time in a folder, however it ends."""

import errno
import fcntl
import subprocess
import sys

import pytest

from gllmm_tf import errors
from gllmm_tf.training import lock
from gllmm_tf.training.folder import Folder

HOLDER = """
import sys
from gllmm_tf.training import lock
lock.take(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of tmp_path."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_second_process_is_refused_until_the_first_is_gone(holder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (tmp_path, "."):
        with pytest.raises(errors.GllmmError, match="is at work there; wait for it") as caught:
            Folder(str(name)).lock()
        text = str(caught.value)
        assert f"process {holder.pid} on " in text and "\n" not in text
        assert caught.value.argument == "run_dir"
    holder.kill()  # as a crash, or a machine without memory, ends it
    holder.wait()
    Folder(str(tmp_path)).lock()
    Folder(str(tmp_path)).unlock()


def test_a_process_may_take_its_own_lock_again(tmp_path):
    def others():
        program = "import sys; from gllmm_tf.training import lock; lock.take(sys.argv[1])"
        return subprocess.run(
            [sys.executable, "-c", program, tmp_path], capture_output=True, text=True
        )

    lock.take(tmp_path)
    lock.take(tmp_path / ".")
    assert "is at work there" in others().stderr
    lock.give_back(tmp_path)
    lock.give_back(tmp_path)
    assert others().returncode == 0


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_file_systems_without_locks_refuse_nothing(tmp_path, monkeypatch, number):
    def fails(*arguments):
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "lockf", fails)
    lock.take(tmp_path)
    lock.take(tmp_path)


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / lock.FILE_NAME).mkdir()
    with pytest.raises(errors.GllmmError, match="cannot be written .*; give another out"):
        lock.take(tmp_path, "out")


def test_holder_that_is_not_known(holder, tmp_path):
    (tmp_path / lock.FILE_NAME).write_text("?")
    with pytest.raises(errors.GllmmError, match="another process is at work there"):
        lock.take(tmp_path)


def test_record_that_the_process_before_wrote_is_read(tmp_path):
    place = Folder(str(tmp_path))
    other = Folder(str(tmp_path))
    other.write_record(settings={"batch": 3})
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "checkpoint").write_text("")
    assert place.record == {}
    place.lock()
    assert place.record["settings"] == {"batch": 3}
    place.unlock()
