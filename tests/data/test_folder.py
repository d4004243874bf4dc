"""Folders: both layouts, order, names, and nothing opened that is not a file."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from class_folders import COLOURS, check_labels, fill, names, sizes
from PIL import Image

from zoo.data.reading.folder import CLASS_NAMES_FORMAT, read_folder
from zoo.errors import DataError


def test_class_folders_are_split_by_the_seed(flat):
    data = read_folder(flat, seed=1)
    assert data.classes == ("cat", "dog", "emu")
    assert sizes(data) == {"train": 24, "val": 3, "test": 3}
    assert np.bincount(data.splits["val"].labels_N).tolist() == [1, 1, 1]
    check_labels(data)
    again, other = read_folder(str(flat), seed=1), read_folder(flat, seed=2)
    assert names(again.splits["val"]) == names(data.splits["val"])
    assert again.fingerprint == data.fingerprint
    assert names(other.splits["val"]) != names(data.splits["val"])
    assert other.fingerprint != data.fingerprint
    every = [name for split in data.splits.values() for name in names(split)]
    assert len(every) == len(set(every)) == 30


def test_fractions(flat):
    assert sizes(read_folder(flat, seed=0, fractions=(0.5, 0.5))) == {"train": 15, "val": 15}
    assert sizes(read_folder(flat, seed=0, fractions=(0.6, 0.4, 0.0))) == {"train": 18, "val": 12}
    for wrong in ((1.0,), (1.0, 0.0), (0.5, 0.2, 0.2, 0.1)):
        with pytest.raises(DataError, match="no validation split"):
            read_folder(flat, seed=0, fractions=wrong)


@pytest.mark.parametrize("val", ["val", "valid", "validation", "dev", "Val"])
@pytest.mark.parametrize("train", ["train", "training"])
def test_split_folders_by_any_of_their_names(parted, train, val):
    (parted / "train").rename(parted / train)
    (parted / "val").rename(parted / val)
    data = read_folder(parted, seed=0)
    assert sizes(data) == {"train": 18, "val": 9, "test": 6}
    assert not data.notes
    check_labels(data)


def test_validation_is_taken_from_training_when_only_test_is_there(parted):
    shutil.rmtree(parted / "val")
    data = read_folder(parted, seed=0, fractions=(0.6, 0.3, 0.1))
    assert sizes(data) == {"train": 12, "val": 6, "test": 6}
    assert all(name.startswith("train/") for name in names(data.splits["val"]))
    assert "validation was split from training" in data.notes
    assert sizes(read_folder(parted, seed=0, fractions=(0.5, 0.5))) == {
        "train": 9,
        "val": 9,
        "test": 6,
    }


def test_splits_are_mapped_by_name(parted):
    shutil.rmtree(parted / "val" / "cat")
    (parted / "test" / "cat").rename(parted / "elsewhere")
    data = read_folder(parted, seed=0)
    check_labels(data)
    assert set(data.splits["val"].labels_N) == {1, 2}
    assert "val has no images of cat" in data.notes
    assert any("elsewhere/, which is not a split" in note for note in data.notes)


def test_a_class_that_training_does_not_know(parted):
    fill(parted / "val" / "fox")
    fill(parted / "test" / "gnu")
    with pytest.raises(DataError) as caught:
        read_folder(parted, seed=0)
    assert "class fox is in val and not in train" in str(caught.value)
    assert "class gnu is in test and not in train" in str(caught.value)


def test_order_is_natural_and_nested_images_belong_to_the_class(flat):
    fill(flat / "cat" / "b" / "deep", 1, colour=COLOURS["cat"], start=3)
    data = read_folder(flat, seed=0, fractions=(0.5, 0.5))
    cats = [
        name for split in data.splits.values() for name in names(split) if name.startswith("cat")
    ]
    assert sorted(cats) == sorted([*(f"cat/{n}.png" for n in range(10)), "cat/b/deep/3.png"])
    for split in data.splits.values():
        numbers = [
            int(name[4:-4]) for name in names(split) if name.startswith("cat/") and "b" not in name
        ]
        assert numbers == sorted(numbers)
    check_labels(data)


def test_digits_of_other_scripts_are_letters_of_a_name(tmp_path):
    classes = ("7", "cat", "\u0663", "\uff12")  # an Arabic 3 and a wide 2
    for label in classes:
        fill(tmp_path / "data" / label, 2)
        Image.new("RGB", (4, 4)).save(tmp_path / "data" / label / f"{label}1.png")
    data = read_folder(tmp_path / "data", seed=0, fractions=(0.5, 0.5))
    assert data.classes == classes
    assert sum(sizes(data).values()) == 12


def test_litter_and_other_files_are_counted(flat):
    for name in (".hidden.png", "._0.png", "Thumbs.db", "labels.csv", "noise"):
        (flat / "cat" / name).write_bytes(b"no image")
    (flat / ".ipynb_checkpoints").mkdir()
    fill(flat / ".ipynb_checkpoints")
    data = read_folder(flat, seed=0)
    assert sum(sizes(data).values()) == 30
    assert any("left out 4 hidden files" in note for note in data.notes)
    assert any("left out 2 files without an image suffix" in note for note in data.notes)


def test_suffixes_of_any_case_and_format(flat):
    Image.new("RGB", (4, 4), COLOURS["cat"]).save(flat / "cat" / "a.GIF")
    Image.new("RGB", (4, 4), COLOURS["cat"]).save(flat / "cat" / "b.WebP", lossless=True)
    data = read_folder(flat, seed=0)
    assert sum(sizes(data).values()) == 32
    check_labels(data)


ODD_NAMES = [
    "with space",
    "new\nline",
    "tab\t",
    "quo'te\"s",
    "emoji 🦊",
    "-rf",
    "%s {0}",
    "<b>",
    "b\u202eidi",
    "back\\slash",
    "\udcff\udcfe not UTF-8",
    "e\u0301",
    "\u00e9",
    "n" * 200,
]


def test_odd_names_of_classes_and_files(tmp_path):
    for name in ODD_NAMES:
        try:
            folder = tmp_path / "data" / name
            folder.mkdir(parents=True)
        except OSError:
            pytest.skip("the file system does not take such names")
        for index in range(4):
            Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
            shutil.copy(tmp_path / "plain.png", folder / f"{name}{index}.png")
    data = read_folder(tmp_path / "data", seed=0, fractions=(0.5, 0.5))
    assert data.classes == tuple(sorted(ODD_NAMES))
    assert sizes(data) == {"train": 28, "val": 28}
    for split in data.splits.values():
        for index, label in enumerate(split.labels_N):
            assert split.images.name(index).startswith(data.classes[label] + "/")
            assert split.images.read(index).size == (4, 4)
    assert any("look alike" in note for note in data.notes)
    assert all(note.isprintable() for note in data.notes)


def test_fingerprint_follows_content_and_not_place_or_time(flat, tmp_path):
    first = read_folder(flat, seed=0).fingerprint
    shutil.copytree(flat, tmp_path / "copy")
    os.utime(tmp_path / "copy" / "cat" / "0.png", (1, 1))
    assert read_folder(tmp_path / "copy", seed=0).fingerprint == first
    with (tmp_path / "copy" / "cat" / "0.png").open("ab") as file:
        file.write(b"\0")
    assert read_folder(tmp_path / "copy", seed=0).fingerprint != first
    (flat / "cat" / "9.png").rename(flat / "dog" / "99.png")
    assert read_folder(flat, seed=0).fingerprint != first


# timm leaves the closing of files to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_timm_numbers_the_classes_of_each_split_and_zoo_does_not(parted):
    """A validation folder that lacks a class: timm counts its classes anew, without a word."""
    from timm.data import ImageDataset

    shutil.rmtree(parted / "val" / "cat")
    train, val = (ImageDataset(str(parted / split)) for split in ("train", "val"))
    timm_numbers = {
        split: {COLOURS_BACK[image.convert("RGB").getpixel((0, 0))]: label for image, label in rows}
        for split, rows in (("train", train), ("val", val))
    }
    assert timm_numbers["train"] == {"cat": 0, "dog": 1, "emu": 2}
    assert timm_numbers["val"] == {"dog": 0, "emu": 1}  # the pitfall
    data = read_folder(parted, seed=0)
    zoo_numbers = {
        split: {COLOURS_BACK[part.images.read(i).getpixel((0, 0))]: int(label)
                for i, label in enumerate(part.labels_N)}
        for split, part in data.splits.items()
    }  # fmt: skip
    assert zoo_numbers["train"] == {"cat": 0, "dog": 1, "emu": 2}
    assert zoo_numbers["val"] == {"dog": 1, "emu": 2}
    assert "val has no images of cat" in data.notes


COLOURS_BACK = {colour: name for name, colour in COLOURS.items()}


def test_class_names_that_an_import_left(parted):
    table = {"format": CLASS_NAMES_FORMAT, "folders": {"cat": "a/b", "dog": "zebra"}}
    (parted / "classes.json").write_text(json.dumps(table))
    data = read_folder(parted, seed=0)
    assert data.classes == ("a/b", "emu", "zebra")
    assert not data.notes
    for part in data.splits.values():
        for index, label in enumerate(part.labels_N):
            colour = COLOURS_BACK[part.images.read(index).getpixel((0, 0))]
            assert data.classes[label] == {"cat": "a/b", "dog": "zebra"}.get(colour, colour)
    table["folders"]["emu"] = "zebra"
    (parted / "classes.json").write_text(json.dumps(table))
    with pytest.raises(DataError, match="the same class name"):
        read_folder(parted, seed=0)


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"folders": {"cat": "x"}}', '{"format": "zoo class names 1"}',
                '{"format": "zoo class names 1", "folders": 3}', "[" * 100_000],
)  # fmt: skip
def test_a_classes_file_of_somebody_else_says_nothing(parted, content):
    (parted / "classes.json").write_text(content)
    assert read_folder(parted, seed=0).classes == ("cat", "dog", "emu")
