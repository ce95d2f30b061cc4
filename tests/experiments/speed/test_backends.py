"""The comparison of the backends' costs: its table, and one turn with a tiny model."""

import json
import os

import pytest

pytest.importorskip("tensorflow")

import pages  # noqa: E402

from experiments.common import doc_tables  # noqa: E402
from experiments.speed import backends  # noqa: E402


def test_warm_seconds_of_both(tiny_model_path, sample_pixels):
    found = backends.warm(sample_pixels, 4.0, 1, tiny_model_path)
    assert {name: list(seconds) for name, seconds in found.items()} == {
        "encode": list(backends.NAMES),
        "decode": list(backends.NAMES),
    }
    assert all(value > 0 for seconds in found.values() for value in seconds.values())


def test_table_of_the_page_is_that_of_the_results():
    with open(pages.ROOT / "experiments" / "results" / "backends.json") as file:
        found = json.load(file)
    text = "\n".join(backends.table(found))
    assert doc_tables.extract(backends.PAGE, "backends").strip() == text
    assert os.path.samefile(backends.PAGE, pages.ROOT / "docs" / "results.md")
