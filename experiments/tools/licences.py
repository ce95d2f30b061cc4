"""Counts the licences of the training pictures, for docs/models.md.

    python -m experiments.tools.licences MANIFEST.csv

reads a list of pictures with the columns `origin` and `licence` and writes a row per licence and origin
to experiments/published/training_data.csv, from which zoo_page.py makes its table. Takes no time.
"""

from __future__ import annotations

import collections
import csv
import re

from absl import flags

from experiments.common import places, program, records
from experiments.common.program import ExperimentError

FIELDS = ("licence", "origin", "pictures")
OUTPUT = f"{places.PUBLISHED}/training_data.csv"
LICENCES = [  # (what a manifest says, what it is called here); the first that fits
    (r"/", None),  # several, per file: as the manifest says it
    (r"CC0|public domain", "CC0 or public domain"),
    (r"CC[- ]BY-SA[- ](\d)", r"CC-BY-SA-\1.0"),
    (r"(?:CC[- ]BY[- ]|Attribution )(\d)", r"CC-BY-\1.0"),
    (r"(Unsplash|Pexels|Pixabay)", r"\1 licence"),
]


def count_licences(manifest: str) -> list[dict]:
    """Returns a row per licence and origin of a list of pictures.

    Raises:
        ExperimentError: the file cannot be read or has not the columns `origin` and `licence`.
    """
    try:
        with open(manifest, newline="") as file:
            counts = collections.Counter(
                (licence_of(row["licence"]), _origin(row["origin"])) for row in csv.DictReader(file)
            )
    except OSError as error:
        raise ExperimentError(f"{manifest}: {error.strerror}.") from None
    except KeyError as error:
        raise ExperimentError(f"{manifest}: has no column {error}.") from None
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [dict(zip(FIELDS, (*key, count))) for key, count in ordered]


def licence_of(text: str) -> str:
    """Returns the short name of a licence as a manifest words it."""
    text = re.sub(r"https?://\S+", "", text).strip()
    text = re.sub(r"\((?:repo|README|debian/|Debian|Attribution)[^)]*\)", "", text).strip(" :,")
    for pattern, name in LICENCES:
        match = re.search(pattern, text, re.IGNORECASE)
        if match:
            return match.expand(name) if name else text
    quoted = re.search(r'"([^"]+)"', text)
    return quoted[1] if quoted else text


def _origin(text: str) -> str:
    return re.sub(r"\s*@[0-9a-f]+$", "", text).replace("github:", "")


def main(f: flags.FlagValues, manifest: str) -> None:
    del f
    records.write_csv(OUTPUT, FIELDS, count_licences(manifest))
    print(OUTPUT)


if __name__ == "__main__":
    program.run(main, arguments=["MANIFEST"])
