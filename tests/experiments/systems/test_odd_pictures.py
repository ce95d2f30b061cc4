"""The program that tries odd picture files, with few of them."""

import numpy as np
import pytest

from experiments.common.made_files import MAKERS, made_file
from experiments.systems import odd_pictures


def test_every_answer_is_right():
    rows, faults = odd_pictures.measure(seed=1, count=30 * len(MAKERS))
    assert faults == []
    assert rows[-1] == {"kind": "all", "inputs": 300, "wrong": 0} | {
        outcome: sum(row[outcome] for row in rows[:-1]) for outcome in ("refused", "read")
    }
    by_kind = {row["kind"]: row for row in rows}
    assert by_kind["no pictures"]["read"] == by_kind["huge sizes declared"]["read"] == 0
    assert by_kind["TIFF: depths and kinds of samples"]["refused"] == 0
    assert odd_pictures.format_table(rows).count("\n") == len(rows) + 1


@pytest.mark.parametrize("number", range(len(MAKERS)))
def test_files_are_a_function_of_seed_and_number(number):
    first, second = made_file(3, number), made_file(3, number)
    assert first.data == second.data
    assert made_file(4, number + 10 * len(MAKERS)).data != first.data
    if first.pixels is not None:
        np.testing.assert_array_equal(first.pixels, second.pixels)


def test_wrong_answers_are_found(tmp_path):
    made = made_file(0, 0)
    path = str(tmp_path / "file")
    assert odd_pictures.answer(made, path) == ("read", "")
    for wrong, why in (
        (made._replace(pixels=made.pixels + 9), "off by"),
        (made._replace(pixels=made.pixels[:0]), "pixels in place of"),
        (made._replace(pixels=None), "no picture"),
        (made._replace(data=b""), "refused: "),
    ):
        outcome, said = odd_pictures.answer(wrong, path)
        assert outcome == "wrong" and why in said
