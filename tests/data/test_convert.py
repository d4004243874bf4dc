"""Imports come back, whatever the names, and nothing half done stays; exports likewise."""

from __future__ import annotations

import json
import os
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from stacked_data import GENERATOR, Named, contents, picture_sizes, stacked

from zoo.data.exchange.convert import export_images, import_images
from zoo.data.exchange.safe_names import SafeNames
from zoo.data.reading.folder import read_folder
from zoo.data.reading.sources import read_path
from zoo.errors import DataError, MachineError, UsageError
from zoo.protocols import DataSet, Split


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("format", ["png", "webp"])
def test_an_import_comes_back(tmp_path, colour, format):
    data = stacked(colour=colour)
    told = []
    written = import_images(data, tmp_path / "out", format=format,
                            progress=lambda done, total: told.append((done, total)))  # fmt: skip
    assert written.path == tmp_path / "out"
    assert dict(written.splits) == {"train": 9, "val": 9, "test": 9}
    assert (written.num_images, written.num_classes, written.notes) == (27, 3, ())
    assert told[-1] == (27, 27)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "classes.json",
        "test",
        "train",
        "val",
    ]
    assert (tmp_path / "out" / "val" / "bee" / f"val-1.{format}").is_file()
    back = read_path(tmp_path / "out", seed=0)
    assert back.classes == data.classes
    assert contents(back) == contents(data)
    assert not back.notes


def test_a_jpeg_import_is_near(tmp_path):
    pixels = np.full((4, 16, 16, 3), (200, 60, 30), dtype=np.uint8)
    split = Split(images=Named(pixels, ["a", "b", "c", "d"]), labels_N=np.array([0, 1, 0, 1]))
    data = DataSet(name="x", classes=("p", "q"), splits={"train": split, "val": split},
                   fingerprint="")  # fmt: skip
    import_images(data, tmp_path / "out", format="jpg")
    with Image.open(tmp_path / "out" / "train" / "p" / "a.jpg") as image:
        assert image.format == "JPEG"
        assert np.abs(np.asarray(image).astype(int) - pixels[0]).max() <= 2


@pytest.mark.parametrize(
    ("side", "size", "expected"),
    [
        ((60, 30), 20, (20, 10)),
        ((30, 60), 20, (10, 20)),
        ((9, 9), 20, (9, 9)),
        ((100, 1), 10, (10, 1)),
    ],
)
def test_the_longer_side_becomes_at_most_the_size(tmp_path, side, size, expected):
    data = stacked(side=side[::-1])
    import_images(data, tmp_path / "out", size=size)
    assert picture_sizes(tmp_path / "out") == {expected}


HOSTILE = [
    "../../etc",
    "/absolute",
    "a/b",
    "..",
    ".",
    "",
    ".hidden",
    "-rf",
    "con",
    "NUL.txt",
    "nul\0byte",
    "new\nline",
    "c:\\windows",
    "trailing. ",
    "x" * 300,
    "Cat",
    "cat",
    "cät",
    "ca\u0308t",
    "🦊",
    "\udcff",
    "b\u202eidi",
    "__MACOSX",
    "train",
    "quo'te\"s",
    "*?|<>",
    "name with space",
]


def test_hostile_class_and_file_names_stay_inside_and_come_back(tmp_path):
    pixels = GENERATOR.integers(0, 256, (len(HOSTILE), 4, 4), dtype=np.uint8)
    labels_N = np.arange(len(HOSTILE))
    splits = {s: Split(images=Named(pixels, HOSTILE), labels_N=labels_N) for s in ("train", "val")}
    data = DataSet(name="h", classes=tuple(HOSTILE), splits=splits, fingerprint="")
    (tmp_path / "in").mkdir()
    written = import_images(data, tmp_path / "in" / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    assert [p.name for p in (tmp_path / "in").iterdir()] == ["out"]
    parts = {part for p in (tmp_path / "in" / "out").rglob("*") for part in p.parts}
    folded = [p.name.casefold() for p in (tmp_path / "in" / "out" / "train").iterdir()]
    assert len(set(folded)) == len(HOSTILE)
    assert not parts & {"..", ".", ""}
    assert all(part.isprintable() and len(part.encode()) < 200 for part in parts if part != "/")
    assert "class names are in classes.json" in written.notes[0]
    back = read_folder(tmp_path / "in" / "out", seed=0)
    assert set(back.classes) == set(HOSTILE)
    assert contents(back) == contents(data)
    table = json.loads((tmp_path / "in" / "out" / "classes.json").read_bytes())
    assert table["classes"] == HOSTILE


def test_images_of_one_name_all_stay(tmp_path):
    names = ["a/1.png", "b/1.png", "1.jpg", "1", "1", "1.PNG"]
    pixels = GENERATOR.integers(0, 256, (6, 4, 4), dtype=np.uint8)
    split = Split(images=Named(pixels, names), labels_N=np.array([0, 0, 0, 0, 0, 1]))
    data = DataSet(name="x", classes=("p", "q"), splits={"train": split, "val": split},
                   fingerprint="")  # fmt: skip
    import_images(data, tmp_path / "out")
    assert contents(read_folder(tmp_path / "out", seed=0)) == contents(data)


@settings(max_examples=200)
@given(st.lists(st.text(st.characters(), max_size=120), max_size=8))
def test_safe_names(names):
    maker, again = SafeNames(), SafeNames()
    parts = [maker.part(name) for name in names]
    assert parts == [again.part(name) for name in names]
    assert len({part.casefold() for part in parts}) == len(parts)
    for part in parts:
        assert part
        assert part.isprintable()
        assert not re.search(r'[<>:"/\\|?*\0]|^[. ~-]|[. ]$', part)
        assert len(part.encode()) <= 180
        assert part.partition(".")[0].lower() not in ("con", "nul", "com1", "lpt9")
    for name in ("cat", "tabby cat", "Größe 3", "n02123045", "a_b-c.d", "猫"):
        assert SafeNames().part(name) == name


def test_a_used_destination_is_refused(tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("keep")
    (tmp_path / "file").write_text("keep")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "empty").mkdir()
    for name in ("used", "file", "link"):
        with pytest.raises(UsageError, match="is there already"):
            import_images(stacked(), tmp_path / name)
    assert (tmp_path / "used" / "mine.txt").read_text() == "keep"
    import_images(stacked(), tmp_path / "empty")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "file", "link", "used"]
    with pytest.raises(UsageError, match="is there already"):
        export_images(stacked(), tmp_path / "empty")


def test_a_failure_leaves_nothing(tmp_path):
    class Broken(Named):
        def read(self, index):
            if index in (3, 5):
                raise DataError(f"cannot read the image {index}", found="truncated")
            return super().read(index)

    pixels = np.zeros((9, 4, 4), np.uint8)
    split = Split(images=Broken(pixels, [f"{i}" for i in range(9)]), labels_N=np.arange(9) % 2)
    data = DataSet(name="x", classes=("a", "b"), splits={"train": split}, fingerprint="")
    for name in ("out", "out.npz", "out.csv", "idx"):
        convert = import_images if name == "out" else export_images
        with pytest.raises(DataError, match="2 of 9 images") as caught:
            convert(data, tmp_path / name)
        assert "cannot read the image 3: truncated" in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(MachineError, match="cannot be written"):
        import_images(stacked(), tmp_path / "no" / "such" / "place")


def test_a_kill_leaves_no_destination(tmp_path):
    child = os.fork()
    if child == 0:

        def stop(done, total):
            os._exit(137)

        import_images(stacked(count=90), tmp_path / "out", progress=stop)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 137
    assert not (tmp_path / "out").exists()
    assert all(p.name.startswith(".zoo-partial-") for p in tmp_path.iterdir())
    import_images(stacked(), tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("*.png"))) == 27


@pytest.mark.parametrize("size", [0, -1, 10_000])
def test_sizes_out_of_range(tmp_path, size):
    for convert, name in ((import_images, "a"), (export_images, "a.npz")):
        with pytest.raises(UsageError, match="out of range"):
            convert(stacked(), tmp_path / name, size=size)


def test_unknown_forms(tmp_path):
    with pytest.raises(UsageError, match="not written as bmp"):
        import_images(stacked(), tmp_path / "a", format="bmp")
    with pytest.raises(UsageError, match="nothing is exported to"):
        export_images(stacked(), tmp_path / "a.xlsx")
