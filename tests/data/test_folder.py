"""Folders: both layouts, every wrong one explained, nothing opened that is not a file."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from faults import build_fault_directory
from PIL import Image

from zoo.data.reading.folder import CLASS_NAMES_FORMAT, read_folder
from zoo.errors import DataError

COLOURS = {"cat": (200, 30, 30), "dog": (30, 200, 30), "emu": (30, 30, 200)}


def fill(folder, count=6, *, colour=(9, 9, 9), suffix=".png", start=0):
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(start, start + count):
        Image.new("RGB", (4, 4), colour).save(folder / f"{index}{suffix}")


@pytest.fixture
def flat(tmp_path):
    for name, colour in COLOURS.items():
        fill(tmp_path / "data" / name, 10, colour=colour)
    return tmp_path / "data"


@pytest.fixture
def parted(tmp_path):
    for split, count in (("train", 6), ("val", 3), ("test", 2)):
        for name, colour in COLOURS.items():
            fill(tmp_path / "data" / split / name, count, colour=colour)
    return tmp_path / "data"


def names(split):
    return [split.images.name(index) for index in range(len(split.images))]


def sizes(data):
    return {name: len(split.images) for name, split in data.splits.items()}


def check_labels(data):
    """The colour of each image says its class, whatever was done with names and folders."""
    for split in data.splits.values():
        assert len(split.images) == len(split.labels_N)
        assert split.labels_N.dtype == np.int64
        for index, label in enumerate(split.labels_N):
            image = split.images.read(index)
            assert image.mode == "RGB"
            assert image.getpixel((0, 0)) == COLOURS[data.classes[label]]


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


@pytest.mark.timeout(20)
def test_links_loops_pipes_and_folders_named_like_images(flat, tmp_path):
    (flat / "cat" / "self").symlink_to(flat)
    (flat / "cat" / "0dogs").symlink_to(flat / "dog")
    (flat / "cat" / "up").symlink_to("..")
    (flat / "loop").symlink_to("loop")
    (flat / "cat" / "nowhere.png").symlink_to("missing.png")
    os.mkfifo(flat / "cat" / "pipe.png")
    (flat / "cat" / "device.png").symlink_to("/dev/zero")
    (flat / "cat" / "x.png").mkdir()
    Image.new("RGB", (4, 4), COLOURS["cat"]).save(flat / "cat" / "x.png" / "1.png")
    fill(tmp_path / "far", 2, colour=COLOURS["cat"])
    (flat / "cat" / "far").symlink_to(tmp_path / "far")
    data = read_folder(flat, seed=0)
    assert sum(sizes(data).values()) == 33
    check_labels(data)
    assert any(
        "left out 4 pipes, devices, sockets and links to nothing" in note for note in data.notes
    )


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


def test_all_unreadable_images_are_listed_at_once(flat):
    (flat / "cat" / "zero.jpg").write_bytes(b"")
    (flat / "dog" / "text\x1b.jpg").write_text("no image")
    with pytest.raises(DataError, match="2 of 32 images") as caught:
        read_folder(flat, seed=0)
    assert "cat/zero.jpg: an empty file (0 bytes)" in str(caught.value)
    assert r"dog/text\x1b.jpg: no image" in str(caught.value)
    for index in range(30):
        (flat / "emu" / f"bad{index}.png").write_bytes(b"x")
    with pytest.raises(DataError, match="32 of 62 images") as caught:
        read_folder(flat, seed=0)
    assert "and 12 more" in str(caught.value)


def test_damage_behind_the_header_is_named_when_it_is_read(flat):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(flat / "cat" / "0.png")
    whole = (flat / "cat" / "0.png").read_bytes()
    (flat / "cat" / "0.png").write_bytes(whole[: len(whole) // 2])
    data = read_folder(flat, seed=0)
    split, index = next(
        (split, names(split).index("cat/0.png"))
        for split in data.splits.values()
        if "cat/0.png" in names(split)
    )
    with pytest.raises(DataError, match=r"cannot read the image cat/0\.png"):
        split.images.read(index)


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


def wrong_layouts(root):
    fill(root / "picture" / "a", 1)
    (root / "empty").mkdir()
    (root / "text").mkdir()
    (root / "text" / "readme.txt").write_text("hello")
    fill(root / "loose")
    fill(root / "one" / "cat")
    fill(root / "hollow" / "cat")
    fill(root / "hollow" / "dog")
    (root / "hollow" / "emu").mkdir()
    (root / "hollow" / "fox").mkdir()
    fill(root / "no train" / "val" / "cat")
    fill(root / "no train" / "test" / "cat")
    fill(root / "twice" / "train" / "cat")
    fill(root / "twice" / "train" / "dog")
    fill(root / "twice" / "training" / "cat")
    fill(root / "mixed" / "cat")
    fill(root / "mixed" / "dog")
    fill(root / "mixed", 2)
    (root / "mixed" / "emu").mkdir()
    fill(root / "root train" / "train")
    fill(root / "tiny" / "cat", 1)
    fill(root / "tiny" / "dog", 1)
    fill(root / "wrapped" / "inner" / "train" / "cat")
    fill(root / "wrapped" / "inner" / "train" / "dog")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("missing", ["is not a folder", "nothing of that name", "expected CLASS/IMAGE"]),
        ("picture/a/0.png", ["is not a folder", "a file"]),
        ("empty", ["no images", "0 images, no folders", "expected CLASS/IMAGE"]),
        ("text", ["no images", "left out 1 files without an image suffix: readme.txt"]),
        ("loose", ["6 images in the folder itself, outside any class folder", "no class folders"]),
        ("one", ["only one class", "6 images, folders cat"]),
        ("hollow", ["class folder without images: emu", "class folder without images: fox"]),
        ("no train", ["test, val without train"]),
        ("twice", ["train, training all mean train"]),
        ("mixed", ["2 images in the folder itself", "class folder without images: emu"]),
        ("root train", ["6 images in train/, outside any class folder", "no class folders"]),
        ("tiny", ["too few images for a validation split: 2"]),
        ("wrapped", ["only one class", "the folder inside", "wrapped/inner"]),
    ],
)
def test_wrong_layouts_say_what_was_found_and_what_was_expected(tmp_path, name, parts):
    wrong_layouts(tmp_path)
    with pytest.raises(DataError) as caught:
        read_folder(tmp_path / name, seed=0)
    assert caught.value.exit_code == 3
    for part in parts:
        assert part in str(caught.value)


def test_a_val_folder_without_images_counts_as_none(parted):
    shutil.rmtree(parted / "val")
    (parted / "val" / "cat").mkdir(parents=True)
    data = read_folder(parted, seed=0)
    assert sizes(data)["val"] == 2
    assert "val is a folder without images, as if it were not there" in data.notes


def test_a_folder_that_may_not_be_read_is_a_problem(flat):
    (flat / "dog").chmod(0)
    try:
        if os.access(flat / "dog", os.R_OK):
            pytest.skip("this user may read everything")
        with pytest.raises(DataError, match="dog/ cannot be read"):
            read_folder(flat, seed=0)
    finally:
        (flat / "dog").chmod(0o755)


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


def test_what_to_do_about_a_class_that_training_does_not_know(parted):
    fill(parted / "val" / "fox")
    with pytest.raises(DataError) as caught:
        read_folder(parted, seed=0)
    assert "add images of fox to train, or remove that folder" in caught.value.hint


def test_the_fault_directory_is_refused_by_name(tmp_path):
    expected = build_fault_directory(tmp_path / "d")
    bad = {name: e for name, e in expected.items() if e.outcome == "header"}
    with pytest.raises(DataError, match=f"{len(bad)} of ") as caught:
        read_folder(tmp_path / "d", seed=0)
    for name, expectation in bad.items():
        line = next(line for line in str(caught.value).splitlines() if name in line)
        assert expectation.reason in line
    assert "--on-bad skip" in str(caught.value)


def test_the_fault_directory_without_what_cannot_be_read(tmp_path):
    expected = build_fault_directory(tmp_path / "d")
    data = read_folder(tmp_path / "d", seed=0, on_bad="skip")
    assert set(data.bad) == {name for name, e in expected.items() if e.outcome == "header"}
    assert any(f"left out {len(data.bad)} images that cannot be read" in n for n in data.notes)
    where = {
        part.images.name(index): (part, index)
        for part in data.splits.values()
        for index in range(len(part.images))
    }
    for name, expectation in expected.items():
        if expectation.outcome == "header":
            assert expectation.reason in data.bad[name]
        elif expectation.outcome == "left out":
            assert name not in where
            assert any(expectation.reason in note for note in data.notes)
        elif expectation.outcome == "pixels":
            part, index = where[name]
            with pytest.raises(DataError, match=expectation.reason):
                part.images.read(index)
        else:
            part, index = where[name]
            assert data.classes[part.labels_N[index]] == name.partition("/")[0]
            image = part.images.read(index)
            assert (image.mode, image.size) == ("RGB", expectation.size)
            missed = np.subtract(image.getpixel((0, 0)), expectation.colour)
            assert np.abs(missed).max() <= expectation.tolerance
    assert sum(len(part.images) for part in data.splits.values()) == len(where)
    assert all(note.isprintable() for note in data.notes)


def test_skipping_changes_the_fingerprint_and_never_the_classes(flat):
    whole = read_folder(flat, seed=0, on_bad="skip")
    (flat / "cat" / "0.png").write_bytes(b"no image")
    less = read_folder(flat, seed=0, on_bad="skip")
    assert less.classes == whole.classes
    assert less.fingerprint != whole.fingerprint
    assert list(less.bad) == ["cat/0.png"]
    check_labels(less)
    for image in (flat / "cat").iterdir():
        image.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"no image of cat in .* can be read"):
        read_folder(flat, seed=0, on_bad="skip")
    for image in flat.rglob("*.png"):
        image.write_bytes(b"no image")
    with pytest.raises(DataError, match="30 of 30 images"):
        read_folder(flat, seed=0, on_bad="skip")


def test_a_val_folder_of_unreadable_images_only_counts_as_none(parted):
    for image in (parted / "val").rglob("*.png"):
        image.write_bytes(b"")
    data = read_folder(parted, seed=0, on_bad="skip")
    assert len(data.splits["val"].images) == 2
    assert all(name.startswith("train/") for name in names(data.splits["val"]))


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
