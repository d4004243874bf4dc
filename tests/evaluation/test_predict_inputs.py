"""Which images arguments mean."""

from __future__ import annotations

import io
import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from zoo.errors import DataError, UsageError
from zoo.evaluation.predict.inputs import collect, names_on, true_labels


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Six small images in two folders, some litter, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("in/cat/10.png", "in/cat/2.png", "in/dog/1.PNG", "in/x/dog/y/1.jpg", "one.png",
                 "in/.hidden.png"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_files_folders_and_patterns_in_the_order_of_the_arguments(photos):
    inputs = collect(["one.png", "in", "in/*/*.png", "in/**/*.jpg", photos / "one.png"])
    assert inputs.names == [
        "one.png",
        "in/cat/2.png", "in/cat/10.png", "in/dog/1.PNG", "in/x/dog/y/1.jpg",
        "in/cat/2.png", "in/cat/10.png",
        "in/x/dog/y/1.jpg",
        str(photos / "one.png"),
    ]  # fmt: skip
    assert any("notes.txt" in note for note in inputs.notes)
    assert inputs.read(1).size == (4, 4)


def test_a_pattern_of_folders_and_a_file_that_looks_like_a_pattern(photos):
    assert collect(["in/[cd]*"]).names == ["in/cat/2.png", "in/cat/10.png", "in/dog/1.PNG"]
    Image.new("RGB", (4, 4)).save(photos / "[1]?.png")
    assert collect(["[1]?.png"]).names == ["[1]?.png"]
    assert collect([photos / "no*.png"]).names == [str(photos / "no*.png")]  # a Path is no pattern


def test_a_file_that_is_not_there_is_found_out_when_it_is_read(photos):
    inputs = collect(["gone.png", "http://x/y.png", "one.png"])
    assert len(inputs) == 3
    for index, words in ((0, "No such file"), (1, "an address")):
        with pytest.raises(DataError) as caught:
            inputs.read(index)
        assert words in caught.value.found


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (["empty"], DataError, "no images below empty"),
        (["in/*.gif"], DataError, "no image matches"),
        (["in/*.txt"], DataError, "1 file without an image"), ([], UsageError, "no images"),
        ([""], UsageError, "a path is empty"), (["gone.csv"], DataError, "gone.csv is not a file"),
    ],
)  # fmt: skip
def test_what_means_no_image(photos, given, error, words):
    with pytest.raises(error) as caught:
        collect(given)
    assert words in str(caught.value)


def test_a_table_of_paths_with_and_without_labels(photos):
    (photos / "in" / "list.csv").write_text(
        "note,image,class\na,dog/1.PNG,dog\nb,gone.png,cat\nc,../one.png,cat\nd,cat/2,cat\n"
    )
    inputs = collect(["in/list.csv"])
    assert inputs.names == ["dog/1.PNG", "gone.png", "../one.png", "cat/2"]
    assert inputs.source(0) == photos.joinpath("in/dog/1.PNG").relative_to(photos)
    assert inputs.source(3).name == "2.png"
    assert inputs.problems[1] == "no such file"
    assert "leads out of" in inputs.problems[2]
    assert true_labels(inputs, ["dog"]) == {0: "dog"}
    (photos / "paths.jsonl").write_text('{"path": "one.png"}\n{"path": "in/cat/2.png"}\n')
    inputs = collect([], manifest="paths.jsonl")
    assert inputs.names == ["one.png", "in/cat/2.png"]
    assert not inputs.labels
    (photos / "nothing.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no column for the images"):
        collect(["nothing.csv"])


def test_the_nearest_folder_that_is_a_class_says_what_an_image_is(photos):
    inputs = collect(["in", "one.png"])
    assert true_labels(inputs, ["cat", "dog", "x"]) == {0: "cat", 1: "cat", 2: "dog", 3: "dog"}


@pytest.mark.skipif(sys.platform == "win32", reason="names there are text")
@given(
    names=st.lists(st.binary(min_size=1).filter(lambda n: b"\0" not in n), max_size=5),
    end=st.sampled_from([b"\n", b"\0"]),
    closed=st.booleans(),
)
def test_names_on_a_stream_are_bytes(names, end, closed):
    names = [name.replace(end, b"") or b"x" for name in names]
    text = end.join(names) + (end if closed and names else b"")
    assert [os.fsencode(name) for name in names_on(io.BytesIO(text), end=end)] == names


def test_names_on_standard_input(photos):
    inputs = collect(["-", "one.png"], stdin=lambda: names_on(io.BytesIO(b"in/dog\n\nin/*.x\n")))
    assert inputs.names == ["in/dog/1.PNG", "in/*.x", "one.png"]  # what comes in is no pattern
    with pytest.raises(DataError, match="names no image"):
        collect(["-"], stdin=list)
    with pytest.raises(UsageError, match="given twice"):
        collect(["-", "-"], stdin=lambda: ["one.png"])
