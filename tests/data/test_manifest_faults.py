"""Manifests that are wrong: every row by its line, and any text is read or told."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from faults import NUM_ORDINARY, build_fault_directory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from manifest_files import COUNT, check_animals, write

from zoo.data.reading import tables
from zoo.data.reading.sources import read_path
from zoo.errors import DataError


def test_absolute_paths_are_taken_and_relative_ones_stay_inside(folder):
    (folder / "tables").mkdir()
    rows = [f"{folder / f'{n}.png'},{'cat' if n % 2 else 'dog'}" for n in range(COUNT)]
    check_animals(read_path(write(folder / "tables", ["path,label", *rows]), seed=0))
    rows = [f"../{n}.png,cat" for n in range(COUNT)]
    with pytest.raises(DataError) as caught:
        read_path(write(folder / "tables", ["path,label", *rows]), seed=0)
    assert f"line 2: ../0.png leads out of {folder / 'tables'}" in str(caught.value)


def test_every_wrong_row_is_told_by_its_line(folder):
    lines = [
        "path,label,split,weight",
        '0.png,"cat\non two lines",train,1',
        "1.png,dog,exam,1",
        "2.png,,train,1",
        ",dog,train,1",
        "3.png,dog,train,-1",
        "4.png,dog,train,nan",
        "5.png,dog,train,much",
        "",
        "6.png,dog,train,1",
        "6.png,cat,train,1",
        "7.png,dog,train,1",
        "7.png,dog,val,1",
        "https://example.org/a.png,dog,train,1",
        "\x1b[31mgone.png,dog,train,1",
        "one.png,dog,train,1",
    ]
    with pytest.raises(DataError) as caught:
        read_path(write(folder, lines), seed=0)
    text = str(caught.value)
    assert caught.value.exit_code == 3
    for line in (
        "line 4: the split is 'exam'",
        "line 5: no label",
        "line 6: no path",
        "line 7: the weight is -1",
        "line 8: the weight is nan",
        "line 9: the weight is 'much' is no number",
        "line 12: 6.png is also at line 11, with another label",
        "line 14: 7.png is also at line 13, with another split",
        "line 15: https://example.org/a.png is an address",
        r"\x1b[31mgone.png: no such file (line 16)",
        "one.png: no such file (line 17)",
    ):
        assert line in text
    assert "\x1b" not in text


def test_only_the_first_twenty_problems_are_listed(folder):
    rows = [f"gone{n}.png,cat" for n in range(50)]
    with pytest.raises(DataError) as caught:
        read_path(write(folder, ["path,label", *rows]), seed=0)
    assert "gone19.png" in str(caught.value)
    assert "gone20.png" not in str(caught.value)
    assert "and 30 more" in str(caught.value)
    assert "folder=DIRECTORY" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty file"),
        (b"\n\n", "blank lines"),
        (b"path,label\n", "has no rows"),
        (b"0.png,cat\n1.png,dog\n", "the first line must name the columns"),
        (b"path,path,label\na,b,c\n", "names columns twice"),
        (b"path,label\n0.png\n1.png,a,b\n", "line 3: 3 cells, the header has 2"),
        (b'path,label\n"0.png,cat\n1.png,dog\n', "line 2 cannot be read"),
        (b'path,label\n"0.png"x,cat\n', "line 2 cannot be read"),
        (b"path,label\n0.png,\xffcat\n", "byte 0xff is not UTF-8"),
        ("path,label\n0.png,cat\n".encode("utf-16"), "UTF-16"),
        (b"path,label\n0.png,c\0at\n", "a NUL byte"),
        (b"path,label\n" + b"x" * 1_100_000, "line 2 cannot be read"),
        (b'path,label\n0.png,"' + b"x\n" * 100_000, "field larger than field limit"),
        (b"path,label,split\n0.png,cat,val\n1.png,dog,val\n", "no row of the train split"),
        (b"path,label\n0.png,cat\n1.png,cat\n", "only the class cat"),
        (b"path,label,split\n0.png,a,train\n1.png,b,train\n2.png,c,val\n", "c in val (line 4)"),
    ],
)
def test_wrong_files(folder, content, found):
    (folder / "a.csv").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_path(folder / "a.csv", seed=0)
    assert found in str(caught.value)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("[1]", "line 1: list, not an object"),
        ('{"path": NaN}', "line 1: NaN is not JSON"),
        ("{", "line 1: Expecting"),
        ("[" * 100_000, "line 1: maximum recursion"),
        ('{"path": {"a": 1}, "label": "x"}', "line 1: a dict where a single value"),
        ('{"path": ["a"], "label": "x"}', "line 1: a list where a single value"),
        ('{"path": "a\\u0000.png", "label": "x"}', "line 1: a NUL in the path"),
        ('{"path": "\\ud800.png", "label": "x"}', "no such file"),
        ('{"path": ' + "9" * 5000 + "}", "line 1: Exceeds the limit"),
    ],
)
def test_wrong_json_lines(folder, line, found):
    with pytest.raises(DataError) as caught:
        read_path(write(folder, [line], "a.jsonl"), seed=0)
    assert found in str(caught.value) or ("no column" in str(caught.value) and "NaN" not in line)


def test_labels_are_data_whatever_they_look_like(folder):
    odd = ["=1+1", "<b>x</b>", "'; DROP TABLE", "{0} %s", "../..", "🦊"]
    with (folder / "a.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [("path", "label"), *((f"{n}.png", odd[n % 6]) for n in range(COUNT))]
        )
    data = read_path(folder / "a.csv", seed=0)
    assert data.classes == tuple(sorted(odd))


@pytest.mark.parametrize("on_bad", ["fail", "skip"])
def test_the_fault_directory(tmp_path, on_bad):
    expected = build_fault_directory(tmp_path / "d")
    files = {name: e for name, e in expected.items() if e.outcome != "left out"}
    with (tmp_path / "d" / "a.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "label"))
        for label in ("cat", "dog"):
            rows.writerows((f"{label}/ordinary-{n}.png", label) for n in range(NUM_ORDINARY))
        rows.writerows((name, name.partition("/")[0]) for name in files)
        rows.writerows((name, "cat") for name in ("cat/nowhere.png", "cat/pipe.png", "cat/loop"))
    unreadable = {name for name, e in files.items() if e.outcome == "header"} | {
        "cat/nowhere.png", "cat/pipe.png", "cat/loop"
    }  # fmt: skip
    if on_bad == "fail":
        with pytest.raises(DataError) as caught:
            read_path(tmp_path / "d" / "a.csv", seed=0)
        assert "cat/nowhere.png: no such file" in str(caught.value)
        return
    data = read_path(tmp_path / "d" / "a.csv", seed=0, on_bad="skip")
    assert set(data.bad) == unreadable
    for name in unreadable & set(files):
        assert expected[name].reason in data.bad[name]
    for part in data.splits.values():
        for index, label in enumerate(part.labels_N):
            name = part.images.name(index)
            assert name.startswith(data.classes[label] + "/")
            if name in expected and expected[name].outcome == "good":
                image = part.images.read(index)
                assert image.size == expected[name].size
                missed = np.subtract(image.getpixel((0, 0)), expected[name].colour)
                assert np.abs(missed).max() <= expected[name].tolerance


CELLS = st.text(max_size=8)


@settings(max_examples=60,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(st.lists(st.lists(CELLS, max_size=4), max_size=6), st.sampled_from(["csv", "tsv", "jsonl"]))
def test_any_table_is_read_or_told(folder, rows, suffix):
    path = folder / f"any.{suffix}"
    with path.open("w", newline="", encoding="utf-8", errors="surrogatepass") as file:
        file.write("path,label\n" if suffix == "csv" else "")
        csv.writer(file).writerows(rows)
    with pytest.raises(DataError):
        read_path(path, seed=0)


@settings(max_examples=60,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
                                 max_size=8), min_size=2, max_size=2),
                min_size=1, max_size=6))  # fmt: skip
def test_cells_come_back_as_they_were_written(tmp_path, rows):
    path = tmp_path / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])
    written = [row for row in rows if any(cell.strip() for cell in row)]
    if not written:
        with pytest.raises(DataError, match="has no rows"):
            tables.read_table(path)
        return
    assert [list(row) for row in tables.read_table(path).rows] == written


def test_a_missing_and_an_odd_file(tmp_path):
    with pytest.raises(DataError, match="is not a table"):
        tables.read_table(tmp_path / "a.xlsx")
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(DataError, match="a folder"):
        tables.read_table(tmp_path / "a.csv")
    with pytest.raises(DataError, match="nothing of that name"):
        tables.read_table(tmp_path / "b.csv")
