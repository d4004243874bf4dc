"""Bad images: all found, also by reduced decoding, and left out of every array of a split."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from faults import build_fault_directory
from PIL import Image
from sklearn.datasets import load_sample_image

from zoo.data.pixels.damage import bad_images, find_bad, without_bad
from zoo.data.pixels.decode import open_image
from zoo.data.pixels.store import Store
from zoo.data.reading.folder import FileImages, read_folder
from zoo.data.reading.packed import EncodedImages, StackedImages
from zoo.errors import DataError
from zoo.protocols import DataSet, Preprocessing, Split


def images_in(root, count, broken=()):
    root.mkdir(exist_ok=True)
    for index in range(count):
        path = root / f"{index}.png"
        Image.new("RGB", (9, 9), (index, 0, 0)).save(path)
        if index in broken:
            path.write_bytes(path.read_bytes()[:30])
    return FileImages(root=root, names=tuple(f"{index}.png" for index in range(count)))


def data_set(tmp_path, train=(), val=()):
    labels_N = np.arange(12) % 3
    splits = {
        "train": Split(
            images=images_in(tmp_path / "train", 12, train),
            labels_N=labels_N,
            targets_NK=np.eye(3, dtype=np.float32)[labels_N],
            weights_N=np.arange(12, dtype=np.float32),
        ),
        "val": Split(images=images_in(tmp_path / "val", 6, val), labels_N=np.arange(6) % 3),
    }
    return DataSet(name="x", classes=("a", "b", "c"), splits=splits, fingerprint="f0",
                   notes=("a note",))  # fmt: skip


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_every_bad_image_is_found_with_its_reason(tmp_path, threads):
    images = images_in(tmp_path, 70, broken={0, 33, 69})
    (tmp_path / "5.png").unlink()
    told = []
    bad = find_bad(images, num_threads=threads, progress=lambda *now: told.append(now))
    assert list(bad) == [0, 5, 33, 69]
    assert bad[5] == "No such file or directory"
    assert told[-1] == (70, 70)


def test_decoded_images_are_never_bad():
    pixels = np.zeros((3, 4, 4), dtype=np.uint8)
    assert find_bad(StackedImages(pixels=pixels, names=["", "", ""]), num_threads=1) == {}


def test_a_jpeg_cut_anywhere_is_found_although_it_is_decoded_at_an_eighth():
    # 320 x 320 photograph: large enough for 1/8.
    content = BytesIO()
    Image.fromarray(load_sample_image("china.jpg")[:320, :320]).save(content, "JPEG")
    whole = content.getvalue()
    parts = [whole[: len(whole) * share // 40] for share in range(1, 41)]
    offsets = np.cumsum([0, *map(len, parts)])
    images = EncodedImages(
        content=np.frombuffer(b"".join(parts), dtype=np.uint8), offsets=offsets,
        names=[str(index) for index in range(40)],
    )  # fmt: skip

    def readable(index):
        try:
            open_image(parts[index], name="x")
        except DataError:
            return False
        return True

    expected = [index for index in range(40) if not readable(index)]
    assert len(expected) == 39
    assert list(find_bad(images, num_threads=2)) == expected


def test_the_error_names_the_first_twenty(tmp_path):
    images = images_in(tmp_path, 30)
    error = bad_images(images, {index: f"reason {index}" for index in range(25)})
    assert error.exit_code == 3
    assert "25 of 30 images" in error.what
    assert "19.png: reason 19" in error.what
    assert "20.png" not in error.what
    assert "and 5 more" in error.what


def test_bad_images_are_left_out_of_every_array(tmp_path):
    data = data_set(tmp_path, train={2, 7}, val={4})
    told = []
    fewer = without_bad(data, num_threads=2, progress=lambda *now: told.append(now))
    train = fewer.splits["train"]
    kept = [index for index in range(12) if index not in (2, 7)]
    assert train.labels_N.tolist() == [index % 3 for index in kept]
    assert train.weights_N.tolist() == kept
    assert train.targets_NK.argmax(1).tolist() == train.labels_N.tolist()
    assert [train.images.read(row).getpixel((0, 0))[0] for row in range(10)] == kept
    assert [train.images.source(row).name for row in range(10)] == [f"{i}.png" for i in kept]
    assert len(fewer.splits["val"].images) == 5
    assert set(fewer.bad) == {"2.png", "7.png", "4.png"}
    assert all(fewer.bad.values())
    assert fewer.fingerprint != data.fingerprint
    assert fewer.notes[0] == "a note"
    assert "left out 3 images that cannot be read" in fewer.notes[1]
    assert told[-1] == (18, 18)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    again = without_bad(data, num_threads=1)
    assert again.fingerprint == fewer.fingerprint


def test_the_same_name_in_two_splits_is_kept_apart(tmp_path):
    fewer = without_bad(data_set(tmp_path, train={1}, val={1}), num_threads=1)
    assert set(fewer.bad) == {"1.png", "val: 1.png"}


def test_good_data_comes_back_as_it_is(tmp_path):
    data = data_set(tmp_path)
    assert without_bad(data, num_threads=2) is data


def test_a_lost_class_and_a_lost_split_are_errors_together(tmp_path):
    data = data_set(tmp_path, train={0, 3, 6, 9}, val=set(range(6)))
    with pytest.raises(DataError) as caught:
        without_bad(data, num_threads=2)
    assert "no image of the class a can be read in train" in str(caught.value)
    assert "no image of val can be read" in str(caught.value)


def test_a_lost_label_of_several_is_an_error_and_in_val_a_note(tmp_path):
    several = np.zeros((12, 3), dtype=np.float32)
    several[:, 0] = several[4, 1] = several[5:, 2] = 1
    data = data_set(tmp_path, train={4})
    train = replace(data.splits["train"], targets_NK=several, labels_N=several.argmax(1))
    data = replace(data, splits=data.splits | {"train": train}, multi_label=True)
    with pytest.raises(DataError, match="no image of the class b can be read in train"):
        without_bad(data, num_threads=1)
    fewer = without_bad(data_set(tmp_path, val={1, 4}), num_threads=1)
    assert fewer.notes[-1] == "val is left without images of b"


def test_what_is_left_of_the_fault_directory_can_be_trained_on(tmp_path):
    root = tmp_path / "faults"
    expected = build_fault_directory(root)
    data = read_folder(root, seed=0, on_bad="skip")
    clean = without_bad(data, num_threads=2)
    outcomes = {name: entry.outcome for name, entry in expected.items()}
    broken = {name for name, outcome in outcomes.items() if outcome in ("header", "pixels")}
    assert set(clean.bad) == broken
    left = [s.images.name(row) for s in clean.splits.values() for row in range(len(s.images))]
    assert {name for name, outcome in outcomes.items() if outcome == "good"} <= set(left)
    for split in clean.splits.values():
        store = Store.open(split.images, preprocessing=Preprocessing(image_size=8), channels=3,
                           budget_bytes=2**30, num_threads=2)  # fmt: skip
        assert len(store.fetch(np.arange(len(split.images)))) == len(split.images)
    undecodable = [s for s in data.splits.values() if find_bad(s.images, num_threads=1)]
    for split in undecodable:
        with pytest.raises(DataError, match="cannot be read"):
            Store.open(split.images, preprocessing=Preprocessing(image_size=8), channels=3,
                       budget_bytes=2**30, num_threads=2)  # fmt: skip
    assert undecodable
