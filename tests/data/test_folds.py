"""Folds: every image validated once, classes in proportion, groups together, test untouched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import zoo.api
from zoo.config import RunConfig
from zoo.config.rules import parse_fold
from zoo.data.folds import joined, with_fold
from zoo.engine.assembly.reading import read_data
from zoo.errors import DataError, UsageError
from zoo.protocols import DataSet, PixelImages, Split


class Plain:
    """Grey images that know their number."""

    def __init__(self, first, count):
        self.first, self.count = first, count

    def __len__(self):
        return self.count

    def read(self, index):
        return Image.new("RGB", (4, 4), (self.first + index,) * 3)

    def name(self, index):
        return f"image-{self.first + index}"


def data_of(labels, *, num_val=4, groups=None, pixels=False):
    labels = np.asarray(labels, dtype=np.int64)
    at = len(labels) - num_val

    def part(first, last):
        images = Plain(first, last - first)
        if pixels:
            images.pixels = np.arange(first, last, dtype=np.uint8).reshape(-1, 1, 1)
        return Split(
            images=images, labels_N=labels[first:last],
            groups_N=None if groups is None else np.asarray(groups, dtype=np.int64)[first:last],
        )  # fmt: skip

    test = Split(images=Plain(500, 3), labels_N=np.zeros(3, dtype=np.int64))
    return DataSet(
        name="made", classes=("a", "b", "c"), fingerprint="f",
        splits={"train": part(0, at), "val": part(at, len(labels)), "test": test},
    )  # fmt: skip


def names(split):
    return [split.images.name(index) for index in range(len(split.images))]


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 2), min_size=12, max_size=60),
    st.integers(2, 5),
    st.integers(0, 2**31 - 1),
)
def test_every_image_is_validated_exactly_once(labels, total, seed):
    data = data_of(labels)
    folds = [with_fold(data, number=n, total=total, seed=seed) for n in range(1, total + 1)]
    validated = [name for fold in folds for name in names(fold.splits["val"])]
    assert sorted(validated) == sorted(f"image-{n}" for n in range(len(labels)))
    for fold in folds:
        train, val = set(names(fold.splits["train"])), set(names(fold.splits["val"]))
        assert not train & val
        assert len(train | val) == len(labels)
        for split in ("train", "val"):
            for name, label in zip(
                names(fold.splits[split]), fold.splits[split].labels_N, strict=True
            ):
                assert labels[int(name.removeprefix("image-"))] == label
        assert fold.splits["test"] is data.splits["test"]
        for label in range(3):  # in proportion, but for rounding
            share = labels.count(label) / total
            assert abs((fold.splits["val"].labels_N == label).sum() - share) <= 1.0 + 1e-9
    assert len({fold.fingerprint for fold in folds}) == total


def test_a_group_is_never_torn():
    groups = np.repeat(np.arange(12), 4)
    data = data_of(np.repeat(np.arange(12) % 3, 4), groups=groups)
    seen = [set() for _ in range(4)]
    for number in range(1, 5):
        fold = with_fold(data, number=number, total=4, seed=0)
        seen[number - 1] = set(fold.splits["val"].groups_N.tolist())
        assert not seen[number - 1] & set(fold.splits["train"].groups_N.tolist())
    assert set().union(*seen) == set(range(12))
    with pytest.raises(DataError, match="too few groups for 20 folds"):
        with_fold(data, number=1, total=20, seed=0)


def test_folds_are_of_one_size_where_classes_have_fewer_images_than_there_are_folds():
    data = data_of([0, 0, 1, 1, 2, 2], num_val=2)
    folds = [with_fold(data, number=n, total=3, seed=0).splits["val"] for n in (1, 2, 3)]
    assert [len(fold.labels_N) for fold in folds] == [2, 2, 2]


@pytest.mark.parametrize(("num_groups", "total"), [(3, 3), (9, 4), (12, 5), (15, 15)])
def test_folds_can_be_had_where_classes_have_fewer_groups_than_there_are_folds(num_groups, total):
    """Such as patients, each with images of one class."""
    groups = np.repeat(np.arange(num_groups), 2)
    data = data_of(groups % 3, num_val=2, groups=groups)
    folds = [
        with_fold(data, number=n, total=total, seed=0).splits["val"] for n in range(1, total + 1)
    ]
    counts = [len(set(fold.groups_N.tolist())) for fold in folds]
    assert sum(counts) == num_groups
    assert max(counts) - min(counts) <= 1


def test_images_of_two_splits_that_have_one_name_are_told_apart():
    data = data_of([0, 1, 2] * 4)
    data.splits["val"].images.first = 0  # image-0 is in both
    validated = [
        name
        for number in (1, 2, 3)
        for name in names(with_fold(data, number=number, total=3, seed=0).splits["val"])
    ]
    assert sorted(validated) == sorted(
        [*(f"train/image-{n}" for n in range(8)), *(f"val/image-{n}" for n in range(4))]
    )


def test_decoded_images_stay_decoded():
    data = data_of([0, 1, 2] * 6, pixels=True)
    whole = joined([data.splits["train"], data.splits["val"]])
    assert whole.images.pixels.ravel().tolist() == list(range(18))
    val = with_fold(data, number=2, total=3, seed=1).splits["val"]
    numbers = [int(name.removeprefix("image-")) for name in names(val)]
    assert val.images.pixels.ravel().tolist() == numbers
    assert val.images.read(0).getpixel((0, 0)) == (numbers[0],) * 3


def test_a_manifests_groups_reach_the_folds(tmp_path):
    rows = ["path,label,group"]
    for index in range(24):
        Image.new("RGB", (8, 8), (index * 9,) * 3).save(tmp_path / f"{index}.png")
        rows.append(f"{index}.png,{'ab'[index % 2]},animal-{index // 4}")
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    data = zoo.api.read_data(tmp_path / "list.csv", split=(0.5, 0.5, 0.0))
    for number in (1, 2, 3):
        fold = with_fold(data, number=number, total=3, seed=0)
        there = {
            split: {int(name.removesuffix(".png")) // 4 for name in names(fold.splits[split])}
            for split in ("train", "val")
        }
        assert not there["train"] & there["val"]


def test_a_class_that_a_fold_does_not_train_on_is_told():
    data = data_of([0, 1] * 6 + [2])
    told = [
        [note for note in with_fold(data, number=n, total=3, seed=0).notes if "without" in note]
        for n in (1, 2, 3)
    ]
    without = "is left without images of c"
    assert sorted(told) == [[f"train {without}"], [f"val {without}"], [f"val {without}"]]


def test_other_groups_make_another_fingerprint():
    pairs, threes = (
        with_fold(data_of([0, 1] * 6, groups=np.arange(12) // n), number=1, total=3, seed=0)
        for n in (2, 3)
    )
    assert names(pairs.splits["val"]) != names(threes.splits["val"])
    assert pairs.fingerprint != threes.fingerprint


def test_a_share_is_taken_of_the_training_images_of_a_fold():
    def read(*source, **facts):
        return data_of([0, 1, 2] * 20, num_val=15)

    whole, some = (
        [read_data(RunConfig(fold=f"{n}/3", fraction=share), None, read=read) for n in (1, 2, 3)]
        for share in (1.0, 0.25)
    )
    for all_of_it, part in zip(whole, some, strict=True):
        assert (len(all_of_it.splits["train"].images), len(part.splits["train"].images)) == (40, 10)
        assert names(all_of_it.splits["val"]) == names(part.splits["val"])
        assert set(names(part.splits["train"])) < set(names(all_of_it.splits["train"]))


@pytest.mark.parametrize("text", ["", "2", "0/5", "6/5", "1/1", "a/b", "-1/3", "1/3/5", "²/5"])
def test_what_is_not_a_fold_is_said(text):
    with pytest.raises(UsageError, match="not a fold"):
        parse_fold(text)


def test_joined_splits_read_the_image_that_they_name_and_weigh_it():
    data = data_of([0, 1, 2] * 4)
    weighted = replace(data.splits["val"], weights_N=np.array([2, 3, 4, 5], dtype=np.float32))
    whole = joined([data.splits["train"], weighted])
    assert names(whole) == [f"image-{n}" for n in range(12)]
    for index in range(12):
        assert whole.images.read(index).getpixel((0, 0)) == (index,) * 3
    assert whole.weights_N.tolist() == [1.0] * 8 + [2.0, 3.0, 4.0, 5.0]
    assert joined([data.splits["train"], data.splits["val"]]).weights_N is None


def test_decoded_images_of_several_sizes_are_joined_one_by_one():
    data = data_of([0, 1, 2] * 4, pixels=True)
    data.splits["val"].images.pixels = np.zeros((4, 2, 2), dtype=np.uint8)
    whole = joined([data.splits["train"], data.splits["val"]])
    assert not isinstance(whole.images, PixelImages)
    assert whole.images.read(11).getpixel((0, 0)) == (11,) * 3
