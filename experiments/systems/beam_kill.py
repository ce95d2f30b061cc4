"""Does the Beam pipeline continue after a worker was killed, and repeat nothing?

    pip install -e '.[beam]'
    python -m experiments.systems.beam_kill

draws 48 small pictures and damages three, runs `python -m gllmm_tf.beam` on them with two worker
processes, kills one worker with SIGKILL when --after files are finished, sees how that run ends (one
that stands still is killed too), and runs the same command again. Checked is that

    every good picture has its file, with the bytes that a codec in this process gives;
    what was finished before the second run was not written again;
    the manifest names each file once: finished ones as skipped, the others as compressed, the damaged
    ones as failed with a reason, with the right checksums, and the counters agree with it;
    no half-written file is left.

Prints what happened, and a line that counts the faults; exit status 1 if there is one. It takes a few
minutes.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
from absl import flags
from PIL import Image

from experiments.common import pictures as pictures_lib
from experiments.common import program
from experiments.common.program import ExperimentError, LimitError
from gllmm_tf.codec.base import Codec

QUALITY = 4.0
WORKERS = 2
START = 600.0  # seconds that workers may take to finish their first file
WORKER_MODULE = "sdk_worker_main"  # of Beam


def draw_pictures(folder: pathlib.Path, count: int) -> dict[str, np.ndarray | None]:
    """Writes PNG files into two folders; returns {name: pixels, or None for a damaged one}."""
    rng = np.random.default_rng(7)
    pictures = {}
    for i in range(count):
        name = f"{'even' if i % 2 == 0 else 'odd'}/{i:02d}.png"
        pixels = pictures_lib.draw(rng, 64 + 5 * i, 96 + 3 * i)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        pictures[name] = pixels
    cut, text, deep = (list(pictures)[i] for i in (3, count // 2, count - 2))
    data = (folder / cut).read_bytes()
    (folder / cut).write_bytes(data[: len(data) // 2])
    (folder / text).write_text("no picture")
    Image.fromarray(np.zeros([8, 8], np.uint16)).save(folder / deep)
    return {**pictures, cut: None, text: None, deep: None}


# Running and killing --------------------------------------------------------------------------


def start(folder: pathlib.Path, model: str | None) -> subprocess.Popen:
    """Starts the pipeline in a session of its own; it writes to FOLDER/log."""
    command = [
        *(sys.executable, "-m", "gllmm_tf.beam"),
        *(f"--input={folder}/in/**.png", f"--output_dir={folder}/out", f"--quality={QUALITY}"),
        *("--direct_running_mode=multi_processing", f"--direct_num_workers={WORKERS}"),
    ]
    command += [f"--model={model}"] if model else []
    with open(folder / "log", "w") as log:
        return subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )


def workers_of(process: subprocess.Popen) -> list[int]:
    """Process numbers of the Python workers in the session of `process`."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            pid = int(entry.name)
            words = (entry / "cmdline").read_bytes().split(b"\0")
            is_python = b"python" in os.path.basename(words[0])
            if os.getsid(pid) == process.pid and is_python:
                found += [pid] if WORKER_MODULE.encode() in b" ".join(words) else []
    return sorted(found)


def finished(folder: pathlib.Path) -> set[str]:
    """Names of the pictures that have a record."""
    records = folder / "out" / "_records"
    return {str(p.relative_to(records))[: -len(".json")] for p in records.rglob("*.json")}


def end(process: subprocess.Popen) -> None:
    """Ends the whole session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def give_up(folder: pathlib.Path, process: subprocess.Popen, why: str) -> None:
    """Ends the session and raises ExperimentError with the end of its log."""
    end(process)
    raise ExperimentError(f"{why}:\n{(folder / 'log').read_text()[-3000:]}")


def run_and_kill(folder: pathlib.Path, f: flags.FlagValues) -> str:
    """Runs until a worker is killed and the run has ended; returns what happened, in words."""
    process = start(folder, f.model)
    deadline = time.monotonic() + START
    while len(finished(folder)) < f.after:
        if process.poll() is not None or time.monotonic() > deadline:
            give_up(folder, process, "the first run did not get to the kill")
        time.sleep(0.02)
    workers = workers_of(process)
    if len(workers) != WORKERS:
        give_up(folder, process, f"{len(workers)} workers, not {WORKERS}")
    os.kill(workers[-1], signal.SIGKILL)
    at_kill = len(finished(folder))
    count, since = at_kill, time.monotonic()
    while process.poll() is None and time.monotonic() - since < f.still:
        time.sleep(0.1)
        if len(finished(folder)) != count:
            count, since = len(finished(folder)), time.monotonic()
    how = "stood still and was ended" if process.poll() is None else f"ended, {process.returncode}"
    end(process)
    return f"a worker was killed at {at_kill} files; the run {how} at {len(finished(folder))}"


# Checking -------------------------------------------------------------------------------------


def state(folder: pathlib.Path, names) -> dict[str, tuple]:
    """{name: (bytes of the file, times of the file and of its record)}."""
    out = folder / "out"
    return {
        name: (
            (out / f"{name}.gllmm").read_bytes(),
            (out / f"{name}.gllmm").stat().st_mtime_ns,
            (out / "_records" / f"{name}.json").stat().st_mtime_ns,
        )
        for name in names
    }


def faults_of_files(folder, pictures, before, model: str | None) -> list[str]:
    """What is wrong with the files after the second run, a line each."""
    faults = []
    out = folder / "out"
    codec = Codec.load(model)
    good = {name for name, pixels in pictures.items() if pixels is not None}
    files = {str(p.relative_to(out))[: -len(".gllmm")] for p in out.rglob("*.gllmm")}
    if files != good:
        faults.append(f"files without or beyond the good pictures: {sorted(files ^ good)}")
    for name in sorted(good & files):
        if (out / f"{name}.gllmm").read_bytes() != codec.compress(pictures[name], QUALITY):
            faults.append(f"{name}: not the codec's bytes")
    again = [name for name, now in state(folder, before).items() if now != before[name]]
    if again:
        faults.append(f"finished before and written again: {again}")
    left = [p.name for p in out.iterdir() if p.name not in ("even", "odd", "_records")]
    if left != ["manifest.jsonl"]:
        faults.append(f"left over: {left}")
    return faults


def faults_of_records(folder, pictures, before, text: str) -> list[str]:
    """What is wrong with manifest and counters after the second run, a line each."""
    faults = []
    lines = (folder / "out" / "manifest.jsonl").read_text().splitlines()
    rows = {os.path.relpath(r["input"], folder / "in"): r for r in map(json.loads, lines)}
    if len(lines) != len(pictures) or set(rows) != set(pictures):
        faults.append(f"the manifest has {len(lines)} lines for {len(pictures)} files")
    wanted = {n: "failed" if pixels is None else "compressed" for n, pixels in pictures.items()}
    wanted.update(dict.fromkeys(before, "skipped"))
    for name, row in rows.items():
        if row["status"] != wanted.get(name):
            faults.append(f"{name}: {row['status']} in the manifest, not {wanted.get(name)}")
        if row["input_sha256"] != sha256(folder / "in" / name):
            faults.append(f"{name}: wrong checksum of the input")
        if row["status"] == "failed":
            faults += [] if row["error"] else [f"{name}: failed without a reason"]
        elif row["output_sha256"] != sha256(folder / "out" / row["output"]):
            faults.append(f"{name}: wrong checksum of the output")
    for status, count in collections.Counter(wanted.values()).items():
        if not re.search(rf"\b{status} {count}\b", text):
            faults.append(f"the counters do not say {status} {count}: {text[-500:]}")
    return faults


def sha256(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def define_flags() -> None:
    program.define_model()
    flags.DEFINE_integer("files", 48, "Pictures, damaged ones included.", 12)
    flags.DEFINE_integer("after", 10, "Finished files at which a worker is killed.", 1)
    flags.DEFINE_float("still", 60.0, "Seconds without progress after which a run is ended.")


def main(f: flags.FlagValues) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        pictures = draw_pictures(folder / "in", f.files)
        print(run_and_kill(folder, f))
        before = state(folder, finished(folder))
        second = start(folder, f.model)
        if second.wait():
            give_up(folder, second, f"the second run ended with status {second.returncode}")
        text = (folder / "log").read_text()
        print(text.splitlines()[-1])
        faults = faults_of_files(folder, pictures, before, f.model)
        faults += faults_of_records(folder, pictures, before, text)
    for fault in faults:
        print(f"WRONG: {fault}")
    summary = f"{len(pictures)} files, {len(before)} finished in the first run"
    print(f"{summary}; {len(faults)} faults")
    if faults:
        raise LimitError(f"{len(faults)} faults; they stand above")


if __name__ == "__main__":
    program.run(main, define_flags)
