"""Which samples an epoch visits: every one, the rare ones more often, some several times."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from zoo.data.batches import balanced_draws, cut, repeated_draws, split_evenly
from zoo.data.randomness import Stream, key, order, uniform
from zoo.data.reading.folder import read_folder
from zoo.data.subset import stratified_rows, subset, with_fewer_images
from zoo.protocols import DataSet, Split


@given(st.integers(1, 300), st.integers(1, 5), st.integers(0, 50), st.integers(0, 50))
def test_repeats_draw_each_visited_sample_so_many_times(num, repeats, seed, epoch):
    draws = repeated_draws(num, repeats=repeats, seed=seed, epoch=epoch)
    assert len(draws) == num
    assert len(set(draws.tolist())) == num, "no draw twice: each copy is augmented differently"
    visits = Counter((draws % num).tolist())
    assert len(visits) == -(-num // repeats)
    assert sorted(visits.values())[1:] == [repeats] * (len(visits) - 1)
    if repeats == 1:
        assert draws.tolist() == order(seed, epoch, num).tolist()


@given(st.lists(st.integers(0, 4), min_size=2, max_size=200), st.integers(0, 99))
def test_balanced_draws_visit_each_class_equally_often(labels, seed):
    labels_N = np.array(labels, dtype=np.int64)
    num, classes = len(labels), set(labels)
    draws = balanced_draws(labels_N, seed=seed, epoch=3)
    assert len(set(draws.tolist())) == num
    samples = draws % num
    share = num / len(classes)
    counts = Counter(labels_N[samples].tolist())
    for label in classes:
        assert abs(counts[label] - share) <= 1
        members = np.flatnonzero(labels_N == label)
        visits = [int((samples == member).sum()) for member in members]
        assert max(visits) - min(visits) <= 1, "nobody twice before everybody once"
    copies = draws // num
    for sample in set(samples.tolist()):
        assert sorted(copies[samples == sample].tolist()) == list(range((samples == sample).sum()))


def test_balanced_draws_visit_other_samples_in_other_epochs():
    labels_N = np.array([0] * 90 + [1] * 10, dtype=np.int64)
    seen = [set((balanced_draws(labels_N, seed=0, epoch=e) % 100).tolist()) for e in range(30)]
    assert set().union(*seen) == set(range(100))
    assert seen[0] != seen[1]


@given(st.integers(1, 64), st.integers(1, 9), st.integers(1, 3))
def test_parts_hold_the_batch_and_the_partner_before_each_draw(size, num_parts, world):
    batch = np.arange(100, 100 + size)
    if size < world:
        return
    parts = [
        part
        for rank in range(world)
        for part in cut(batch, num_parts=num_parts, rank=rank, world=world)
    ]
    assert sorted(np.concatenate([part.draws_B for part in parts]).tolist()) == batch.tolist()
    assert all(len(part.draws_B) for part in parts)
    assert len(parts) == world * max(1, min(num_parts, size // world))
    for part in parts:
        assert (part.partners_B == 100 + (part.draws_B - 100 - 1) % size).all()


@pytest.mark.parametrize(("num", "batch_size"), [(24, 8), (25, 9), (50, 7)])
def test_the_partner_of_an_image_that_stands_several_times_is_another_image(num, batch_size):
    for repeats in (1, 2, 3):
        draws = repeated_draws(num, repeats=repeats, seed=0, epoch=0)
        for batch in split_evenly(draws, batch_size):
            (part,) = cut(batch, num_parts=1, repeats=repeats)
            if len(batch) >= 2 * repeats:
                assert (part.draws_B % num != part.partners_B % num).all()


@given(st.integers(2, 30), st.integers(1, 40))
def test_the_partner_is_another_draw_however_small_the_batch(size, repeats):
    (part,) = cut(np.arange(size), num_parts=1, repeats=repeats)
    assert (part.draws_B != part.partners_B).all()


@given(st.lists(st.integers(0, 6), min_size=1, max_size=120), st.data(), st.integers(0, 2**31 - 1))
def test_a_stratified_choice_keeps_proportions(labels, data, seed):
    labels_N = np.array(labels, dtype=np.int64)
    count = data.draw(st.integers(1, len(labels)))
    rows = stratified_rows(labels_N, count=count, seed=seed)
    assert len(rows) == count
    assert sorted(set(rows.tolist())) == rows.tolist()
    counts = Counter(labels)
    chosen = Counter(labels_N[rows].tolist())
    if count >= len(counts):
        assert set(chosen) == set(counts), "no class is lost if all fit"
    for label, total in counts.items():
        assert chosen[label] <= total
        assert abs(chosen[label] - count * total / len(labels)) <= len(counts)
    larger = stratified_rows(labels_N, count=min(len(labels), count + 3), seed=seed)
    assert set(rows.tolist()) <= set(larger.tolist()), "a larger choice holds the smaller one"


@given(st.integers(1, 200), st.integers(1, 7))
def test_batches_are_of_one_size_and_never_of_one_image_where_two_can_be_had(num, batch_size):
    batches = split_evenly(np.arange(num), batch_size)
    sizes = [len(batch) for batch in batches]
    assert np.concatenate(batches).tolist() == list(range(num))
    assert max(sizes) - min(sizes) <= 1
    smallest = min(2, num, batch_size)
    assert min(sizes) >= smallest
    # As few as the size allows, and for it only fewer where one image would be left alone.
    assert len(sizes) == min(-(-num // batch_size), num // smallest)


@given(st.integers(0, 2**31), st.integers(0, 99), st.lists(st.integers(0, 2**40), max_size=5))
def test_numbers_are_those_of_the_documented_hash(seed, epoch, samples):
    """SplitMix64 as its paper writes it, on Python's unbounded integers."""
    gamma = 0x9E3779B97F4A7C15

    def mixed(value):
        value %= 2**64
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
        return value ^ (value >> 31)

    state = 0
    for counter in (Stream.MIX, seed, epoch):
        state = mixed(state + gamma + counter)
    assert key(Stream.MIX, seed, epoch) == state >> 1
    found = uniform(Stream.MIX, seed, epoch, samples, count=3)
    assert found.shape == (len(samples), 3)
    for sample, row in zip(samples, found.tolist(), strict=True):
        first = mixed(sample * gamma + (state >> 1))
        assert row == [(mixed(first + n * gamma) >> 11) / 2**53 for n in (1, 2, 3)]


class Named:
    def __init__(self, num):
        self.num = num

    def __len__(self):
        return self.num

    def read(self, index):
        raise NotImplementedError

    def name(self, index):
        return f"image-{index}"


def data_of(num):
    labels_N = np.arange(num) % 3
    split = Split(
        images=Named(num),
        labels_N=labels_N,
        weights_N=np.arange(num, dtype=np.float32),
        targets_NK=np.eye(3, dtype=np.float32)[labels_N],
    )
    splits = {"train": split, "val": split, "test": split}
    return DataSet(name="d", classes=("a", "b", "c"), splits=splits, fingerprint="f")


def test_a_subset_keeps_everything_about_its_rows():
    rows = np.array([4, 1, 8])
    part = subset(data_of(9).splits["train"], rows)
    assert [part.images.name(i) for i in range(len(part.images))] == [
        "image-4",
        "image-1",
        "image-8",
    ]
    assert part.labels_N.tolist() == [1, 1, 2]
    assert part.weights_N.tolist() == [4, 1, 8]
    assert part.targets_NK.argmax(1).tolist() == [1, 1, 2]


def test_limit_is_for_each_split_and_fraction_for_training_alone():
    data = data_of(60)
    assert with_fewer_images(data, limit=None, fraction=1.0, seed=0) is data
    limited = with_fewer_images(data, limit=12, fraction=1.0, seed=0)
    assert {n: len(s.images) for n, s in limited.splits.items()} == dict.fromkeys(data.splits, 12)
    assert Counter(limited.splits["val"].labels_N.tolist()) == {0: 4, 1: 4, 2: 4}
    share = with_fewer_images(data, limit=None, fraction=0.25, seed=0)
    assert [len(share.splits[n].images) for n in ("train", "val", "test")] == [15, 60, 60]
    assert "15 of 60 train" in share.notes[-1]
    assert len({data.fingerprint, limited.fingerprint, share.fingerprint}) == 3
    other = with_fewer_images(data, limit=12, fraction=1.0, seed=1)
    assert other.fingerprint != limited.fingerprint


def test_classes_that_are_left_without_images_are_told():
    data = data_of(60)
    two = with_fewer_images(data, limit=2, fraction=1.0, seed=0)
    for name, part in two.splits.items():
        (lost,) = {0, 1, 2} - set(part.labels_N.tolist())
        assert f"{name} is left without images of {'abc'[lost]}" in two.notes
    three = with_fewer_images(data, limit=3, fraction=1.0, seed=0)
    assert not any("without" in note for note in three.notes)


def test_the_order_of_three_epochs_is_this():
    """The bits are promised: another release must not shuffle differently."""
    digest = hashlib.sha256()
    for epoch in range(3):
        digest.update(repeated_draws(100, repeats=1, seed=7, epoch=epoch).tobytes())
    assert digest.hexdigest()[:16] == "510281a43116dd75"


@pytest.mark.parametrize("count", range(3, 121, 4))
def test_a_stratified_choice_divides_as_sainte_lague_does(count):
    """The next place is that of the class with the most images per place and a half."""
    sizes = (84, 30, 7)  # no two quotients are ever equal
    places = [1, 1, 1]
    for _ in range(count - 3):
        owed = [size / (held + 0.5) for size, held in zip(sizes, places, strict=True)]
        places[owed.index(max(owed))] += 1
    labels_N = np.repeat(np.arange(3), sizes)
    rows = stratified_rows(labels_N, count=count, seed=count)
    assert np.bincount(labels_N[rows]).tolist() == places


def test_a_subset_knows_the_sources_of_its_images(tmp_path):
    for name in ("a/0", "a/1", "b/2", "b/3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4), (int(name[-1]), 0, 0)).save(tmp_path / f"{name}.png")
    train = read_folder(tmp_path, seed=0, fractions=(0.5, 0.5, 0.0)).splits["train"]
    part = subset(train, np.array([1, 0]))
    assert [part.images.source(row).stem[-1] for row in (0, 1)] == [
        str(train.images.read(row).getpixel((0, 0))[0]) for row in (1, 0)
    ]
    unsourced = subset(data_of(60).splits["train"], np.array([1]))
    assert unsourced.images.source(0) is None
