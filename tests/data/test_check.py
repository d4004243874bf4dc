"""What a check finds: every planted fault under its own name, and nothing in clean data."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from faults import build_fault_directory
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from zoo.data.inspection.check import check_data, check_folder, is_image_folder
from zoo.data.inspection.findings import KINDS, UNREADABLE, imbalance_of
from zoo.data.reading.folder import FileImages, read_folder
from zoo.data.reading.packed import StackedImages
from zoo.errors import DataError, UsageError
from zoo.protocols import DataSet, Split


def photo(number, side=48):
    """A part of a real photograph; each number is another part, none over another."""
    pixels = load_sample_images().images[number % 2]
    row, column = divmod(number // 2, pixels.shape[1] // side)
    return Image.fromarray(pixels[row * side :, column * side :][:side, :side])


@pytest.fixture
def clean(tmp_path):
    """Two classes in train and val, no two pictures alike."""
    numbers = iter(range(60, 200))
    for split, count in (("train", 4), ("val", 2)):
        for label in ("cat", "dog"):
            folder = tmp_path / "data" / split / label
            folder.mkdir(parents=True)
            for index in range(count):
                photo(next(numbers)).save(folder / f"{index}.png")
    return tmp_path / "data"


def kinds(report):
    return Counter(finding.kind for finding in report.findings)


def test_clean_data_has_no_finding(clean):
    report = check_folder(clean)
    assert report.findings == ()
    assert report.counts == {"train": {"cat": 4, "dog": 4}, "val": {"cat": 2, "dog": 2}}
    assert (report.num_images, report.num_readable) == (12, 12)
    assert report.formats == {"PNG": 12}
    assert report.sizes.width.median == 48
    assert report.num_bytes == sum(p.stat().st_size for p in clean.rglob("*.png"))


def test_every_file_of_the_fault_directory_is_judged_as_expected(tmp_path):
    expectations = build_fault_directory(tmp_path / "faults")
    report = check_folder(tmp_path / "faults")
    found = {
        name: finding for finding in report.of(*UNREADABLE) for name in finding.files
    }  # fmt: skip
    for name, expected in expectations.items():
        if expected.outcome in ("header", "pixels"):
            assert expected.reason in found.pop(name).detail
        else:
            assert name not in found
    assert found == {}
    named = {
        kind: {name for finding in report.of(kind) for name in finding.files} for kind in KINDS
    }
    assert named["truncated"] == {"cat/truncated.png", "cat/truncated.jpg"}
    assert named["empty-file"] == {"cat/zero.jpg"}
    assert named["not-an-image"] == {"cat/text.jpg", "cat/postscript.jpg"}
    assert named["too-large"] == {"cat/bomb.png"}
    assert named["animated"] == {"dog/animation.gif"}
    assert named["deep"] == {"dog/deep.png"}
    assert named["cmyk"] == {"dog/print.jpg"}
    assert named["rotated"] == {"dog/rotated.jpg"}
    assert named["wrong-suffix"] == {"dog/lies.png"}
    assert {"dog/palette.png", "dog/opaque-palette.png"} <= named["palette"]
    assert {"dog/palette.png", "dog/grey-alpha.png", "dog/colour-alpha.png"} == named["transparent"]


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("deep.tif", lambda p: Image.new("I;16", (4, 4), 999).save(p)),
        ("pages.tif", lambda p: photo(0).save(p, save_all=True, append_images=[photo(1)])),
        ("moves.webp", lambda p: photo(0).save(p, save_all=True, append_images=[photo(1)])),
        ("corrupt.png", None),
    ],
)
def test_more_formats(clean, name, save):
    path = clean / "train" / "cat" / name
    expected = {"deep.tif": "deep", "corrupt.png": "corrupt"}.get(name, "animated")
    if save:
        save(path)
    else:
        content = bytearray((clean / "train/cat/0.png").read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    assert name in " ".join(f.files[0] for f in check_folder(clean).of(expected))


def test_a_16_bit_colour_png_is_told_although_pillow_reads_it_as_8_bit(clean):
    import struct
    import zlib

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    rows = b"".join(b"\0" + bytes(range(12)) for _ in range(2))
    content = b"\x89PNG\r\n\x1a\n" + b"".join([
        chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)),
        chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""),
    ])  # fmt: skip
    (clean / "train/cat/deep.png").write_bytes(content)
    report = check_folder(clean)
    assert [finding.files for finding in report.of("deep")] == [("train/cat/deep.png",)]


def test_duplicates_leaks_and_double_labels_are_told_apart(clean):
    train, val = clean / "train", clean / "val"
    shutil.copy(train / "cat/0.png", train / "cat/again.png")
    shutil.copy(train / "cat/1.png", val / "cat/leak.png")
    shutil.copy(train / "cat/2.png", train / "dog/other.png")
    Image.open(train / "dog/0.png").save(train / "dog/same-pixels.bmp")
    report = check_folder(clean)
    assert kinds(report) == {"duplicate": 2, "leak": 1, "two-labels": 1}
    (leak,), (double,) = report.of("leak"), report.of("two-labels")
    assert leak.files == ("train/cat/1.png", "val/cat/leak.png")
    assert (leak.splits, leak.classes) == (("train", "val"), ("cat",))
    assert double.files == ("train/cat/2.png", "train/dog/other.png")
    assert double.classes == ("cat", "dog")
    details = {finding.files: finding.detail for finding in report.of("duplicate")}
    assert details["train/cat/0.png", "train/cat/again.png"] == "the same file"
    assert details["train/dog/0.png", "train/dog/same-pixels.bmp"] == "the same pixels"
    assert {finding.severity for finding in report.of("leak", "two-labels")} == {"error"}


def test_copies_that_were_saved_anew_are_near(clean):
    train, val = clean / "train", clean / "val"
    Image.open(train / "dog/0.png").save(val / "dog/near.jpg", quality=80)
    Image.open(train / "cat/1.png").save(train / "cat/near.jpg", quality=80)
    Image.open(train / "cat/2.png").save(train / "dog/near.jpg", quality=80)
    report = check_folder(clean)
    assert kinds(report) == {"near-leak": 1, "near-duplicate": 1, "near-two-labels": 1}
    assert report.of("near-leak")[0].files == ("train/dog/0.png", "val/dog/near.jpg")


def test_a_thousand_copies_are_one_finding(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
    photo(0).save(tmp_path / "dog/0.png")
    photo(1).save(tmp_path / "cat/0.png")
    for index in range(1, 1000):
        os.link(tmp_path / "cat/0.png", tmp_path / "cat" / f"{index}.png")
    (finding,) = check_folder(tmp_path).of("duplicate")
    assert len(finding.files) == 1000


def test_classes_are_compared_between_splits(clean):
    (clean / "train/empty").mkdir()
    (clean / "train/single").mkdir()
    photo(10).save(clean / "train/single/0.png")
    (clean / "val/new").mkdir()
    photo(11).save(clean / "val/new/0.png")
    (clean / "train/Cat").mkdir()
    for number in range(12, 24):
        photo(number).save(clean / "train/Cat" / f"{number}.png")
    photo(25).save(clean / "train/loose.png")
    report = check_folder(clean)
    assert [f.classes for f in report.of("empty-class")] == [("empty",)]
    assert [f.classes for f in report.of("single-image")] == [("single",)]
    assert [f.classes for f in report.of("unknown-class")] == [("new",)]
    assert {f.classes[0] for f in report.of("missing-class")} == {"Cat", "single"}
    assert set(report.of("alike-names")[0].classes) == {"cat", "Cat"}
    assert report.of("outside-classes")[0].files == ("train/loose.png",)
    assert report.imbalance.ratio == 12.0
    assert report.of("imbalance")[0].classes == ("Cat", "single")
    with pytest.raises(DataError):  # what a check names, training refuses
        read_folder(clean, seed=0)


def test_layouts_that_training_refuses_are_named(tmp_path):
    for folder in ("valid/cat", "val/cat", "other/cat"):
        (tmp_path / folder).mkdir(parents=True)
        photo(len(folder)).save(tmp_path / folder / "0.png")
    report = check_folder(tmp_path)
    details = " ".join(finding.detail for finding in report.of("layout"))
    assert "without train" in details
    assert "all mean val" in details
    assert any("other" in note for note in report.notes)
    empty = tmp_path / "nothing"
    empty.mkdir()
    assert [f.detail for f in check_folder(empty).of("layout")] == ["no images"]
    with pytest.raises(DataError, match="not a folder"):
        check_folder(tmp_path / "missing")


def test_effective_classes_agree_with_entropy():
    counts = {"a": 70, "b": 20, "c": 10, "empty": 0}
    shares = np.array([0.7, 0.2, 0.1])
    expected = np.exp(-(shares * np.log(shares)).sum())
    assert imbalance_of(counts).effective_classes == pytest.approx(expected, abs=1e-6)
    assert imbalance_of({"a": 3}) is None


def stacked(count=12):
    pixels = (load_digits().images[:count] * 15).astype(np.uint8)
    return StackedImages(pixels=pixels, names=[f"digit {index}" for index in range(count)])


def data_set(**changes):
    images, labels = stacked(), np.arange(12, dtype=np.int64) % 3
    part = Split(images=images, labels_N=labels)
    data = DataSet(name="digits", classes=("a", "b", "c"), splits={"train": part, "val": part},
                   fingerprint="0")  # fmt: skip
    return replace(data, **changes)


def test_a_data_set_in_memory_is_checked_the_same_way():
    report = check_data(data_set())
    assert len(report.of("leak")) == 12  # train and val are the same images
    assert report.formats == {}
    assert report.counts["train"] == {"a": 4, "b": 4, "c": 4}
    assert report.sizes.height.largest == 8


def test_soft_and_several_labels_are_checked():
    targets = np.zeros((12, 3), dtype=np.float32)
    targets[:, 0] = 1
    targets[::2, 1] = 1
    part = Split(images=stacked(), labels_N=np.zeros(12, dtype=np.int64), targets_NK=targets)
    other = replace(part, targets_NK=targets[::-1].copy())
    several = check_data(data_set(splits={"train": part, "val": other}, multi_label=True))
    assert several.counts["train"] == {"a": 12, "b": 6, "c": 0}
    assert len(several.of("two-labels")) == 12  # the same image with (a, b) and with (a)
    soft = replace(part, targets_NK=np.full((12, 3), 1 / 3, dtype=np.float32))
    report = check_data(data_set(splits={"train": soft, "val": soft}))
    assert report.counts["train"]["a"] == 12


def test_images_that_were_left_out_are_findings(tmp_path):
    photo(0).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"")
    images = FileImages(root=tmp_path, names=("good.png",))
    part = Split(images=images, labels_N=np.zeros(1, dtype=np.int64))
    data = data_set(splits={"train": part, "val": part}, bad={"bad.png": "no", "gone": "lost"})
    report = check_data(data)
    assert [f.files for f in report.of("empty-file")] == [("bad.png",)]
    assert [(f.files, f.detail) for f in report.of("corrupt")] == [(("gone",), "lost")]


def test_an_image_that_turns_bad_is_a_finding_and_no_error():
    class Failing:
        def __len__(self):
            return 1

        def read(self, index):
            raise DataError("cannot read it", found="broken")

        def name(self, index):
            return "failing"

    part = Split(images=Failing(), labels_N=np.zeros(1, dtype=np.int64))
    report = check_data(data_set(splits={"train": part, "val": part}))
    assert len(report.of("corrupt")) == 2


def test_threads_and_order_change_no_finding(clean):
    shutil.copy(clean / "train/cat/0.png", clean / "val/cat/copy.png")
    reports = [check_folder(clean, num_threads=count) for count in (1, 4)]
    assert reports[0] == reports[1]


def test_near_is_checked_and_can_be_left_out(clean):
    with pytest.raises(UsageError, match="near is 11"):
        check_folder(clean, near=11)
    Image.open(clean / "train/cat/1.png").save(clean / "val/cat/near.jpg", quality=80)
    data = read_folder(clean, seed=0)
    assert kinds(check_data(data)) == {"near-leak": 1}
    assert check_data(data, near=None).findings == ()


def test_a_folder_of_images_is_told_from_others(tmp_path, clean):
    assert is_image_folder(clean)
    assert not is_image_folder(tmp_path / "missing")
    (tmp_path / "idx").mkdir()
    (tmp_path / "idx/train-images-idx3-ubyte").write_bytes(b"")
    assert not is_image_folder(tmp_path / "idx")
