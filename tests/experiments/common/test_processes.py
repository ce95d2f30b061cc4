"""What a process costs, and the other side of a comparison of speed."""

import importlib
import sys

import numpy as np
import pytest

from experiments.common import compressai_peer, processes
from experiments.common.peer import Peer
from experiments.common.program import ExperimentError

ECHO = """
import json, sys
print(json.dumps({"ready": True, "arguments": sys.argv[1:]}), flush=True)
for line in sys.stdin:
    if line == "stop\\n":
        sys.exit(3)
    print(json.dumps({"seconds": float(line)}), flush=True)
"""


def test_memory_is_the_childs_and_time_is_wall_time():
    here = np.ones(50_000_000)  # 400 MB here are none of the child's
    small = processes.cost_of([sys.executable, "-c", "import time; time.sleep(0.3)"])
    large = processes.cost_of([sys.executable, "-c", "x = bytearray(200_000_000)"])
    assert here.nbytes == 400_000_000
    assert small.peak_megabytes < 100 < 200 < large.peak_megabytes < 300
    assert 0.3 <= small.seconds < 10


def test_a_failure_is_the_commands_last_line():
    with pytest.raises(ExperimentError, match="^no luck$"):
        processes.cost_of([sys.executable, "-c", "import sys; sys.exit('first\\nno luck')"])
    with pytest.raises(ExperimentError, match="exit status 1$"):
        processes.cost_of([sys.executable, "-c", "import os; os._exit(7)"])


def test_a_peer_answers_orders_until_it_stops(tmp_path):
    path = tmp_path / "peer.py"
    path.write_text(ECHO)
    peer = Peer(sys.executable, "train", program=str(path), batch=8, bfloat16=True, other=False)
    assert peer.facts == {"arguments": ["train", "--batch=8", "--bfloat16"]}
    assert peer.seconds(2.5) == 2.5
    with pytest.raises(ExperimentError, match="peer has stopped"):
        peer.seconds("stop")
    with pytest.raises(ExperimentError, match="no/python: No such file"):
        Peer("no/python", "train", program=str(path))


def test_the_peer_has_both_tasks():
    """Its flags are those that speed.py and training_speed.py pass on."""
    sizes = ["--num_filters=8", "--batch=2", "--patch=64"]
    options = compressai_peer.parse(["train", *sizes, "--bfloat16"])
    assert options.make is compressai_peer.Training and options.bfloat16
    picture = ["--pixels=a.npy", "--num_filters=8", "--spread=1.5", "--seed=1", "--threads=2"]
    options = compressai_peer.parse(["code", *picture])
    assert options.make is compressai_peer.Coding and (options.spread, options.threads) == (1.5, 2)


def test_stand_ins_can_be_imported_and_inherited(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, compressai_peer.StandIns()])
    transforms = importlib.import_module("torchvision.transforms")
    try:

        @transforms.functional_transform("name")
        class Mine(transforms.BaseTransform):
            answer = 42

        assert Mine().answer == 42 and issubclass(Mine, compressai_peer.Nothing)
        assert not [name for name in vars(transforms) if name[0].isupper()]
    finally:
        for name in [
            n for n in sys.modules if n.split(".")[0] in compressai_peer.StandIns.PACKAGES
        ]:
            del sys.modules[name]
