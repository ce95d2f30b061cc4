"""Are picture files of every kind read right or refused, whatever is wrong with them?

    python -m experiments.systems.odd_pictures

makes 3,000 files under a seed (formats x depths x chunks x sizes x damage, see
`experiments/common/made_files.py`), reads each as `gllmm compress` and training do, in a process that may
take 4 GB, and counts what came of them by kind. A file has 60 s. It takes about two minutes on two
cores, puts the table into docs/robustness.md, and fails if one answer is wrong:

* a sound file that is refused, or read with other pixels than it holds;
* a file cut short that is read with other pixels than the whole;
* anything but one line of `ImageError`: another exception, a crash, too much memory or time.
"""

from __future__ import annotations

import collections
import multiprocessing
import os
import resource
import tempfile
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from absl import flags
from tqdm import tqdm

from experiments.common import doc_tables, program, records
from experiments.common.made_files import MAKERS, MadeFile, made_file
from experiments.common.places import RESULTS
from experiments.common.program import LimitError
from gllmm_tf.errors import ImageError
from gllmm_tf.files.images import read_image

FIELDS = ("kind", "inputs", "refused", "read", "wrong")
MEMORY = 4 << 30  # bytes
SECONDS = 60
PER_PROCESS = 200  # Files, so that what one leaves behind does not add up.


def answer(made: MadeFile, path: str) -> tuple[str, str]:
    """("refused" | "read" | "wrong", what was wrong) for one file, which is written to `path`."""
    with open(path, "wb") as file:
        file.write(made.data)
    try:
        pixels = read_image(path).pixels
    except ImageError as error:
        line = str(error)
        if not line.startswith(f"{path}: ") or not line.isprintable():
            return "wrong", f"not a line that names the file: {line!r}"
        if made.pixels is None or made.may_refuse:
            return "refused", ""
        return "wrong", f"refused: {line}"
    except Exception as error:  # noqa: BLE001 (which one is what is to be found)
        return "wrong", f"{type(error).__name__}: {error}"
    if made.any_pixels:
        return "read", ""
    if made.pixels is None:
        return "wrong", "read, though it is no picture"
    if pixels.shape != made.pixels.shape:
        return "wrong", f"{pixels.shape} pixels in place of {made.pixels.shape}"
    off = float(np.abs(pixels - made.pixels).max())
    return ("read", "") if off <= made.tolerance else ("wrong", f"off by {off:.2f}")


def answer_many(connection, seed: int, numbers: Sequence[int]) -> None:
    """What a process does: sends the answer to each file."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.filterwarnings("ignore", module="PIL")  # As the command line does.
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            connection.send(answer(made_file(seed, number), os.path.join(folder, "file")))


def answers(seed: int, count: int) -> Iterator[tuple[int, str, str]]:
    """(number, outcome, what was wrong) of all files."""
    context = multiprocessing.get_context("spawn")
    numbers = list(range(count))
    while numbers:
        block = numbers[:PER_PROCESS]
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=answer_many, args=(sender, seed, block))
        process.start()
        sender.close()
        done = 0
        try:
            for number in block:
                patience = SECONDS + 30 * (number == block[0])  # Python starts first.
                if not receiver.poll(patience):
                    raise EOFError(f"no answer within {SECONDS} s")
                yield (number, *receiver.recv())
                done += 1
        except EOFError as error:
            yield block[done], "wrong", str(error) or "the process died"
            done += 1
        finally:
            process.kill()
            process.join()
        numbers = numbers[done:]


def measure(seed: int, count: int) -> tuple[list[dict], list[str]]:
    """(a row for each kind, a line for each wrong answer)."""
    counts: dict[str, collections.Counter[str]] = {}
    faults = []
    for number, outcome, why in tqdm(answers(seed, count), total=count, unit="file", disable=None):
        kind = made_file(seed, number).kind
        counts.setdefault(kind, collections.Counter())[outcome] += 1
        if why:
            faults.append(f"file {number}, {kind}: {why}")
    rows = [
        {"kind": kind, "inputs": sum(c.values()), **{o: c[o] for o in FIELDS[2:]}}
        for kind, c in counts.items()
    ]
    total = {field: sum(row[field] for row in rows) for field in FIELDS[1:]}
    return [*rows, {"kind": "all", **total}], faults


def format_table(rows: Sequence[dict]) -> str:
    lines = [
        [f"{row[field]:,}" if field != "kind" else row[field] for field in FIELDS] for row in rows
    ]
    return "\n".join(doc_tables.markdown(FIELDS, "lr", lines))


def define_flags() -> None:
    flags.DEFINE_integer(
        "count", 3000, "Files, of which kinds take turns.", lower_bound=len(MAKERS)
    )
    flags.DEFINE_integer("seed", 0, "Of the files.")
    flags.DEFINE_string("output", f"{RESULTS}/odd_pictures.csv", "CSV.")
    program.define_page("robustness.md")


def main(f: flags.FlagValues) -> None:
    rows, faults = measure(f.seed, f.count)
    print(format_table(rows))
    records.write_csv(f.output, FIELDS, rows)
    if f.page:
        doc_tables.insert(f.page, "odd_pictures", format_table(rows))
    for fault in faults:
        print(fault)
    if faults:
        raise LimitError(f"{len(faults)} wrong answers, see above")


if __name__ == "__main__":
    program.run(main, define_flags)
