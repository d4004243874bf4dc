"""CSV, TSV, JSON lines and Parquet files as rows. Cells are data and are never run or opened.

Limits: a line has at most ``MAX_LINE_BYTES``; a cell of a CSV file at most 131,072 characters (the
csv module's own). A text file is UTF-8, with or without a byte order mark.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from zoo.data.reading.scan import bullets, listed
from zoo.errors import DataError, PluginError, count_of, in_words, printable

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

__all__ = ["SUFFIXES", "Cell", "Table", "read_table"]

MAX_LINE_BYTES = 1_000_000
MAX_FILE_BYTES = 4_000_000_000

Cell: TypeAlias = "bool | int | float | str | list[Cell] | None"
"""What a cell can be. CSV has texts only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The rows of a file.

    Args:
        columns: Names of the columns, as they stand there.
        rows: The cells of each row, one a column.
        places: Where a person finds each row: the line of a text file, the number of the row in
            Parquet, both counted from 1.
        unit: ``line`` or ``row``: what ``places`` count.
        notes: What was noticed, a line each.
    """

    columns: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]
    places: Sequence[int]
    unit: str = "line"
    notes: Sequence[str] = ()


def read_table(path: Path) -> Table:
    """Returns the rows of a table, by the suffix of its name.

    Raises:
        DataError: It is no table, empty, damaged, or a row does not fit its header. Such rows are
            listed together.
        PluginError: Parquet without pyarrow.
    """
    where = printable(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{where} is not a table that is read", hint=", ".join(SUFFIXES))
    try:
        if not path.is_file():
            found = "a folder" if path.is_dir() else "nothing of that name"
            raise DataError(f"{where} is not a file", found=found)
        if (size := path.stat().st_size) > MAX_FILE_BYTES:
            raise DataError(
                f"{where} is too large",
                found=f"{size:,} bytes, at most {MAX_FILE_BYTES:,} are read",
            )
        if not size:
            raise DataError(f"{where} is an empty file (0 bytes)", hint="path,label as first line")
        table = reader(path)
    except OSError as error:
        raise DataError(f"{where} cannot be read", found=error.strerror or str(error)) from None
    if not table.rows:
        raise DataError(
            f"{where} has no rows",
            found=f"the columns {listed(table.columns)}" if table.columns else "blank lines",
            hint="a row an image",
        )
    return table


# ---- text -------------------------------------------------------------------------------------


def _lines(path: Path) -> Iterator[str]:
    """Yields the lines of a text file with their ends.

    Raises:
        DataError: A line is too long, holds a NUL, or is not UTF-8.
    """
    with path.open("rb") as file:
        number = 0
        while block := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if number == 1:
                if block[:2] in (b"\xff\xfe", b"\xfe\xff"):
                    _refuse(path, number, "UTF-16 text", "save it as UTF-8")
                block = block.removeprefix(b"\xef\xbb\xbf")
            if len(block) > MAX_LINE_BYTES:
                _refuse(path, number, f"a line of more than {MAX_LINE_BYTES:,} bytes")
            if b"\0" in block:
                _refuse(path, number, "a NUL byte: no text")
            try:
                yield block.decode("utf-8")
            except UnicodeDecodeError as error:
                at = f"byte 0x{block[error.start]:02x} is not UTF-8"
                _refuse(path, number, at, "save it as UTF-8")


def _refuse(path: Path, line: int, found: str, hint: str = "") -> NoReturn:
    raise DataError(f"{printable(path)}, line {line} cannot be read", found=found, hint=hint)


def _refuse_rows(path: Path, problems: Sequence[str], hint: str = "") -> NoReturn:
    raise DataError(
        f"{count_of(len(problems), 'row')} of {printable(path)} cannot be read\n"
        f"{bullets(problems)}",
        hint=hint,
    )


def _read_csv(path: Path) -> Table:
    """Reads comma separated values; of a header without a comma, by its semicolons or tabs."""
    return _separated(path, "," if path.suffix.lower() == ".csv" else "\t")


def _separated(path: Path, delimiter: str) -> Table:
    lines = _lines(path)
    notes: list[str] = []
    first = next(lines, "")
    if delimiter not in first:
        for other, name in ((";", "semicolons"), ("\t", "tabs"), (",", "commas")):
            if other in first:
                delimiter = other
                notes.append(f"{printable(path.name)} is read as separated by {name}")
                break
    reader = csv.reader(_chain(first, lines), delimiter=delimiter, strict=True)
    columns: tuple[str, ...] = ()
    rows: list[tuple[Cell, ...]] = []
    places: list[int] = []
    ragged: list[str] = []
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            _refuse(path, start, str(error), "check the quotes of that line")
        if cells is None:
            break
        if not any(cell.strip() for cell in cells):  # spreadsheets write blank rows as ,,
            continue
        if not columns:
            columns = tuple(cell.strip() for cell in cells)
            _check_columns(columns, path)
        elif len(cells) != len(columns):
            ragged.append(f"line {start}: {len(cells)} cells, the header has {len(columns)}")
        else:
            rows.append(tuple(cells))
            places.append(start)
    if ragged:
        _refuse_rows(path, ragged, "quote cells that hold the separator")
    return Table(columns=columns, rows=rows, places=places, notes=notes)


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _check_columns(columns: Sequence[str], path: Path) -> None:
    named = [name for name in columns if name]
    if twice := sorted({name for name in named if named.count(name) > 1}):
        raise DataError(f"{printable(path)} names columns twice", found=listed(twice))


def _read_json_lines(path: Path) -> Table:
    """Reads one JSON object a line. Columns are all keys, in the order in which they come up."""
    columns: dict[str, int] = {}
    objects: list[dict[str, Cell]] = []
    places: list[int] = []
    problems: list[str] = []
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            problems.append(f"line {number}: {printable(error)}")
            continue
        if not isinstance(found, dict):
            problems.append(f"line {number}: {type(found).__name__}, not an object")
            continue
        for key in found:
            columns.setdefault(key, len(columns))
        objects.append(found)
        places.append(number)
    if problems:
        _refuse_rows(path, problems, 'an object a line, as {"path": "a.png", "label": "cat"}')
    rows = [tuple(record.get(name) for name in columns) for record in objects]
    return Table(columns=tuple(columns), rows=rows, places=places)


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


# ---- Parquet ----------------------------------------------------------------------------------


def _read_parquet(path: Path) -> Table:
    """Reads columns of texts, numbers and lists. Others, images in cells too, are passed over."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise PluginError(
            f"{printable(path)} is a Parquet file, and pyarrow is not installed",
            hint="pip install 'classifier-zoo[parquet]', or save the table as .csv",
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            return _parquet_rows(file)
    except (pyarrow.ArrowException, OSError, ValueError, KeyError) as error:
        if getattr(error, "errno", None):  # the disk and not the content
            raise
        reason = in_words(error, kind=False)
    raise DataError(f"{printable(path)} is not a readable Parquet file", found=reason)


def _parquet_rows(file: ParquetFile) -> Table:
    from pyarrow import types

    tests = (
        types.is_string, types.is_large_string, types.is_string_view, types.is_integer,
        types.is_floating, types.is_boolean, types.is_dictionary, types.is_null,
    )  # fmt: skip

    def plain(kind: object) -> bool:
        return any(test(kind) for test in tests)

    def read(kind: object) -> bool:
        lists = types.is_list(kind) or types.is_large_list(kind)
        return plain(kind) or (lists and plain(kind.value_type))  # type: ignore[attr-defined]  # a list type

    schema = file.schema_arrow
    names = [field.name for field in schema if read(field.type)]
    rows: list[tuple[Cell, ...]] = []
    for batch in file.iter_batches(columns=names):
        rows += zip(*(column.to_pylist() for column in batch.columns), strict=True)
    others = [field.name for field in schema if not read(field.type)]
    return Table(
        columns=tuple(names), rows=rows, places=range(1, len(rows) + 1), unit="row",
        notes=[f"columns of no simple type are not read: {listed(others)}"] if others else (),
    )  # fmt: skip


_READERS: Mapping[str, Callable[[Path], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".parquet": _read_parquet,
}
SUFFIXES: tuple[str, ...] = tuple(_READERS)
"""Suffixes of the tables that are read."""
