"""Files of figures: whole, readable again, and refused where they are something else."""

import pytest

from experiments.common import doc_tables, records
from experiments.common.program import ExperimentError

FIELDS = ("name", "steps", "loss")


def test_rows_come_back(tmp_path):
    path = str(tmp_path / "new" / "rows.csv")
    assert records.read_csv(path, FIELDS) == []
    rows = [{"name": "7", "steps": 3, "loss": 0.123456789}, {"name": "b", "steps": 4, "loss": 1.5}]
    records.write_csv(path, FIELDS, rows)
    assert records.read_csv(path, FIELDS, ["name"]) == [{**rows[0], "loss": 0.123457}, rows[1]]
    records.write_csv(path, FIELDS, rows, digits=2)
    assert records.read_csv(path, FIELDS, ["name"])[0]["loss"] == 0.12


def test_rows_are_appended_one_by_one(tmp_path):
    path = str(tmp_path / "new" / "rows.csv")
    for steps in (1, 2):
        records.append_csv(path, FIELDS, {"name": "a", "steps": steps, "loss": 0.5})
    assert [row["steps"] for row in records.read_csv(path, FIELDS, ["name"])] == [1, 2]


@pytest.mark.parametrize(
    "text, message",
    [
        ("a,b\n1,2\n", "columns must be name,steps,loss; move it away"),
        ("name,steps,loss\na,1\n", "a row is not complete; delete that row"),
        ("name,steps,loss\na,many,1\n", "a row is not complete; delete that row"),
    ],
)
def test_other_files_are_refused(text, message, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(text)
    with pytest.raises(ExperimentError, match=f"rows.csv: {message}"):
        records.read_csv(str(path), FIELDS, ["name"])
    assert path.read_text() == text


def test_a_file_that_cannot_be_written_stays(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("old")
    with pytest.raises(TypeError):
        records.write_json(str(path), {"value": object()})
    with pytest.raises(ValueError):
        records.write_csv(str(path), FIELDS, [{"name": "a", "other": 1}])
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["rows.csv"]


def test_markdown():
    assert doc_tables.markdown(("", "a", "b"), "lr", [["x", 1, ""]]) == [
        "| | a | b |",
        "|---|---:|---:|",
        "| x | 1 | |",
    ]
