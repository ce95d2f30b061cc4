r"""How many rounds of refinement are worth their time, and by which descent?

    python -m experiments.rate_distortion.refinement_rounds
    python -m experiments.rate_distortion.refinement_rounds --rounds=6 --qualities=2,8 --page= \
        --descents=product,product-float32,straight,backtracking,softened,flips,signs,priced \
        --output=experiments/results/descents.csv

Codes pictures with 0, 3, 6, .. rounds (`gllmm_tf/codec/refinement.py`) into real files and decodes them,
with the product's descent or others (`descents.py`), in bfloat16 where the processor has it or, with
"-float32" behind the name of the descent, in float32:

    cost     lambda 255^2 MSE + bits per pixel, what the model was trained for and the rounds lower
    worth    how far the cost is below that without rounds, in percent of the rate without rounds
    seconds  of the whole encoding, after one of the same size

By default the pictures are the two sample photographs, which the default model was not trained on, and the
rounds those of `--effort`. The figures go to a CSV, those of the product's descent by effort into
docs/usage.md too. Five to ten minutes per descent on two cores.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Sequence

from absl import flags
from tqdm import tqdm

from experiments.common import doc_tables, places, program, records
from experiments.common.pictures import find_images, read_image
from experiments.common.program import ExperimentError
from experiments.rate_distortion.cost import cost_of, load_variable_rate, worth
from experiments.rate_distortion.descents import DESCENTS
from gllmm_tf import metrics
from gllmm_tf.cli.parser import EFFORTS
from gllmm_tf.codec.refinement import Refiner

FIELDS = (
    "image",
    "quality",
    "descent",
    "rounds",
    "bytes",
    "bpp",
    "psnr",
    "cost",
    "worth",
    "seconds",
)


IN_FLOAT32 = "-float32"


def refiner_of(codec, name: str) -> Refiner:
    """Returns what searches by a descent of `DESCENTS`, in float32 if the name ends so."""
    descent = DESCENTS[name.removesuffix(IN_FLOAT32)]
    return Refiner(codec.model_file, descent, bfloat16=False if IN_FLOAT32 in name else None)


def measure(codec, path: str, quality: float, rounds: Sequence[int]) -> list[dict]:
    """Returns a row per number of rounds; `worth` is against the first of them."""
    image = read_image(path)
    codec.compress(image, quality, refine=1)
    rows = []
    for count in rounds:
        start = time.perf_counter()
        data = codec.compress(image, quality, refine=count)
        seconds = time.perf_counter() - start
        psnr = metrics.psnr(image, codec.decompress(data))
        bpp = 8 * len(data) / image[..., 0].size
        cost = cost_of(codec, quality, bpp, psnr)
        row = dict(rounds=count, bytes=len(data), bpp=bpp, psnr=psnr, cost=cost, seconds=seconds)
        rows.append({**row, "worth": worth(rows[0] if rows else row, row)})
    return rows


def format_table(rows: Sequence[dict]) -> str:
    """Returns a line per row, and the mean worth of each descent and number of rounds."""
    lines = [
        "picture               quality  descent       rounds    bytes     PSNR    cost   worth  seconds"
    ]
    for row in rows:
        lines.append(
            "{image:22s} {quality:6g}  {descent:13s} {rounds:6d} {bytes:8d} {psnr:8.3f} {cost:7.4f} "
            "{worth:6.1f}% {seconds:8.2f}".format(**row)
        )
    for descent in dict.fromkeys(row["descent"] for row in rows):
        means = []
        for count in dict.fromkeys(row["rounds"] for row in rows):
            found = [r["worth"] for r in rows if (r["descent"], r["rounds"]) == (descent, count)]
            means.append(f"{count} rounds {sum(found) / len(found):.1f} %")
        lines.append(f"mean worth, {descent}: " + ", ".join(means))
    return "\n".join(lines)


def effort_table(rows: Sequence[dict]) -> list[str]:
    """Returns what each effort of the product is worth, as Markdown.

    Args:
        rows: As in the CSV, numbers or their text.
    """
    rows = [row for row in rows if row["descent"] == "product"]
    qualities = sorted({float(row["quality"]) for row in rows})

    def values(field: str, rounds: int, quality: float | None = None) -> list[float]:
        found = [
            float(row[field])
            for row in rows
            if int(row["rounds"]) == rounds and quality in (None, float(row["quality"]))
        ]
        if not found:
            raise ExperimentError(
                f"{rounds} rounds were not measured; give --rounds all of --effort."
            )
        return found

    head = ["`--effort`", "rounds", *(f"worth at quality {q:g}" for q in qualities), "seconds"]
    lines = []
    for effort, rounds in enumerate(EFFORTS):
        worths = [statistics.mean(values("worth", rounds, q)) for q in qualities]
        cells = [f"{worth:.1f} %" if rounds else "" for worth in worths]
        seconds = statistics.median(values("seconds", rounds))
        lines.append([effort, rounds, *cells, f"{seconds:.1f}"])
    return doc_tables.markdown(head, "rr", lines)


def define_flags() -> None:
    program.define_images(places.SAMPLES)
    program.define_model()
    program.define_qualities(["2", "5", "8"])
    flags.DEFINE_list("rounds", [str(n) for n in EFFORTS], "Rounds; 0 is always there.")
    flags.DEFINE_list("descents", ["product"], f"Of {', '.join(DESCENTS)}.")
    flags.DEFINE_string("output", f"{places.RESULTS}/refinement_rounds.csv", "CSV.")
    flags.DEFINE_string("page", f"{places.DOCS}/usage.md", "Page with the table; empty for none.")


def main(f: flags.FlagValues) -> None:
    rounds = sorted({0, *program.numbers("rounds", f.rounds, int)})
    qualities = program.numbers("qualities", f.qualities)
    codec = load_variable_rate(f.model)
    if unknown := {d.removesuffix(IN_FLOAT32) for d in f.descents} - set(DESCENTS):
        raise ExperimentError(f"--descents: {', '.join(unknown)} is none of {', '.join(DESCENTS)}.")
    jobs = list(itertools.product(find_images(f.images).items(), qualities))
    rows = []
    for descent in f.descents:
        codec.refiner = refiner_of(codec, descent)
        for (name, path), quality in tqdm(jobs, desc=descent, unit="job", leave=False):
            about = {"image": name, "quality": quality, "descent": descent}
            rows += [{**about, **row} for row in measure(codec, path, quality, rounds)]
            records.write_csv(f.output, FIELDS, rows)
    print(format_table(rows))
    if f.page and "product" in f.descents:
        doc_tables.insert(f.page, "effort", "\n".join(effort_table(rows)))


if __name__ == "__main__":
    program.run(main, define_flags)
