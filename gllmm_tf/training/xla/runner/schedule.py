"""Several exported steps, one after the other, within one limit of time.

    python bundle/run.py --out=out --seconds=840 --steps_per_call=20 --precision=bfloat16

    bundle/schedule.json    parts: name, share of the time, which part each starts from
    bundle/NAME/            an exported step
    out/NAME/               what the runner writes for it

A part that starts from another one takes over its averaged weights and begins anew with everything else.
The same command continues what was stopped, with the time that it is given this time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from gllmm_tf.errors import GllmmError
from gllmm_tf.training.folder import INTERRUPTED, Stop
from gllmm_tf.training.xla.runner import checkpoints, manifest, pieces

FILE_NAME = "schedule.json"


class Part(NamedTuple):
    """An exported step in a schedule.

    Attributes:
        name: Of its folder.
        share: Of the time, relative to the other parts'.
        start: Name of the part before whose weights it begins with; "" for those it was exported with.
        pictures: Name of the part that has its pictures.
    """

    name: str
    share: float
    start: str
    pictures: str


def read(folder: str) -> list[Part]:
    """The parts of a bundle, in their order.

    Raises:
        GllmmError: there are none, or they cannot be read.
    """
    path = os.path.join(folder, FILE_NAME)
    content = pieces.read_json(path, "name the folder that export_bundle.py wrote")
    return [Part(**part) for part in content["parts"]]


def write(folder: str, parts: Sequence[Part]) -> None:
    """Writes the schedule of a bundle."""
    content = {"parts": [part._asdict() for part in parts]}
    pieces.write_json(os.path.join(folder, FILE_NAME), content)


def is_done(out: str) -> bool:
    """Whether the run in this folder has all of its steps."""
    found = checkpoints.found_in(out)
    if not found:
        return False
    facts, _ = checkpoints.read(found[-1], wanted=lambda name: False)
    return facts["step"] >= facts["record"]["settings"]["steps"]


def hand_over(source: str, source_step: str, step: str, out: str) -> None:
    """Writes the checkpoint with which a part begins that starts from another one.

    Args:
        source: What the runner wrote for the other part.
        source_step: The exported step of the other part.
        step: The exported step of the part.
        out: Its folder, in which nothing has begun.

    Raises:
        GllmmError: the other part has no checkpoint, or is of another network.
    """
    found = checkpoints.found_in(source)
    if not found:
        raise GllmmError(f"{source}: has no checkpoint to start {os.path.basename(step)} from")
    before, theirs = checkpoints.read(found[-1])
    facts, values = checkpoints.read(os.path.join(step, manifest.INITIAL))
    averages, own = (manifest.read(folder)["averages"] for folder in (source_step, step))
    for name in [name for name in values if name.startswith("model/")]:
        given = theirs.get(averages.get(name, name))
        if given is None or given.shape != values[name].shape:
            raise GllmmError(
                f"{source}: its {name} does not fit {os.path.basename(step)}, which is another "
                "network; export that without a start"
            )
        for target in {name, own.get(name, name)}:
            values[target] = given
    start = facts["record"]["start"]
    began = {
        "identity": None,
        "steps": before["step"],
        "pixels_seen": before["pixels"],
        "started_from": before["record"]["start"]["started_from"],
    }
    record = {**facts["record"], "start": {**start, "started_from": began}}
    checkpoints.write(checkpoints.path_of(out, 0), values, {**facts, "record": record})


def run(folder: str, out: str, seconds: float, arguments: Sequence[str], stop: Stop) -> int:
    """Runs the parts that are not done.

    Args:
        folder: The bundle.
        out: Folder with a folder for each part.
        seconds: That all of it may take; 0: the exported lengths.
        arguments: More of the runner's, for each part.
        stop: Ends it after the part that is at work, which hears of the signal too.

    Returns:
        The exit status of the first part that failed or was stopped; 0.

    Raises:
        GllmmError: the bundle cannot be used.
    """
    end = time.monotonic() + seconds
    parts = read(folder)
    left = [part for part in parts if not is_done(os.path.join(out, part.name))]
    for number, part in enumerate(left):
        place, step = os.path.join(out, part.name), os.path.join(folder, part.name)
        if part.start and not checkpoints.found_in(place):
            os.makedirs(place, exist_ok=True)
            hand_over(os.path.join(out, part.start), os.path.join(folder, part.start), step, place)
        data = os.path.join(folder, part.pictures, manifest.PICTURES)
        given = [f"--step={step}", f"--out={place}", f"--data={data}", *arguments]
        if seconds:
            share = part.share / sum(other.share for other in left[number:])
            given.append(f"--fit_seconds={max(1.0, share * (end - time.monotonic())):.1f}")
        print(f"{part.name}: part {parts.index(part) + 1} of {len(parts)}", file=sys.stderr)
        status = launch(folder, given, stop)
        if status or stop:
            return status or INTERRUPTED
    return 0


def launch(folder: str, arguments: Sequence[str], stop: Stop) -> int:
    """Runs the runner of the bundle in a process of its own; returns its exit status."""
    program = [sys.executable, "-m", "gllmm_tf.training.xla.runner", *arguments]
    path = os.pathsep.join(filter(None, [os.path.abspath(folder), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    # In a session of its own: a terminal's signal comes through `stop`, once.
    with subprocess.Popen(program, env=environment, start_new_session=True) as process:
        told = False
        try:
            while True:
                try:
                    return process.wait(timeout=0.2)
                except subprocess.TimeoutExpired:
                    if stop and not told:
                        process.terminate()
                        told = True
        except KeyboardInterrupt:  # the second signal
            process.terminate()
            raise


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line; returns the exit status, as the runner has it."""
    parser = argparse.ArgumentParser(
        prog="run.py",
        description="Trains the parts of a bundle. What is not listed goes to each part's runner.",
        allow_abbrev=False,
    )
    parser.add_argument("--out", required=True, help="folder for what the parts write")
    parser.add_argument("--bundle", default=os.path.dirname(os.path.abspath(sys.argv[0])))
    text = "time for all parts, compilation included; 0: the exported lengths"
    parser.add_argument("--seconds", type=float, default=0.0, help=text)
    args, rest = parser.parse_known_args(arguments)
    stop = Stop()
    try:
        with stop.on_signals():
            return run(args.bundle, args.out, args.seconds, rest, stop)
    except GllmmError as error:
        print(f"run.py: {error.with_flag()}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("run.py: interrupted", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
