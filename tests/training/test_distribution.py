"""Several devices and several workers: the same batch gives the same update as one process."""

import json
import os
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from gllmm_tf import errors
from gllmm_tf.training import distribution
from gllmm_tf.training.run import train
from gllmm_tf.training.settings import Settings

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RUN = """
import json, sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
devices = [tf.config.LogicalDeviceConfiguration()] * int(sys.argv[2])
tf.config.set_logical_device_configuration(cpu, devices)
from gllmm_tf import errors
from gllmm_tf.training.run import train
from gllmm_tf.training.settings import Settings
try:
    train(Settings.of(**json.loads(sys.argv[1])))
except errors.GllmmError as error:
    sys.exit(str(error))
"""
TINY = dict(
    num_filters=8,
    families=("gaussian",),
    components=1,
    stages=1,
    entropy_widths=(16, 16),
    lambdas=(0.002, 0.01, 0.05),
    patch=64,
    batch=4,
    steps=4,
    warmup=0,
    flat=1.0,
    validation_images=0,
    precision="float32",
    log_every=1,
    checkpoint_every=2,
    evaluate_every=0,
)


def start(settings, devices=1, **environment):
    """Starts a process that trains."""
    return subprocess.Popen(
        [sys.executable, "-c", RUN, json.dumps(settings.flat()), str(devices)],
        env={**os.environ, "PYTHONPATH": ROOT, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """Settings of a run of four steps on one device, which is done."""
    folder = tmp_path_factory.mktemp("one")
    rng = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    for i in range(4):
        small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
        small.resize((90 + i, 80), Image.BICUBIC).save(folder / f"pictures/{i}.png")
    settings = Settings.of(**TINY, train_glob=[f"{folder}/pictures/*.png"], run_dir=f"{folder}/run")
    train(settings)
    return settings


def state(folder, step=4):
    """{name: array} of a checkpoint, without the clock's time."""
    reader = tf.train.load_checkpoint(os.path.join(folder, "checkpoints", f"ckpt-{step}"))
    names = [n for n in reader.get_variable_to_shape_map() if n.endswith("VARIABLE_VALUE")]
    return {n: reader.get_tensor(n) for n in names if not n.startswith("seconds")}


def losses(folder):
    with open(os.path.join(folder, "metrics.jsonl")) as f:
        rows = [json.loads(line) for line in f]
    return [row["loss"] for row in rows if "loss" in row]


def assert_same_run(folder, expected):
    """Steps 3 and 4 moved every part of the state as expected, to within a hundredth.

    All of a part together: Adam gives gradients of nothing but rounding errors their full length.
    """
    np.testing.assert_allclose(losses(folder), losses(expected), rtol=1e-5)
    ours, theirs, start = state(folder), state(expected), state(expected, 2)
    assert set(ours) == set(theirs)
    for part in ("model", "average", "optimizer"):
        names = [name for name in theirs if name.startswith(part)]
        moved = np.linalg.norm([np.linalg.norm(theirs[name] - start[name]) for name in names])
        gap = np.linalg.norm([np.linalg.norm(ours[name] - theirs[name]) for name in names])
        assert moved > 0 and gap < 0.01 * moved, part
    assert ours["step/.ATTRIBUTES/VARIABLE_VALUE"] == 4
    assert ours["pixels/.ATTRIBUTES/VARIABLE_VALUE"] == 4 * 4 * 64 * 64


@pytest.mark.slow
def test_two_devices_take_the_steps_of_one(one, tmp_path):
    settings = one.replace(run_dir=str(tmp_path), strategy="mirrored")
    process = start(settings, devices=2)
    errors_of_process = process.communicate()[1]
    assert process.returncode == 0, errors_of_process
    assert_same_run(tmp_path, one.run.run_dir)
    assert os.path.exists(tmp_path / "model.npz")


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("localhost", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def test_two_workers_resume_and_take_the_steps_of_one(one, tmp_path):
    """From the checkpoint of step 2; only the chief writes."""
    shutil.copytree(one.run.run_dir, tmp_path / "run")
    checkpoints = tmp_path / "run" / "checkpoints"
    for path in checkpoints.glob("ckpt-4*"):
        path.unlink()
    (checkpoints / "checkpoint").write_text('model_checkpoint_path: "ckpt-2"\n')
    settings = one.replace(run_dir=str(tmp_path / "run"), strategy="multi_worker")
    workers = [f"localhost:{port}" for port in free_ports(2)]
    processes = []
    for index in range(2):
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": {"worker": workers}, "task": task})
        processes.append(start(settings, TF_CONFIG=config))
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert "from step 2" in said[0] and "step 4: loss" in said[0]
    assert "from step 2" not in said[1] and "step 4: loss" not in said[1]
    assert_same_run(tmp_path / "run", one.run.run_dir)


def test_refusals_are_one_line(monkeypatch):
    with pytest.raises(errors.GllmmError, match="strategy='all' is unknown; choose one of one"):
        distribution.Devices("all")
    for value in ("", "{", '{"cluster": {"worker": []}, "task": {"type": "worker", "index": 0}}'):
        monkeypatch.setenv("TF_CONFIG", value)
        with pytest.raises(errors.GllmmError, match="TF_CONFIG does not name this worker; set"):
            distribution.Devices("multi_worker")
    devices = distribution.Devices()
    devices.count = 3
    with pytest.raises(errors.GllmmError, match="batch=8 cannot be shared by 3 devices"):
        devices.share(8)
