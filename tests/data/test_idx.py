"""IDX files: written here by hand, byte for byte, and every kind of damage."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from zoo.data.reading.idx import find_idx_files, read_idx, read_idx_file, write_idx_file
from zoo.data.reading.sources import read_path
from zoo.errors import DataError

GENERATOR = np.random.default_rng(3)


def idx_bytes(values, *, kind=8):
    head = bytes([0, 0, kind, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return head + values.astype(np.uint8).tobytes()


def write(folder, split, count, *, zipped=False, side=5, classes=3, form="{}-{}-idx{}-ubyte"):
    folder.mkdir(parents=True, exist_ok=True)
    images = GENERATOR.integers(0, 256, (count, side, side + 1), dtype=np.uint8)
    labels = np.arange(count, dtype=np.uint8) % classes
    for what, rank, values in (("images", 3, images), ("labels", 1, labels)):
        content = idx_bytes(values)
        name = form.format(split, what, rank)
        path = folder / (name + (".gz" if zipped else ""))
        path.write_bytes(gzip.compress(content) if zipped else content)
    return images, labels


@pytest.mark.parametrize("zipped", [False, True])
def test_train_and_test_with_validation_taken_from_train(tmp_path, zipped):
    images, labels = write(tmp_path, "train", 30, zipped=zipped)
    test_images, test_labels = write(tmp_path, "t10k", 6, zipped=zipped)
    data = read_idx(tmp_path, seed=0)
    assert data.classes == ("0", "1", "2")
    assert {s: len(part.images) for s, part in data.splits.items()} == {
        "train": 27,
        "val": 3,
        "test": 6,
    }
    assert np.bincount(data.splits["val"].labels_N).tolist() == [1, 1, 1]
    assert np.array_equal(data.splits["test"].images.pixels, test_images)
    assert np.array_equal(data.splits["test"].labels_N, test_labels)
    seen = set()
    for split in ("train", "val"):
        part = data.splits[split]
        for position, label in enumerate(part.labels_N):
            origin, _, row = part.images.name(position).rpartition("-")
            assert origin == "train"
            seen.add(int(row))
            assert np.array_equal(part.images.pixels[position], images[int(row)])
            assert label == labels[int(row)]
            assert np.array_equal(np.asarray(part.images.read(position))[..., 0], images[int(row)])
    assert seen == set(range(30))
    assert data.typical_side == 5
    assert "validation was split from training" in data.notes


def test_the_split_and_the_fingerprint_follow_the_seed_and_the_content(tmp_path):
    write(tmp_path, "train", 30)
    first, again, other = (read_idx(tmp_path, seed=seed) for seed in (1, 1, 2))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    path = tmp_path / "train-images-idx3-ubyte"
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    assert read_idx(tmp_path, seed=1).fingerprint != first.fingerprint
    assert sum(len(part.images) for part in first.splits.values()) == 30


@pytest.mark.parametrize(
    "form",
    [
        "{}-{}.idx{}-ubyte",
        "{}-{}-idx{}-ubyte",
        "emnist-letters-{}-{}-idx{}-ubyte",
        "{}_{}_idx{}_ubyte",
    ],
)
def test_names_as_they_are_found(tmp_path, form):
    write(tmp_path, "train", 20, form=form)
    write(tmp_path, "test", 5, form=form)
    write(tmp_path, "valid", 4, form=form)
    data = read_path(tmp_path, seed=0)
    assert {s: len(p.images) for s, p in data.splits.items()} == {"train": 20, "val": 4, "test": 5}


def test_class_names_from_a_file_beside(tmp_path):
    write(tmp_path, "train", 20)
    (tmp_path / "classes.txt").write_text("zebra\nant \nbee\nwasp\n")
    data = read_idx(tmp_path, seed=0)
    assert data.classes == ("zebra", "ant", "bee", "wasp")
    assert "train has no images of wasp" in data.notes
    (tmp_path / "classes.txt").write_text("zebra\nant\n")
    with pytest.raises(DataError, match="do not fit together"):
        read_idx(tmp_path, seed=0)
    (tmp_path / "classes.txt").write_text("a\n\nb\n")
    with pytest.raises(DataError, match="each class once"):
        read_idx(tmp_path, seed=0)


def test_a_raw_folder_as_torchvision_leaves_it_with_both_forms(tmp_path):
    images, _ = write(tmp_path / "raw", "train", 20)
    write(tmp_path / "raw", "train", 10, zipped=True)  # the plain file is taken
    data = read_path(tmp_path, seed=0)
    assert sum(len(part.images) for part in data.splits.values()) == len(images)


def test_files_of_two_data_sets(tmp_path):
    for name in ("digits", "letters"):
        write(tmp_path, "train", 20, form=name + "-{}-{}-idx{}-ubyte")
    with pytest.raises(DataError, match="several data sets"):
        find_idx_files(tmp_path)


def test_a_test_class_that_training_does_not_know(tmp_path):
    write(tmp_path, "train", 20, classes=2)
    write(tmp_path, "t10k", 6, classes=3)
    with pytest.raises(DataError, match="classes that train has not") as caught:
        read_idx(tmp_path, seed=0)
    assert "found: 2" in str(caught.value)


def test_missing_files_are_all_told(tmp_path):
    write(tmp_path, "t10k", 6)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError) as caught:
        read_path(tmp_path, seed=0)
    for line in ("no images of train", "no labels of train", "no labels of test"):
        assert line in str(caught.value)


GOOD = idx_bytes(np.arange(12).reshape(2, 2, 3))
DAMAGED = {
    "empty": (b"", "0 bytes"),
    "another format": (b"\x89PNG\r\n\x1a\n", "it starts with 89 50"),
    "floats": (b"\0\0\x0d\x01" + bytes(8), "type 13"),
    "rank 2": (idx_bytes(np.zeros((2, 2))), "rank 2"),
    "no sizes": (GOOD[:9], "no sizes"),
    "cut short": (GOOD[:-1], "11 of 12 bytes"),
    "too long": (GOOD + b"\0", "more than the 12 bytes"),
    "claims 2**96 bytes": (b"\0\0\x08\x03" + b"\xff" * 12 + bytes(9), "more than"),
    "claims 8 GB": (b"\0\0\x08\x01" + struct.pack(">I", 2**32 - 1) + b"abc", "3 of 4294967295"),
    "gzip cut short": (gzip.compress(GOOD)[:-9], ""),
    "gzip of noise": (gzip.compress(b"noise"), "it starts with 6e 6f"),
    "gzip damaged": (gzip.compress(GOOD)[:12] + b"\xff\xff" + gzip.compress(GOOD)[14:], ""),
}


@pytest.mark.parametrize(("content", "found"), DAMAGED.values(), ids=DAMAGED)
def test_damage_is_told(tmp_path, content, found):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_idx_file(path)
    assert "train-images-idx3-ubyte" in str(caught.value)
    assert found in str(caught.value)


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4), (0,)])
def test_what_is_written_is_read(tmp_path, shape):
    values = GENERATOR.integers(0, 256, shape, dtype=np.uint8)
    write_idx_file(tmp_path / "a.gz", values)
    write_idx_file(tmp_path / "b.gz", values)
    assert np.array_equal(read_idx_file(tmp_path / "a.gz"), values)
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == idx_bytes(values)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_torchvision_reads_what_is_written(tmp_path):
    from torchvision.datasets.mnist import read_image_file

    values = GENERATOR.integers(0, 256, (3, 4, 4), dtype=np.uint8)
    write_idx_file(tmp_path / "a.gz", values)
    (tmp_path / "a").write_bytes(gzip.decompress((tmp_path / "a.gz").read_bytes()))
    assert np.array_equal(read_image_file(str(tmp_path / "a")).numpy(), values)
