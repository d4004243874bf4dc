r"""Predictions in a file, row by row as they come: CSV, JSON, JSON lines, Parquet.

CSV is for people and spreadsheets: texts are made safe by :func:`safe_cell`. JSON lines are for
programs: one object a line, every name as it is. A byte of a file name that is no UTF-8 is a lone
surrogate in JSON (as Python's ``os.fsdecode`` makes it, so ``os.fsencode`` takes it back), and
``\xff`` in CSV and Parquet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from zoo.disk import atomic_file, machine_errors
from zoo.errors import PluginError, UsageError, printable
from zoo.evaluation.predict.cells import safe_cell, unicode_text

if TYPE_CHECKING:
    from zoo.evaluation.predict.records import Columns, Prediction

__all__ = ["SUFFIXES", "JsonRows", "Rows", "check_output", "csv_line", "open_rows", "whole_file"]


_QUOTED = re.compile('[",\r\n]')


class Rows(Protocol):
    """Takes predictions, some at a time. Leaving its block ends the file."""

    def write(self, predictions: Sequence[Prediction]) -> None:
        """Writes some rows."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: object, error: object, trace: object) -> None: ...


class _Closing:
    """Closes a text file at the end of its block."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._file.close()


class _CsvRows(_Closing):
    def __init__(self, path: Path, columns: Columns) -> None:
        super().__init__(path.open("w", encoding="utf-8", newline=""))
        self._columns = columns
        self._file.write(csv_line(columns.names))

    def write(self, predictions: Sequence[Prediction]) -> None:
        self._file.writelines(csv_line(p.cells(self._columns)) for p in predictions)


def csv_line(cells: Iterable[str | float | None]) -> str:
    r"""Returns a line of CSV in which no text is a formula, numbers in six digits.

    The csv module of Python before 3.13 does not quote a carriage return, which ends a line.

    >>> csv_line(["a,b", "=1", 0.25, None])
    '"a,b",\'=1,0.25,\n'
    """
    return ",".join(map(_csv_cell, cells)) + "\n"


def _csv_cell(value: str | float | None) -> str:
    if not isinstance(value, str):
        return "" if value is None else f"{value:.6g}"
    text = safe_cell(value)
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


class JsonRows(_Closing):
    """One JSON array, an object a line.

    Args:
        file: Where to; closed at the end of the block.
        columns: What is asked for.
    """

    def __init__(self, file: TextIO, columns: Columns) -> None:
        super().__init__(file)
        self._columns = columns
        self._between = "[\n"

    def write(self, predictions: Sequence[Prediction]) -> None:
        """Writes some objects."""
        for prediction in predictions:
            text = json.dumps(prediction.as_dict(self._columns), ensure_ascii=True)
            self._file.write(f"{self._between} {text}")
            self._between = ",\n"

    def end(self) -> None:
        """Writes what closes the array."""
        self._file.write("[]\n" if self._between.startswith("[") else "\n]\n")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Ends the array, if all went well, and closes the file."""
        try:
            if kind is None:
                self.end()
        finally:
            self._file.close()


class _JsonLines(_Closing):
    def __init__(self, path: Path, columns: Columns) -> None:
        super().__init__(path.open("w", encoding="ascii"))
        self._columns = columns

    def write(self, predictions: Sequence[Prediction]) -> None:
        self._file.writelines(
            json.dumps(prediction.as_dict(self._columns), ensure_ascii=True) + "\n"
            for prediction in predictions
        )


class _ParquetRows:
    """A group of rows for some thousand predictions, so that a reader need not take all at once."""

    _GROUP = 8192

    def __init__(self, path: Path, columns: Columns) -> None:
        import pyarrow
        from pyarrow import parquet

        self._arrow, self._columns = pyarrow, columns
        text, number = pyarrow.string(), pyarrow.float32()
        scores = {"score", *(f"score_{rank}" for rank in range(1, columns.top_k + 1))}
        last = 3 + 2 * columns.top_k
        self._schema = pyarrow.schema([
            (unicode_text(name), number if name in scores or last <= place < end else text)
            for end in (len(columns.names) - 1,)
            for place, name in enumerate(columns.names)
        ])  # fmt: skip
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._waiting: list[Prediction] = []

    def write(self, predictions: Sequence[Prediction]) -> None:
        self._waiting += predictions
        if len(self._waiting) >= self._GROUP:
            self._flush()

    def _flush(self) -> None:
        rows = [
            [
                unicode_text(cell) if isinstance(cell, str) else cell
                for cell in p.cells(self._columns)
            ]
            for p in self._waiting
        ]
        columns = zip(*rows, strict=True)
        arrays = [
            self._arrow.array(list(values), field.type)
            for values, field in zip(columns, self._schema, strict=True)
        ]
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))
        self._waiting = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if self._waiting and kind is None:
                self._flush()
        finally:
            self._writer.close()


def _json(path: Path, columns: Columns) -> Rows:
    return JsonRows(path.open("w", encoding="ascii"), columns)


_KINDS: Mapping[str, Callable[[Path, Columns], Rows]] = {
    ".csv": _CsvRows,
    ".json": _json,
    ".jsonl": _JsonLines,
    ".parquet": _ParquetRows,
}
SUFFIXES: tuple[str, ...] = tuple(_KINDS)
"""Endings of the files that are written; each names its form."""


def open_rows(path: Path, columns: Columns, *, suffix: str) -> Rows:
    """Opens a new file for predictions.

    Args:
        path: The file, which may have any name while it is not finished.
        columns: What is asked for.
        suffix: One of ``SUFFIXES``.
    """
    return _KINDS[suffix.lower()](path, columns)


def check_output(path: Path, *, force: bool, suffixes: Iterable[str] = SUFFIXES) -> None:
    """Says before any work is done why a file could not be written at its end.

    Args:
        path: The file.
        force: Whether one that is there may be replaced.
        suffixes: Endings that it may have.

    Raises:
        UsageError: It is there, is no plain file, has no folder, or has another ending.
        PluginError: Parquet without pyarrow.
    """
    where, suffix = printable(path), path.suffix.lower()
    if suffix not in suffixes:
        raise UsageError(
            f"{where} has no ending that says what to write", hint=f"{', '.join(suffixes)}"
        )
    if path.exists() and not path.is_file():
        raise UsageError(f"{where} is no plain file", hint="choose another -o FILE")
    if path.exists() and not force:
        raise UsageError(f"{where} exists", hint="--force replaces it, or choose another file")
    if not path.parent.is_dir():
        raise UsageError(
            f"{where} cannot be written", found=f"no folder {printable(path.parent)}",
            hint=f"mkdir -p {printable(path.parent)}",
        )  # fmt: skip
    if suffix == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401  # whether it is there
        except ImportError:
            raise PluginError(
                f"{where} would be a Parquet file, and pyarrow is not installed",
                hint="pip install 'classifier-zoo[parquet]', or write .csv",
            ) from None


def whole_file(path: Path, fill: Callable[[Path], object]) -> None:
    """Puts a file in place when it is whole; until then, and on any error, all is as it was.

    Args:
        path: Where to.
        fill: Called with a path beside it, writes the file there.

    Raises:
        MachineError: The disk is full or cannot be written.
    """
    with machine_errors("writing", path, kept="the file that was there" * path.exists()):
        atomic_file(path, fill)
