"""Limits on memory: what they leave, who waits, what is refused before the work."""

import subprocess
import sys
import threading

import numpy as np
import pytest
from conftest import ROOT
from portable import random_models

from gllmm_tf import memory, work
from gllmm_tf.errors import OutOfMemoryError
from gllmm_tf.memory import Backend, Memory, Room
from gllmm_tf.portable.codec import PortableCodec

MEGABYTE = memory.MEGABYTE
NOTHING = Backend(0, 0)
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits as Linux has them")


def limited(monkeypatch, megabytes, of_tile=1.0):
    limit = megabytes * MEGABYTE
    monkeypatch.setattr(memory, "rooms", lambda: [Room(limit, of_tile, "the limit", limit)])
    return Memory(NOTHING)


def test_without_limits_a_tile_is_what_it_is(monkeypatch):
    monkeypatch.setattr(memory, "rooms", lambda: [])
    free = Memory(NOTHING)
    assert not free.is_limited
    with free.take("it", 1 << 50, 1 << 50, 1 << 50):
        assert memory.of_tile() == memory.TILE


@pytest.mark.parametrize("of_tile", [0.75, 1.0])
def test_a_tile_gets_what_is_left(monkeypatch, of_tile):
    some = limited(monkeypatch, 500, of_tile)
    with some.take("it", 200 * MEGABYTE, MEGABYTE, 1 << 40):
        assert memory.of_tile() == int(300 * MEGABYTE / of_tile) < memory.TILE
        with some.take("a part of it", 400 * MEGABYTE, MEGABYTE, 1 << 40):  # has it already
            assert memory.of_tile() == int(300 * MEGABYTE / of_tile)
    assert memory.of_tile() == memory.TILE


def test_what_is_set_aside_is_not_for_tiles(monkeypatch):
    some = limited(monkeypatch, 500)
    some.set_aside(100)
    with some.take("it", 200 * MEGABYTE, MEGABYTE, 1 << 40):
        assert memory.of_tile() == 200 * MEGABYTE
    some.set_aside(250)
    with pytest.raises(OutOfMemoryError), some.take("it", 200 * MEGABYTE, 0, 0):
        raise AssertionError("it was let in")


@pytest.mark.parametrize("fixed, tile", [(501, 0), (400, 101), (0, 501)])
def test_what_cannot_fit_is_refused(monkeypatch, fixed, tile):
    some = limited(monkeypatch, 500)
    sizes = fixed * MEGABYTE, tile * MEGABYTE, tile * MEGABYTE
    refused = pytest.raises(OutOfMemoryError, match="memory for it: .* the limit is 500 MB")
    with refused, some.take("it", *sizes):
        raise AssertionError("it was let in")


def test_two_that_do_not_fit_together_take_turns(monkeypatch):
    some = limited(monkeypatch, 500)
    inside, most = [], []
    lock = threading.Lock()

    def work_on(fixed):
        with some.take("it", fixed * MEGABYTE, MEGABYTE, MEGABYTE):
            with lock:
                inside.append(fixed)
                most.append(sum(inside))
            threading.Event().wait(0.002)
            with lock:
                inside.remove(fixed)

    threads = [threading.Thread(target=work_on, args=(size,)) for size in 4 * [100, 240, 490]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(most) == 12 and max(most) <= 500


def test_the_estimate_of_a_tile_is_that_of_the_networks():
    for name in random_models.CONFIGS:
        stored = random_models.model_file(name)
        codec = PortableCodec(stored)
        per_pixel = work.tile_bytes_per_pixel(stored.config)
        g_a, _ = codec.networks.analysis_transforms
        g_s = codec.networks.synthesis_transform
        assert g_a.bytes_per_sample() <= per_pixel
        assert g_s.bytes_per_sample() <= 256 * per_pixel
        assert max(g_a.bytes_per_sample(), g_s.bytes_per_sample() // 256) >= 0.9 * per_pixel


def test_memory_that_the_user_allows():
    """It states what the whole process may take, so that it is refused for less than that has already."""
    codec = PortableCodec(random_models.model_file("variable"), memory=40)
    with pytest.raises(OutOfMemoryError, match="allowed is 40 MB") as error:
        codec.compress(np.zeros((64, 64, 3), np.uint8))
    assert error.value.with_flag().endswith("(--memory)")
    codec = PortableCodec(random_models.model_file("variable"), memory=10**6)
    data = codec.compress(np.zeros((64, 64, 3), np.uint8))
    assert PortableCodec(random_models.model_file("variable")).decompress(data).shape == (64, 64, 3)


PROGRAM = """
import resource, sys
import numpy as np
from gllmm_tf.errors import OutOfMemoryError
from gllmm_tf.portable.codec import PortableCodec
from portable import random_models
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(getattr(resource, sys.argv[1]), (used + (int(sys.argv[2]) << 20),) * 2)
codec = PortableCodec(random_models.model_file("variable"))
codec.decompress(codec.compress(np.zeros((64, 64, 3), np.uint8)))
try:
    codec.compress(np.broadcast_to(np.uint8(0), (1 << 14, 1 << 14, 3)))
except OutOfMemoryError as error:
    print(error)
"""


@LINUX
@pytest.mark.parametrize("limit, name", [("RLIMIT_AS", "ulimit -v"), ("RLIMIT_DATA", "ulimit -d")])
def test_limits_of_the_system_are_seen_before_the_work(limit, name):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, limit, "1500"],
        env={"PYTHONPATH": f"{ROOT}:{ROOT}/tests", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("not enough memory for a picture of 16384 x 16384 pixels: ")
    assert name in done.stdout and done.stdout.count("\n") == 1


@LINUX
@pytest.mark.parametrize(
    "files",
    [
        {
            "/proc/self/cgroup": "0::/job/step\n",
            "/sys/fs/cgroup/job/memory.max": f"{900 << 20}\n",
            "/sys/fs/cgroup/job/memory.current": f"{300 << 20}\n",
            "/sys/fs/cgroup/job/memory.stat": f"anon 5\ninactive_file {100 << 20}\n",
            "/sys/fs/cgroup/job/step/memory.max": "max\n",
            "/sys/fs/cgroup/job/step/memory.current": "5\n",
        },
        {
            "/proc/self/cgroup": "7:cpu:/\n4:memory:/slurm/uid_1\n",
            "/sys/fs/cgroup/memory/slurm/uid_1/memory.limit_in_bytes": f"{900 << 20}\n",
            "/sys/fs/cgroup/memory/slurm/uid_1/memory.usage_in_bytes": f"{200 << 20}\n",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes": f"{(1 << 63) - 4096}\n",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes": "77\n",
        },
        {  # a container that sees its own group as the root
            "/proc/self/cgroup": "0::/../../docker/abc\n",
            "/sys/fs/cgroup/memory.max": f"{900 << 20}\n",
            "/sys/fs/cgroup/memory.current": f"{200 << 20}\n",
        },
    ],
)
def test_control_groups(files, tmp_path, monkeypatch):
    import builtins

    for path, text in files.items():
        place = tmp_path / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    really = builtins.open

    def open_there(path, *args, **kwargs):
        text = str(path)
        if text.startswith(("/sys/fs/cgroup", "/proc/self/cgroup")):
            path = f"{tmp_path}{text}"
        return really(path, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", open_there)
    (room,) = [room for room in memory.rooms() if "control group" in room.name]
    assert (room.left >> 20, room.limit >> 20) == (700, 900)
