"""Predictions in files: what any name becomes, and that it can be read back."""

from __future__ import annotations

import csv
import json
import os
import string

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from zoo.errors import MachineError, PluginError, UsageError
from zoo.evaluation.predict.cells import safe_cell, unicode_text
from zoo.evaluation.predict.records import Columns, Prediction, predictions_of
from zoo.evaluation.predict.writers import check_output, open_rows, whole_file

# File names as the system has them: any bytes but / and NUL, of which not all are UTF-8.
NAMES = st.binary(min_size=1, max_size=30).map(
    lambda raw: os.fsdecode(raw.replace(b"\0", b"=").replace(b"/", b"\n"))
)
CLASSES = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\0")
    | st.sampled_from("=+-@'\t\r\n,\"|"),
    min_size=1, max_size=12,
)  # fmt: skip
NAME_LISTS = st.lists(NAMES, min_size=1, max_size=4)
CLASS_LISTS = st.lists(CLASSES, min_size=2, max_size=4, unique=True)
FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001  # the wide forms are meant


def written(tmp_path_factory, suffix, columns, predictions):
    path = tmp_path_factory.mktemp("out") / f"out{suffix}"
    with open_rows(path, columns, suffix=suffix) as rows:
        rows.write(predictions[:1])
        rows.write(predictions[1:])
    return path


def said(names, classes, **options):
    columns = Columns(classes=tuple(classes), **options)
    scores = torch.linspace(0.1, 1, len(classes)).expand(len(names), -1).softmax(1).contiguous()
    return columns, list(predictions_of(scores, names, columns))


def unescaped(cell: str) -> str:
    """The rule that the documentation states."""
    bare = cell.lstrip("'")
    return cell[1:] if cell.startswith("'") and bare.startswith(FORMULA) else cell


@given(st.text(max_size=20))
@example("=cmd|' /C calc'!A0")
@example("'=1")
@example("''+")
def test_a_cell_is_no_formula_and_nothing_is_lost(text):
    cell = safe_cell(text)
    assert not cell.startswith(FORMULA)
    assert unescaped(cell) == unicode_text(text)
    assert safe_cell(text) == text or text.lstrip("'").startswith(FORMULA) or not text.isascii()


@settings(max_examples=100)
@given(names=NAME_LISTS, classes=CLASS_LISTS)
def test_csv_reads_back_to_the_same_names(tmp_path_factory, names, classes):
    columns, predictions = said(names, classes, top_k=2, probabilities=True)
    path = written(tmp_path_factory, ".csv", columns, predictions)
    with path.open(encoding="utf-8", newline="") as file:  # UTF-8 whatever the names are made of
        header, *rows = csv.reader(file)
    assert [unescaped(cell) for cell in header] == [unicode_text(name) for name in columns.names]
    assert [unescaped(row[0]) for row in rows] == [unicode_text(name) for name in names]
    assert all(unescaped(row[1]) == unicode_text(classes[-1]) for row in rows)
    assert not any(cell.startswith(FORMULA) for row in [header, *rows] for cell in row)
    top = float(rows[0][2])
    assert top == pytest.approx(max(map(float, rows[0][7:-1])), abs=1e-6)


@settings(max_examples=100)
@given(names=NAME_LISTS, classes=CLASS_LISTS)
def test_json_reads_back_to_the_same_bytes(tmp_path_factory, names, classes):
    columns, predictions = said(names, classes, top_k=2, probabilities=True)
    lines = written(tmp_path_factory, ".jsonl", columns, predictions).read_text("ascii")
    whole = json.loads(written(tmp_path_factory, ".json", columns, predictions).read_text("ascii"))
    assert [json.loads(line) for line in lines.splitlines()] == whole
    assert [os.fsencode(row["image_id"]) for row in whole] == [os.fsencode(name) for name in names]
    assert list(whole[0]["probabilities"]) == list(classes)
    assert whole[0]["top"][0] == {"label": whole[0]["label"], "score": whole[0]["score"]}


@settings(max_examples=30)
@given(names=NAME_LISTS, classes=CLASS_LISTS)
def test_parquet_reads_back_to_the_same_names(tmp_path_factory, names, classes):
    parquet = pytest.importorskip("pyarrow.parquet")
    columns, predictions = said(names, classes, top_k=1, probabilities=True)
    failed = Prediction(image=names[0], error="no image")
    path = written(tmp_path_factory, ".parquet", columns, [*predictions, failed])
    table = parquet.read_table(path)
    assert table.column_names == [unicode_text(name) for name in columns.names]
    assert table.column(0).to_pylist() == [*map(unicode_text, names), unicode_text(names[0])]
    assert str(table.schema.field(5).type) == "float"
    assert table.column("error").to_pylist() == [""] * len(names) + ["no image"]
    assert table.column("score").to_pylist()[-1] is None


def test_the_rows_of_a_batch(tmp_path):
    columns = Columns(classes=("a", "b", "c"), top_k=2, probabilities=True)
    scores = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]])
    first, second = predictions_of(scores, ["x", "y"], columns)
    assert (first.label, second.label) == ("b", "a")
    assert [label for label, _ in second.top] == ["a", "c"]
    assert first.cells(columns)[0:7] == pytest.approx(
        ["x", "b", np.float32(0.7), "b", np.float32(0.7), "c", np.float32(0.2)]
    )
    assert len(first.cells(columns)) == len(columns.names) == 11
    error = Prediction(image="z", error="broken")
    assert error.cells(columns) == ["z", *[None] * 9, "broken"]
    plain = {"image_id": "z", "label": None, "score": None, "error": "broken"}
    assert error.as_dict(columns) == plain


@pytest.mark.parametrize("top_k", [0, 1, 3, 30])
def test_of_equally_probable_classes_the_first_is_the_answer(top_k):
    probabilities = torch.full((5, 30), 1 / 36)
    probabilities[:, [7, 3, 20]] = 1 / 12
    columns = Columns(classes=tuple(map(str, range(30))), top_k=top_k)
    said = list(predictions_of(probabilities, "abcde", columns))
    assert {one.label for one in said} == {"3"} == {str(int(probabilities[0].argmax()))}
    order = [3, 7, 20, *(n for n in range(30) if n not in (3, 7, 20))]
    assert [name for name, _ in said[0].top] == [str(n) for n in order[:top_k]]


def test_several_labels_are_those_above_the_threshold():
    columns = Columns(classes=("a", "b", "c"), multi_label=True, threshold=0.4)
    scores = torch.tensor([[0.6, 0.1, 0.5], [0.1, 0.2, 0.3]])
    both, none = predictions_of(scores, ["x", "y"], columns)
    assert (both.label, both.labels, none.label) == ("a|c", ("a", "c"), "")
    assert none.score == pytest.approx(0.3)
    assert both.as_dict(columns)["label"] == ["a", "c"]


def test_no_rows_is_an_empty_table(tmp_path_factory):
    columns = Columns(classes=("a", "b"))
    assert json.loads(written(tmp_path_factory, ".json", columns, []).read_text()) == []
    header = written(tmp_path_factory, ".csv", columns, []).read_text()
    assert header == "image_id,label,score,error\n"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("out.txt", "no ending that says"), ("out", "no ending that says"),
        ("there.csv", "exists"), ("folder.csv", "no plain file"),
        ("nowhere/out.csv", "no folder"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_said_before(tmp_path, name, words):
    (tmp_path / "there.csv").write_text("old")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UsageError) as caught:
        check_output(tmp_path / name, force=False)
    assert words in str(caught.value)
    assert caught.value.exit_code == 2
    check_output(tmp_path / "there.csv", force=True)


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(PluginError, match="pyarrow is not installed"):
        check_output(tmp_path / "out.parquet", force=False)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_file_is_whole_or_as_it_was(tmp_path, error):
    old, new = tmp_path / "old.csv", tmp_path / "new.csv"
    old.write_text("old")

    def fill(path):
        path.write_text("half")
        raise error

    for path in (old, new):
        with pytest.raises((KeyboardInterrupt, MachineError)):
            whole_file(path, fill)
    assert [p.name for p in tmp_path.iterdir()] == ["old.csv"]
    assert old.read_text() == "old"
    whole_file(old, lambda path: path.write_text(string.digits))
    assert old.read_text() == string.digits
