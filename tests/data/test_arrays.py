"""NumPy files: names, shapes, types and labels of every kind, and files that are none."""

from __future__ import annotations

import io
import shutil
import tracemalloc
import zipfile
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zoo.data.reading.arrays import read_arrays, to_pixels
from zoo.data.reading.packed import read_packed
from zoo.data.reading.sources import read_path
from zoo.errors import DataError

GENERATOR = np.random.default_rng(5)
PIXELS = GENERATOR.integers(0, 256, (20, 5, 6), dtype=np.uint8)
COLOURS = GENERATOR.integers(0, 256, (20, 5, 6, 3), dtype=np.uint8)
LABELS = np.arange(20) % 2


def read(tmp_path, **arrays):
    np.savez(tmp_path / "x.npz", **arrays)
    return read_path(tmp_path / "x.npz", seed=0)


def sizes(data):
    return {split: len(part.images) for split, part in data.splits.items()}


def by_row(data):
    """Returns row -> (pixels, class name) of what was given as train."""
    return {
        int(part.images.name(i).rpartition("-")[2]): (
            part.images.pixels[i],
            data.classes[part.labels_N[i]],
        )
        for part in data.splits.values()
        for i in range(len(part.images))
        if part.images.name(i).startswith("train")
    }


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("x_train", "y_train", "x_test", "y_test"), {"train": 18, "val": 2, "test": 20}),
        (("X_TRAIN", "Y_TRAIN"), {"train": 16, "val": 2, "test": 2}),
        (("X", "y"), {"train": 16, "val": 2, "test": 2}),
        (("images", "labels"), {"train": 16, "val": 2, "test": 2}),
        (("data", "target"), {"train": 16, "val": 2, "test": 2}),
        (
            ("train_images", "train_labels", "val_images", "val_labels", "test_images",
             "test_labels"),
            {"train": 20, "val": 20, "test": 20},
        ),
        (("train.x", "train.y", "dev-x", "dev-y"), {"train": 20, "val": 20}),
    ],
)  # fmt: skip
def test_names_that_people_use(tmp_path, names, expected):
    arrays = {name: LABELS if i % 2 else PIXELS for i, name in enumerate(names)}
    data = read(tmp_path, **arrays)
    assert sizes(data) == expected
    assert data.classes == ("0", "1")
    for row, (pixels, label) in by_row(data).items():
        assert np.array_equal(pixels, PIXELS[row])
        assert label == str(LABELS[row])


@pytest.mark.parametrize(
    ("given_shape", "expected"),
    [
        (PIXELS, PIXELS),
        (PIXELS[..., None], PIXELS),
        (PIXELS[:, None], PIXELS),
        (COLOURS, COLOURS),
        (COLOURS.transpose(0, 3, 1, 2), COLOURS),
        (np.asfortranarray(COLOURS), COLOURS),
        (PIXELS.astype(np.int64), PIXELS),
        (PIXELS.astype(">u2"), PIXELS),
        (PIXELS > 127, np.where(PIXELS > 127, 255, 0)),
        (PIXELS / 255.0, PIXELS),
        ((PIXELS / 255.0).astype(np.float32), PIXELS),
        ((PIXELS / 255.0).astype(np.float16), PIXELS),
    ],
)
def test_shapes_and_types(tmp_path, given_shape, expected):
    data = read(tmp_path, x=given_shape, y=LABELS)
    found = by_row(data)
    assert len(found) == 20
    for row, (pixels, _) in found.items():
        assert pixels.dtype == np.uint8
        assert np.array_equal(pixels, expected[row])
    assert data.typical_side == 5


@settings(max_examples=30)
@given(hnp.arrays(np.float64, (2, 3, 3), elements=st.floats(0, 1)))
def test_floats_are_scaled_and_rounded(values):
    expected = np.array([round(v * 255) for v in values.ravel().tolist()]).reshape(2, 3, 3)
    assert np.array_equal(to_pixels(values, name="x"), expected)


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (PIXELS.astype(float), "float64 values from 0 to 255"),
        (np.full((20, 2, 2), np.nan), "values from nan"),
        (np.full((20, 2, 2), -0.1), "values from -0.1"),
        (PIXELS.astype(np.int16) * 9, "int16 values from"),
        (PIXELS.reshape(20, 30), r"the shape \(20, 30\)"),
        (np.zeros((20, 5, 5, 4), np.uint8), r"the shape \(20, 5, 5, 4\)"),
        (np.zeros((0, 5, 5), np.uint8), r"the shape \(0, 5, 5\)"),
        (np.full((20, 2, 2), "a"), "<U1"),
        (PIXELS.astype(complex), "complex128"),
        (PIXELS[:9], "9 images and 20 labels"),
    ],
)
def test_images_that_are_none(tmp_path, images, found):
    with pytest.raises(DataError) as caught:
        read(tmp_path, x=images, y=LABELS)
    import re

    assert re.search(found, str(caught.value))


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (LABELS[:, None], ("0", "1")),
        (LABELS.astype(np.float32), ("0", "1")),
        (LABELS.astype(bool), ("0", "1")),
        (LABELS * 11 - 1, ("-1", "10")),
        (np.where(LABELS, "dog", "cät"), ("cät", "dog")),
        (np.where(LABELS, b"dog", b"cat"), ("cat", "dog")),
        (np.eye(2)[LABELS], ("0", "1")),
        (np.eye(2, dtype=np.uint8)[LABELS], ("0", "1")),
    ],
)
def test_labels_of_one_class(tmp_path, labels, classes):
    data = read(tmp_path, x=PIXELS, y=labels)
    assert data.classes == classes
    assert not data.multi_label
    for row, (_, label) in by_row(data).items():
        assert label == classes[LABELS[row]]


def test_whole_numbers_go_by_value(tmp_path):
    data = read(tmp_path, x=PIXELS, y=np.arange(20) % 12)
    assert data.classes == tuple(str(number) for number in range(12))


def test_several_labels_an_image(tmp_path):
    table = GENERATOR.integers(0, 2, (20, 3))
    table[0] = (1, 1, 0)
    data = read(tmp_path, train_images=PIXELS, train_labels=table, val_images=PIXELS,
                val_labels=table, classes=np.array(["a", "b", "c"]))  # fmt: skip
    assert data.multi_label
    assert data.classes == ("a", "b", "c")
    for split in ("train", "val"):
        part = data.splits[split]
        assert part.targets_NK.dtype == np.float32
        assert np.array_equal(part.targets_NK, table)
        assert np.array_equal(part.labels_N, table.argmax(axis=1))


def test_names_of_numbers(tmp_path):
    data = read(tmp_path, x=PIXELS, y=LABELS, classes=np.array(["zebra", "ant"]))
    assert data.classes == ("zebra", "ant")
    assert by_row(data)[3][1] == "ant"
    with pytest.raises(DataError, match="labels without a name"):
        read(tmp_path, x=PIXELS, y=LABELS + 1, class_names=np.array(["zebra", "ant"]))


@pytest.mark.parametrize(
    ("arrays", "found"),
    [
        ({"x": PIXELS}, "no labels of train"),
        ({"x_test": PIXELS, "y_test": LABELS}, "no images of train, labels of train"),
        ({"x": PIXELS, "y": LABELS, "x_val": PIXELS}, "no labels of val"),
        ({"weights": PIXELS}, "members weights"),
        ({"x": PIXELS, "y": LABELS / 3}, "cannot be read as labels"),
        ({"x": PIXELS, "y": np.zeros((20, 2, 2))}, "cannot be read as labels"),
        ({"x": PIXELS, "y": LABELS * 0}, "only the class 0"),
        (
            {"x_train": PIXELS, "y_train": LABELS, "x_val": PIXELS, "y_val": LABELS + 1},
            "classes that train has not",
        ),
        (
            {"x_train": PIXELS, "y_train": LABELS, "x_val": COLOURS, "y_val": LABELS},
            "different shapes",
        ),
        (
            {"x_train": PIXELS, "y_train": LABELS, "x_val": PIXELS, "y_val": np.eye(2)[LABELS]},
            "different kinds",
        ),
    ],
)
def test_what_does_not_fit_is_told(tmp_path, arrays, found):
    with pytest.raises(DataError) as caught:
        read(tmp_path, **arrays)
    assert found in str(caught.value)


def test_objects_are_not_unpickled(tmp_path):
    np.savez(tmp_path / "x.npz", x=PIXELS, y=np.array([{}] * 20, dtype=object))
    with pytest.raises(DataError, match="without running"):
        read_arrays(tmp_path / "x.npz", seed=0)


def member(shape, content=b"", dtype="|u1"):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    return file.getvalue() + content


@pytest.mark.parametrize(
    "content",
    [
        member((2**40, 8, 8)),
        member((2**62, 2**62)),
        member((20, 5, 6), b"short"),
        b"\x93NUMPY\x01\x00\xff\xff{",
        b"\x93NUMPY\x09\x00\x01\x00{",
        b"no array",
        b"",
    ],
)
def test_members_that_claim_more_than_they_hold(tmp_path, content):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", content)
        archive.writestr("y.npy", member((20,), bytes(20)))
    with pytest.raises(DataError):
        read_arrays(tmp_path / "x.npz", seed=0)


def test_members_that_are_no_arrays_are_not_read(tmp_path):
    np.savez(tmp_path / "x.npz", x=PIXELS, y=LABELS)
    shutil.copy(files("zoo_datasets") / "files" / "fashion-mini.npz", tmp_path / "packed.npz")
    for name in ("x.npz", "packed.npz"):
        with zipfile.ZipFile(tmp_path / name, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x", b"no array")  # numpy.load takes it for x.npy
            archive.writestr("bomb", bytes(300_000_000))
    assert len(by_row(read_path(tmp_path / "x.npz", seed=0))) == 20
    tracemalloc.start()
    try:
        data = read_path(tmp_path / "packed.npz", seed=0)
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()
    assert sizes(data) == {"train": 6000, "val": 1000, "test": 1000}


@pytest.mark.parametrize("extra", [member((2**40, 8, 8)), member((20, 5, 6), b"short")])
def test_members_of_the_packed_format_that_claim_more_than_they_hold(tmp_path, extra):
    shutil.copy(files("zoo_datasets") / "files" / "fashion-mini.npz", tmp_path / "x.npz")
    with zipfile.ZipFile(tmp_path / "x.npz", "a") as archive:
        archive.writestr("more.npy", extra)
    with pytest.raises(DataError, match="more claims"):
        read_packed(tmp_path / "x.npz")


def test_all_members_together_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("zoo.data.reading.members.MAX_ARRAY_BYTES", 700)
    for name in ("x", "about"):  # 600 bytes of images and 160 of labels
        with pytest.raises(DataError, match="more than 700 bytes"):
            read(tmp_path, **{name: PIXELS, "y": LABELS})


def test_every_flipped_byte_is_read_or_told(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", x=PIXELS[:6, :2, :2], y=LABELS[:6])
    whole = (tmp_path / "x.npz").read_bytes()
    told = 0
    for position in range(0, len(whole), 3):
        content = bytearray(whole)
        content[position] ^= 0x41
        (tmp_path / "y.npz").write_bytes(content)
        try:
            read_arrays(tmp_path / "y.npz", seed=0, fractions=(0.5, 0.5))
        except DataError:
            told += 1
    assert told > len(whole) // 12


def test_the_packed_format_is_read(tmp_path):
    path = files("zoo_datasets") / "files" / "fashion-mini.npz"
    data = read_path(str(path), seed=0)
    assert len(data.classes) == 10
    assert sizes(data) == {"train": 6000, "val": 1000, "test": 1000}
