"""Folders that are wrong: each layout explained, each image that cannot be read named."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from class_folders import COLOURS, check_labels, fill, names, sizes
from faults import build_fault_directory
from PIL import Image

from tests.unprivileged import own_folder, unprivileged
from zoo.data.reading.folder import read_folder
from zoo.errors import DataError


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
    with own_folder() as folder:
        copy = shutil.copytree(flat, folder / "images")
        read_folder(copy, seed=0)  # imports what it needs
        (copy / "dog").chmod(0)
        with unprivileged(), pytest.raises(DataError, match="dog/ cannot be read"):
            read_folder(copy, seed=0)
        (copy / "dog").chmod(0o755)


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
