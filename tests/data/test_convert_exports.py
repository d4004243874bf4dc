"""Exports: arrays, IDX files and tables come back, and what they cannot hold is told."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from stacked_data import by_pixels, contents, picture_sizes, stacked

import zoo.api
from zoo.data.exchange.convert import export_images, import_images
from zoo.data.reading.folder import read_folder
from zoo.data.reading.idx import read_idx_file
from zoo.data.reading.manifest import read_manifest
from zoo.data.reading.sources import read_path
from zoo.data.subset import subset
from zoo.errors import UsageError


@pytest.mark.parametrize("colour", [False, True])
def test_arrays_come_back(tmp_path, colour):
    data = stacked(("zebra", "ant"), colour=colour)
    export_images(data, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as archive:
        assert archive["train_images"].shape == ((9, 6, 5, 3) if colour else (9, 6, 5))
        assert np.array_equal(archive["val_labels"], data.splits["val"].labels_N)
        assert archive["classes"].tolist() == ["zebra", "ant"]
    back = read_path(tmp_path / "a.npz", seed=0)
    assert back.classes == data.classes
    assert contents(back) == contents(data)


def test_idx_files_come_back(tmp_path):
    data = stacked(("zebra", "ant"))
    export_images(data, tmp_path / "a")
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [
        "classes.txt",
        *(f"{s}-{w}-ubyte.gz" for s in ("t10k", "train", "val") for w in ("images-idx3",
                                                                        "labels-idx1")),
    ]  # fmt: skip
    stored = read_idx_file(tmp_path / "a" / "train-images-idx3-ubyte.gz")
    assert np.array_equal(stored, data.splits["train"].images.pixels)
    back = read_path(tmp_path / "a", seed=0)
    assert back.classes == data.classes
    assert contents(back) == contents(data)


def test_colours_become_grey_in_idx_files_and_that_is_told(tmp_path):
    data = stacked(colour=True)
    written = export_images(data, tmp_path / "a")
    assert written.notes == ("colours became grey: IDX files hold one channel",)
    found = read_idx_file(tmp_path / "a" / "t10k-images-idx3-ubyte.gz")
    for row, pixels in enumerate(data.splits["test"].images.pixels):
        luma = pixels.astype(float) @ (0.299, 0.587, 0.114)
        assert np.abs(found[row] - luma).max() <= 1


def test_a_folder_of_grey_images_becomes_grey_arrays(tmp_path):
    import_images(stacked(), tmp_path / "folder")
    folder = read_folder(tmp_path / "folder", seed=0)
    for name in ("a.npz", "idx"):
        written = export_images(folder, tmp_path / name)
        assert written.notes == ()
        back = read_path(tmp_path / name, seed=0)
        assert back.splits["val"].images.pixels.ndim == 3
        assert contents(back) == contents(folder)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_table_of_a_folder_names_its_files(tmp_path, name):
    (tmp_path / "in").mkdir()
    import_images(stacked(colour=True), tmp_path / "in" / "folder")
    folder = read_folder(tmp_path / "in" / "folder", seed=0)
    written = export_images(folder, tmp_path / "in" / name)
    assert written.notes == ()
    assert sorted(p.name for p in (tmp_path / "in").iterdir()) == [name, "folder"]
    with (tmp_path / "in" / name).open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t" if name.endswith("tsv") else ","))
    assert rows[0] == ["path", "label", "split"]
    assert rows[1] == ["folder/train/ant/train-0.png", "ant", "train"]
    back = read_path(tmp_path / "in" / name, seed=0)
    assert back.classes == folder.classes
    assert contents(back) == contents(folder)
    (tmp_path / "elsewhere").mkdir()
    far = export_images(folder, tmp_path / "elsewhere" / name)
    assert any("absolute" in note for note in far.notes)
    assert contents(read_path(tmp_path / "elsewhere" / name, seed=0)) == contents(folder)


def test_a_table_of_odd_file_names_comes_back(tmp_path):
    names = ["with space", "new\nline", "quo'te\"s", "emoji 🦊", "-rf", "=1+1", " lead", "a,b;c\td"]
    for label in ("x", "y"):
        (tmp_path / "f" / label).mkdir(parents=True)
        for index, name in enumerate(names):
            Image.new("RGB", (3, 3), (index, 0, 9)).save(tmp_path / "f" / label / f"{name}.png")
    folder = read_folder(tmp_path / "f", seed=0)
    export_images(folder, tmp_path / "a.csv")
    back = read_path(tmp_path / "a.csv", seed=0)
    assert contents(back) == contents(folder)
    Image.new("RGB", (3, 3)).save(tmp_path / "f" / "x" / "plain.png")
    (tmp_path / "f" / "x" / "plain.png").rename(tmp_path / "f" / "x" / "\udcff.png")
    with pytest.raises(UsageError, match="not UTF-8"):
        export_images(read_folder(tmp_path / "f", seed=0), tmp_path / "b.csv")
    assert not (tmp_path / "b.csv").exists()


def test_a_table_of_images_in_memory_writes_them_beside(tmp_path):
    data = stacked()
    export_images(data, tmp_path / "a.csv")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a-images", "a.csv"]
    assert contents(read_path(tmp_path / "a.csv", seed=0)) == contents(data)
    export_images(data, tmp_path / "b.csv", size=3)
    assert picture_sizes(tmp_path / "b-images") == {(2, 3)}
    with pytest.raises(UsageError, match="is there already"):
        export_images(data, tmp_path / "a.csv")


def test_soft_labels_and_weights_come_back_from_a_table(tmp_path):
    data = stacked(
        targets_NK=lambda n: np.full((n, 3), (0.5, 0.25, 0.25), np.float32),
        weights_N=lambda n: np.arange(n, dtype=np.float32) / 3,
    )
    export_images(data, tmp_path / "a.csv")
    back = read_path(tmp_path / "a.csv", seed=0)
    assert back.classes == data.classes
    for split, part in back.splits.items():
        before = data.splits[split]
        assert by_pixels(part, part.targets_NK) == by_pixels(before, before.targets_NK)
        assert by_pixels(part, part.weights_N) == by_pixels(before, before.weights_N)
    for name in ("a.npz", "idx"):
        with pytest.raises(UsageError, match="soft labels"):
            export_images(data, tmp_path / name)
    notes = import_images(data, tmp_path / "folder").notes
    assert any("soft labels were lost" in note for note in notes)
    assert any("weights were lost" in note for note in notes)


def test_groups_come_back_from_a_table(tmp_path):
    data = stacked(groups_N=lambda n: np.arange(n, dtype=np.int64) // 2)
    export_images(data, tmp_path / "a.csv")
    back = read_path(tmp_path / "a.csv", seed=0)
    for split, part in back.splits.items():
        together = part.groups_N[:, None] == part.groups_N
        before = by_pixels(data.splits[split], data.splits[split].groups_N)
        numbers = [before[np.asarray(part.images.read(i)).tobytes()] for i in range(9)]
        assert together.tolist() == np.equal.outer(numbers, numbers).tolist()
    for written in (
        export_images(data, tmp_path / "a.npz"),
        export_images(data, tmp_path / "idx"),
        import_images(data, tmp_path / "folder"),
    ):
        assert any("groups were lost" in note for note in written.notes)


def test_a_table_names_the_files_of_a_part_of_a_folder(tmp_path):
    import_images(stacked(), tmp_path / "folder")
    whole = read_folder(tmp_path / "folder", seed=0)
    some = whole.splits | {"train": subset(whole.splits["train"], np.array([0, 4, 8]))}
    export_images(replace(whole, splits=some), tmp_path / "a.csv")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "folder"]
    back = read_path(tmp_path / "a.csv", seed=0)
    assert contents(back) == contents(replace(whole, splits=some))


def test_several_labels_come_back(tmp_path):
    held = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1]] * 3, np.float32)
    data = stacked(count=12, targets_NK=lambda n: held, multi_label=True)
    with pytest.raises(UsageError, match="several labels an image"):
        import_images(data, tmp_path / "folder")
    with pytest.raises(UsageError, match="cannot be written as IDX"):
        export_images(data, tmp_path / "idx")
    export_images(data, tmp_path / "a.npz")
    written = export_images(data, tmp_path / "a.csv")
    assert f"manifest:path={tmp_path / 'a.csv'},separator=pipe" in written.notes[0]
    table = read_manifest(tmp_path / "a.csv", seed=0, separator="|")
    for back in (read_path(tmp_path / "a.npz", seed=0), table):
        assert back.multi_label
        assert back.classes == data.classes
        for split, part in back.splits.items():
            before = by_pixels(data.splits[split], held)
            assert by_pixels(part, part.targets_NK) == before


@pytest.mark.parametrize("classes", [("a", "b", "c"), ("a|b", "c", "d"), ("a|b", "c;d", "e")])
def test_a_table_of_several_labels_is_read_as_its_note_says(tmp_path, classes):
    held = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1]] * 3, np.float32)
    data = stacked(classes, count=12, targets_NK=lambda n: held, multi_label=True)
    written = export_images(data, tmp_path / "a.csv")
    back = zoo.api.read_data(written.notes[0].partition("--data ")[2])
    assert (back.classes, back.multi_label) == (classes, True)


def test_images_of_different_sizes_need_a_size(tmp_path):
    for label in ("a", "b"):
        (tmp_path / "f" / label).mkdir(parents=True)
        for index in range(10):
            Image.new("RGB", (20 + index, 16), (index * 9, 0, 0)).save(
                tmp_path / "f" / label / f"{index}.png"
            )
    folder = read_folder(tmp_path / "f", seed=0)
    for name in ("a.npz", "idx"):
        with pytest.raises(UsageError, match="of different sizes") as caught:
            export_images(folder, tmp_path / name)
        assert "--size" in str(caught.value)
        export_images(folder, tmp_path / name, size=8)
        back = read_path(tmp_path / name, seed=0)
        assert back.splits["train"].images.pixels.shape[1:3] == (8, 8)


@pytest.mark.parametrize("classes", [("a\nb", "c"), ("", "c"), (" a", "b"), range(257)])
def test_class_names_that_idx_files_cannot_hold(tmp_path, classes):
    data = stacked(tuple(map(str, classes)), count=300 if len(classes) > 2 else 9, side=(2, 2))
    with pytest.raises(UsageError, match="cannot be written as IDX"):
        export_images(data, tmp_path / "a")


def test_class_names_that_a_table_cannot_tell_apart(tmp_path):
    data = stacked((" a", "a", "b"))
    with pytest.raises(UsageError, match="class names with spaces around them"):
        export_images(data, tmp_path / "a.csv")
    export_images(data, tmp_path / "a.npz")
    assert read_path(tmp_path / "a.npz", seed=0).classes == data.classes
