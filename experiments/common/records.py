"""What experiments write and read again: CSV and JSON files, whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Sequence

from experiments.common.program import ExperimentError
from gllmm_tf.files.atomic import write_bytes_atomic


def write_text(path: str, text: str) -> None:
    """Writes a file, and its folder where there is none."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    write_bytes_atomic(path, text.encode())


def write_json(path: str, value: object) -> None:
    """Writes JSON, indented."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_csv(path: str, fields: Sequence[str], rows: Iterable[dict], digits: int = 6) -> None:
    """Writes a CSV whose floats have `digits` significant digits; text stays as it is."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {k: f"{v:.{digits}g}" if isinstance(v, float) else v for k, v in row.items()}
        )
    write_text(path, text.getvalue())


def append_csv(path: str, fields: Sequence[str], row: dict) -> None:
    """Adds a row to a CSV, which is begun where there is none."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    new = not os.path.exists(path)
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, fields, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def read_csv(path: str, fields: Sequence[str], text_fields: Sequence[str] = ()) -> list[dict]:
    """Returns the rows of a CSV, numbers as numbers (whole ones as int); no file is no rows.

    Args:
        path: of the file.
        fields: the columns that it must have.
        text_fields: those of them that stay text.

    Raises:
        ExperimentError: it has other columns, or a row is not complete.
    """
    if not os.path.exists(path):
        return []
    with open(path, newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != tuple(fields):
            raise ExperimentError(f"{path}: columns must be {','.join(fields)}; move it away.")
        try:
            return [
                {k: v if k in text_fields else _number(v) for k, v in r.items()} for r in reader
            ]
        except (TypeError, ValueError):
            raise ExperimentError(f"{path}: a row is not complete; delete that row.") from None


def _number(text: str) -> float | int:
    try:
        return int(text)
    except ValueError:
        return float(text)
