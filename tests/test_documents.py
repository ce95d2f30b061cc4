"""README and docs: every command runs, links lead somewhere, words are plain.

Each page with commands is played in one bash session, block by block, in a folder of its own: a copy
of what the commands need of the checkout, with small pictures. Commands that cannot run in a test are
listed below with the reason, as are the places where a test does less than the page says. A new command
that does neither makes a test fail; so does a list that names a command which no page has any more.
"""

import contextlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys

import numpy as np
import pages
import pytest
from conftest import TENSORFLOW
from PIL import Image

from gllmm_tf.cli.parser import parse_args
from gllmm_tf.training.settings import FIELDS

ROOT = pages.ROOT

INSTALLS = "installs packages"
GPU = "needs a GPU"
KODAK = "needs the Kodak pictures, and minutes to hours"
SLOW = "takes minutes to hours, and its figures mean something on an idle machine only"

NOT_HERE = {
    "CONTRIBUTING.md": {
        "make demo": "makes an environment; CI does not need it to test what the tests test",
        "make test": "is what runs this test",
    },
    "README.md": {
        "make demo": "makes an environment; tests/experiments/test_demo.py runs the demonstration",
        "make test": "is what runs this test",
        "pip install": INSTALLS,
    },
    "docs/accelerators.md": {
        "pip install": INSTALLS,
        "python -m experiments.tools.export_step": "tests/training/xla exports",
        "python -m experiments.tools.export_bundle": "tests/training/xla/test_schedule.py exports",
        "python bundle/run.py": "needs JAX; tests/training/xla/test_jax.py runs it where that is",
        "python step/run.py": "needs JAX; tests/training/xla/test_jax.py runs it where that is",
        "python -m experiments.tools.import_state": "tests/training/xla takes runs and models back",
        "gllmm compress": "compresses with the run that came back",
        "python train.py": "continues the run that came back; tests/training/xla does",
        "make": INSTALLS,
        "GLLMM_JAX_PYTHON": "needs JAX",
    },
    "docs/curve.md": {
        "python -m experiments.inside.linear_bound": "needs the training photographs",
        "python -m experiments.rate_distortion.refinement_rounds": SLOW,
    },
    "docs/desktop.md": {
        "python -m gllmm_tf.desktop": "changes the desktop of the user; tests/desktop installs elsewhere",
        "xdg-mime": "need not be installed; tests/desktop runs it where it is",
        "file -m": "need not be installed; tests/desktop runs it where it is",
    },
    "docs/export.md": {
        "python -m experiments.systems.saved_model_agreement": "tests/experiments/systems runs it",
        "TF=": "compiles C++, with a compiler that need not be there",
        "g++": "compiles C++, with a compiler that need not be there",
    },
    "docs/gpu.md": {
        "python3": INSTALLS,
        "gpuenv/bin/pip": INSTALLS,
        "gpuenv/bin/python": GPU,
    },
    "docs/originals.md": {
        "python -m experiments.tools.import_checkpoint": "needs a checkpoint of the released code; "
        "tests/originals/test_checkpoint.py imports synthetic ones",
        "python compress.py compress --model cheng.npz": "needs what the command before makes",
    },
    "docs/results.md": {
        "python -m experiments.rate_distortion.rate_distortion": KODAK,
        "python -m experiments.rate_distortion.rate_overhead": KODAK,
        "python -m experiments.speed": SLOW,
        "python -m experiments.systems.backend_agreement": KODAK,
    },
    "docs/robustness.md": {
        "python -m experiments.rate_distortion.off_kodak": SLOW,
        "python -m experiments.systems.odd_pictures": "tests/experiments/systems reads fewer files",
    },
    "docs/serving.md": {
        "pip install": INSTALLS,
        "python -m experiments.systems.serve_load": SLOW,
        "python -m experiments.systems.serve_page_check": "needs Chromium",
        "python -m gllmm_tf.beam": "starts processes that import TensorFlow; tests/test_beam.py runs it",
    },
    "docs/training.md": {
        "python -m experiments.tools.revive": "a model of two steps has no channels to revive; "
        "tests/training/test_growth.py revives some",
        "python train.py --init_from=start.npz": "needs what the command before makes",
        "TF_CONFIG=": "waits for a second machine; tests/training/test_distribution.py runs two workers",
    },
    "docs/tutorial.md": {"pip install": INSTALLS},
    "docs/usage.md": {
        "python -m experiments.rate_distortion.targets": KODAK,
        "python -m experiments.rate_distortion.refinement_rounds": SLOW,
    },
    "experiments/README.md": {"python -m experiments.rate_distortion.rate_distortion": KODAK},
}
"""{page: {beginning of a command: reason}}."""

SHORTER = {
    "README.md": [
        ("gllmm train", "EAGER=1 gllmm train"),
        ("--run_dir=runs/mine", "--run_dir=runs/mine {short} --num_filters=16"),
    ],
    "docs/training.md": [
        ("python train.py", "EAGER=1 python train.py"),
        ("KEEP=1 python block.py", "EAGER=1 python block.py"),
        ("--run_dir=runs/first \\", "--run_dir=runs/first {short} \\"),
        ("--num_filters=48", "--num_filters=16"),
        ("num_filters=48)", "num_filters=16, {python})"),
        ("steps=2000", "steps=1"),
    ],
    "docs/tutorial.md": [
        ("python train.py", "EAGER=1 python train.py"),
        ("--steps=2000", "{short}"),
        (
            "--codecs jpeg,webp,ours",
            "--codecs jpeg,ours --qualities jpeg=20,80 --qualities ours=1,4",
        ),
    ],
    "docs/usage.md": [('compile("adam")', 'compile("adam", run_eagerly=True)')],
    "docs/serving.md": [
        (
            "--port 8000",
            "--port {port} & until curl --silent --fail {url}/health; do sleep 0.1; done",
        ),
        ("http://127.0.0.1:8000", "{url}"),
    ],
    "docs/export.md": [
        ("gllmm export", "gllmm export --model gllmm-n48"),
        ("(1, 144, 4, 4)", "(1, 48, 4, 4)"),
    ],
}
"""{page: [(what it says, what the test does)]}, in commands and in Python."""

if (
    importlib.util.find_spec("tensorflow_compression") is None
):  # as the page says of TensorFlow 2.17
    SHORTER["docs/export.md"].append(
        ("import tensorflow_compression ", "import tensorflow_compression_ops ")
    )

NEED_TENSORFLOW = {
    "README.md",
    "docs/export.md",
    "docs/model.md",
    "docs/training.md",
    "docs/tutorial.md",
    "docs/usage.md",
}
"""Pages with a command that trains, refines or writes a SavedModel."""

SHORT = (
    "--steps=2 --batch=1 --patch=64 --validation_images=2 --validation_size=64 --validation_files=0"
)
PYTHON = "batch=1, patch=64, validation_images=0"


def words_of(command):
    """Words of a command, without its comment and without what stands for more of them."""
    words = shlex.split(command.replace("\\\n", " "), comments=True)
    return [word for word in words if word not in ("...", "[OUT]")]


def reason_not_here(page, command):
    """Why a command does not run in the test; None if it does."""
    for beginning, reason in NOT_HERE.get(page, {}).items():
        if command.startswith(beginning):
            return reason
    return None


def steps_of(page):
    """(line, shell text) of what the test plays of a page: its commands and its Python."""
    for block in pages.blocks(pages.read(page)):
        if block.language == "python":
            yield block.line, f"cat > block.py <<'END'\n{block.text}END\nKEEP=1 python block.py"
        elif block.language == "bash":
            for line, command in block.commands():
                if command.startswith("#") or reason_not_here(page, command):
                    continue
                yield line, command


PLAYED = [page for page in pages.names() if list(steps_of(page))]


# A shell and a folder for a page --------------------------------------------------------------


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Folder with the programs `python` and `gllmm` (tests/warm_python.py)."""
    folder = tmp_path_factory.mktemp("warm")
    server = subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "warm_python.py"), str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout.readline() == "ready\n"
    yield folder / "bin"
    server.stdin.close()
    server.wait(timeout=60)


def draw(path, width, height, seed):
    """Writes a smooth picture with some noise."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 6, 3), dtype=np.uint8))
    pixels = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    pixels = pixels + rng.integers(-8, 9, pixels.shape, dtype=np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture
def checkout(tmp_path):
    """A copy of what commands need of a checkout, with small pictures."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "experiments", folder / "experiments")
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copytree(ROOT / "tests" / "data", folder / "tests" / "data")
    for script in ("train.py", "compress.py"):
        shutil.copy(ROOT / script, folder)
    for seed, name in enumerate(("friends", "picos_de_europa")):
        draw(folder / "assets" / f"{name}.png", 192, 192, seed)
    for seed in range(6):
        draw(folder / "photos" / "summer" / f"{seed}.jpg", 128, 128 + seed, seed)
    draw(folder / "photos" / "6.jpg", 160, 128, 6)
    for name in ("photo.png", "photo.jpg"):
        draw(folder / name, 96, 64, 7)
    return folder


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def shorten(page, text):
    """What the test does in place of what the page says."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    for old, new in SHORTER.get(page, []):
        text = text.replace(old, new.format(short=SHORT, python=PYTHON, port=port, url=url))
    return text


@pytest.mark.parametrize("page", PLAYED)
def test_commands_run(page, programs, checkout):
    if page in NEED_TENSORFLOW and not TENSORFLOW:
        pytest.skip("TensorFlow is not installed")
    session = ["set -eu", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]
    for line, command in steps_of(page):
        session += [f"echo '{page}, line {line}' > line", command]
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        ["bash", "-c", shorten(page, "\n".join(session) + "\n")],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=600,
    )
    reached = (checkout / "line").read_text().strip()
    assert done.returncode == 0, f"{reached}: {done.stdout[-1000:]}\n{done.stderr[-3000:]}"


def test_lists_name_commands_that_exist():
    for page, beginnings in NOT_HERE.items():
        commands = [
            command
            for block in pages.blocks(pages.read(page))
            if block.language == "bash"
            for _, command in block.commands()
        ]
        for beginning in beginnings:
            assert any(command.startswith(beginning) for command in commands), (page, beginning)
    for page, pairs in SHORTER.items():
        for old, _ in pairs:
            assert old in pages.read(page) or "block.py" in old, (page, old)


# Commands that are not played, in text and tables -----------------------------------------------


def unplayed_commands():
    """(page, command) of what is not executed: in the text, and what `NOT_HERE` lists."""
    for page in pages.names():
        for command in pages.inline_commands(pages.read(page)):
            yield page, command
        for block in pages.blocks(pages.read(page)):
            if block.language == "bash":
                for _, command in block.commands():
                    if reason_not_here(page, command):
                        yield page, command


FLAGS_OF_PROGRAMS = """
import json, runpy, sys
from absl import flags
from experiments.common import program

known, before = {}, set(flags.FLAGS)
program.run = lambda main, define_flags=lambda: None, *args, **kwargs: define_flags()
for name in sys.argv[1:]:
    runpy.run_module(name, run_name="__main__")
    known[name] = sorted(set(flags.FLAGS) - before)
    for flag in known[name]:
        delattr(flags.FLAGS, flag)
print(json.dumps(known))
"""


@pytest.mark.skipif(not TENSORFLOW, reason="TensorFlow is not installed")
def test_unplayed_commands_have_known_flags(programs):
    experiments, wrong = {}, []
    for page, command in unplayed_commands():
        words = words_of(command)
        given = {word[2:].partition("=")[0] for word in words if word.startswith("--")}
        if words[:2] == ["python", "-m"] and words[2].startswith("experiments."):
            experiments.setdefault(words[2], []).append((page, given))
        elif words[0] == "gllmm" or words[:2] == ["python", "compress.py"]:
            wrong += [(page, command)] * (not is_gllmm(words[1 if words[0] == "gllmm" else 2 :]))
        elif words[:2] == ["python", "train.py"]:
            wrong += [(page, command)] * (not given <= {*FIELDS, "config"})
        for word in words:
            if word.startswith("--config="):
                assert (ROOT / re.match(r"--config=(.*?\.py)", word)[1]).exists(), (page, command)
    experiments.pop("experiments.ROOM.NAME", None)
    done = subprocess.run(
        [programs / "python", "-c", FLAGS_OF_PROGRAMS, *experiments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for name, known in json.loads(done.stdout).items():
        wrong += [(page, name, given) for page, given in experiments[name] if not given <= {*known}]
    assert wrong == []


def is_gllmm(words):
    """Whether the command line `gllmm` has this command with these flags."""
    if not words or words[0] in ("COMMAND", "train"):
        return True
    for more in ([], ["IN"], ["A", "B"], ["bash"]):  # the text often names a command alone
        with contextlib.suppress(SystemExit):
            parse_args(["gllmm", *words, *more])
            return True
    return False


# The pages themselves ---------------------------------------------------------------------------

WORDS_TO_AVOID = (
    r"\btold\b",
    r"\bmend(s|ed|ing)?\b",
    r"\bso many\b",
    r"\b(leave|leaves|left|leaving) (it |them |that |this )?away\b",
    r"\bis no matter of\b",
)
MACHINE_PATHS = r"(?<![\w.])/(work|root|home|tmp|mnt|data)/"


@pytest.mark.parametrize("page", pages.names())
def test_page_is_in_order(page):
    text = pages.read(page)
    for block in pages.blocks(text):
        assert block.language in pages.LANGUAGES, f"{page}, line {block.line}: name the language"
        lines = block.text.splitlines() if block.language == "text" else []
        assert not [line for line in lines if line.split(" ")[0] in pages.PROGRAMS]
    assert pages.indented_code(text) == []
    for pattern in WORDS_TO_AVOID:
        assert re.findall(pattern, text, re.IGNORECASE) == []
    assert not re.search(MACHINE_PATHS, text)


@pytest.mark.parametrize("page", pages.names())
def test_links_lead_somewhere(page):
    for target in pages.links(pages.read(page)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        found = (ROOT / page).parent / path if path else ROOT / page
        assert found.exists(), target
        if anchor:
            assert anchor in pages.anchors(found.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("page", pages.names())
def test_files_and_modules_that_are_named_exist(page):
    """`gllmm_tf/codec/codec.py`, `tests/data`, `gllmm_tf.training.settings`."""
    missing = []
    for code in re.findall(r"`([^`\s]+)`", pages.prose(pages.read(page))):
        if re.fullmatch(r"(gllmm_tf|experiments|tests|docs|assets)/[\w./-]+", code):
            missing += [code] * (not (ROOT / code).exists())
        elif re.fullmatch(r"gllmm_tf(\.[a-z_]+)+", code):  # a module, or a name in one
            path = ROOT.joinpath(*code.split("."))
            found = [path, path.with_suffix(".py"), path.parent, path.parent.with_suffix(".py")]
            missing += [code] * (not any(place.exists() for place in found))
    assert missing == []


def test_readme_is_short():
    assert len(pages.read("README.md").splitlines()) <= 120


def test_index_of_the_documentation_is_complete():
    index = pages.links(pages.read("docs/README.md"))
    there = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert there <= set(index)


def test_all_python_of_the_pages_is_formatted_as_the_code_is():
    ruff = shutil.which("ruff", path=os.path.dirname(sys.executable))
    for page in pages.names():
        for block in pages.blocks(pages.read(page)):
            if block.language == "python":
                done = subprocess.run(
                    [ruff, "format", "--check", "--quiet", "--line-length=100", "-"],
                    input=block.text,
                    text=True,
                )
                assert done.returncode == 0, f"{page}, line {block.line}"
