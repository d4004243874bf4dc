"""metrics.csv: one row an epoch, for spreadsheets and pandas."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo_callbacks.scalars import scalars
from zoo_callbacks.told import Result, Row
from zoo_callbacks.whole_file import write_whole

__all__ = ["CsvFile", "csv_text"]


def csv_text(rows: Iterable[Mapping[str, Any]]) -> str:
    r"""Returns rows as CSV under a header.

    Columns: epoch, phase, the metrics in the order in which they come, seconds, best (0 or 1).

    >>> csv_text([{"epoch": 1, "phase": "train", "lr": 0.1, "seconds": 2.5, "best": True}])
    'epoch,phase,lr,seconds,best\n1,train,0.1,2.5,1\n'
    """
    table = [
        {
            "epoch": row["epoch"], "phase": row["phase"], **scalars(row),
            "seconds": row["seconds"], "best": int(row["best"]),
        }
        for row in rows
    ]  # fmt: skip
    last = ("seconds", "best")
    names = dict.fromkeys(name for line in table for name in line)
    columns = [name for name in names if name not in last]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*columns, *last], lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()


class CsvFile:
    """Writes metrics.csv anew after each epoch, so that no row is double, missing or torn.

    Args:
        run_path: A fact of the run: its folder.
        essential: Read by the engine: whether the run stops when this fails.
    """

    def __init__(self, *, run_path: Path, essential: bool = False) -> None:
        self._path = run_path / "metrics.csv"
        self._rows: list[Row] = []

    def resumed(self, rows: Sequence[Row]) -> None:
        """Takes over the epochs of the processes before, also those that were never written."""
        self._rows = list(rows)
        self._write()

    def epoch_ended(self, row: Row) -> None:
        """Adds a row."""
        self._rows.append(row)
        self._write()

    def run_ended(self, result: Result) -> None:
        """Writes what the run itself says."""
        self._rows = list(result.rows)
        self._write()

    def _write(self) -> None:
        write_whole(self._path, csv_text(row.as_dict() for row in self._rows))
