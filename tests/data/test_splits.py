"""Splits: every image once, in proportion, the same for the same seed."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.data.folds import with_fold
from zoo.data.reading.arrays import read_arrays
from zoo.data.splits import spare_group, strata, stratified_split
from zoo.data.subset import with_fewer_images
from zoo.errors import DataError

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=150)
SEEDS = st.integers(0, 2**63)
FRACTIONS = st.sampled_from(
    [(0.8, 0.1, 0.1), (0.7, 0.3), (1.0,), (0.5, 0.25, 0.25), (0.9, 0.1, 0.0)]
)


def check_partition(parts, count):
    assert sorted(np.concatenate(parts).tolist()) == list(range(count))
    for part in parts:
        assert part.dtype == np.int64
        assert part.tolist() == sorted(part.tolist())


@given(LABELS, FRACTIONS, SEEDS)
def test_disjoint_complete_stratified_and_repeatable(labels, fractions, seed):
    parts = stratified_split(labels, fractions=fractions, seed=seed)
    check_partition(parts, len(labels))
    counts = [Counter(labels[row] for row in part) for part in parts]
    for label, size in Counter(labels).items():
        assert counts[0][label] >= 1
        # One image more where a class would otherwise have had none for training.
        for count, fraction in zip(counts, fractions, strict=True):
            assert abs(count[label] - size * fraction) < 1 + 1e-9 or counts[0][label] == 1
            assert fraction > 0 or count[label] == 0
    again = stratified_split(np.array(labels), fractions=list(fractions), seed=seed)
    for one, other in zip(parts, again, strict=True):
        np.testing.assert_array_equal(one, other)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), min_size=1, max_size=120),
    FRACTIONS,
    SEEDS,
)
def test_groups_stay_together(pairs, fractions, seed):
    labels = [label for label, _ in pairs]
    groups = [f"group {group}" for _, group in pairs]
    parts = stratified_split(labels, fractions=fractions, seed=seed, groups_N=groups)
    check_partition(parts, len(labels))
    owners = [{groups[row] for row in part} for part in parts]
    assert sum(map(len, owners)) == len(set(groups))
    assert {labels[row] for row in parts[0]} == set(labels)


def test_sizes_come_out_even_when_every_class_is_small():
    labels = np.repeat(np.arange(50), 3)
    parts = stratified_split(labels, fractions=(0.8, 0.1, 0.1), seed=1)
    assert [len(part) for part in parts] == [120, 15, 15]


def test_groups_meet_the_fractions_when_they_are_small():
    labels = np.repeat(np.arange(4), 100)
    parts = stratified_split(
        labels, fractions=(0.7, 0.15, 0.15), seed=1, groups_N=[row // 2 for row in range(400)]
    )
    for part, share in zip(parts, (0.7, 0.15, 0.15), strict=True):
        assert np.abs(np.bincount(labels[part]) - 100 * share).max() <= 2


def split_mix_64(value):
    """The generator as its paper writes it, on Python's unbounded integers."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
    return value ^ (value >> 31)


@pytest.mark.parametrize("seed", [0, 1, 42, 2**64 - 1])
def test_the_order_is_that_of_the_documented_hash(seed):
    start = split_mix_64(seed)
    keys = [split_mix_64((start + (row + 1) * 0x9E3779B97F4A7C15) % 2**64) for row in range(16)]
    train, val = stratified_split([0, 1] * 8, fractions=(0.75, 0.25), seed=seed)
    expected = [sorted(range(odd, 16, 2), key=keys.__getitem__)[6:] for odd in (0, 1)]
    assert val.tolist() == sorted(expected[0] + expected[1])
    assert len(train) == 12


def test_the_order_stays_as_it_is():
    # A change of these numbers changes the split of every user's data.
    assert stratified_split([0, 1] * 8, fractions=(0.75, 0.25), seed=0)[1].tolist() == [0, 3, 9, 14]


def test_neighbouring_seeds_have_nothing_in_common():
    sets = [
        set(stratified_split([0] * 1000, fractions=(0.9, 0.1), seed=seed)[1].tolist())
        for seed in range(30)
    ]
    overlaps = [len(one & other) for one, other in pairwise(sets)]
    # By chance 10 of 100 are in both, with a standard deviation of 2.9.
    assert 8 < np.mean(overlaps) < 12
    assert max(overlaps) < 24


@pytest.mark.parametrize(
    "fractions", [(), (0.5, 0.4), (1.2, -0.2), (0.0, 1.0), (float("nan"), 1.0), (float("inf"),)]
)
def test_fractions_that_cannot_be(fractions):
    with pytest.raises(DataError, match="fractions"):
        stratified_split([0, 1], fractions=fractions, seed=0)


def test_as_many_groups_as_labels():
    with pytest.raises(DataError, match="2 labels but 1 groups"):
        stratified_split([0, 1], fractions=(1.0,), seed=0, groups_N=["a"])


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_several_labels_are_stratified_by_the_rarest(kind):
    targets_NK = np.array([[1, 1, 0], [1, 0, 1], [1, 0, 1], [1, 0, 0], [0, 0, 0]], dtype=kind)
    assert strata(targets_NK).tolist() == [1, 2, 2, 0, 3]


def test_soft_labels_are_stratified_by_the_greatest_share():
    shares_NK = np.array([[0.6, 0.4], [0.4, 0.6], [0.5, 0.5], [0.9, 0.1]], dtype=np.float32)
    assert strata(shares_NK).tolist() == [0, 1, 1, 0]


def test_a_rare_one_of_several_labels_stays_in_training(tmp_path):
    held = np.zeros((120, 4), dtype=np.uint8)
    held[:, 0] = held[:60, 1] = held[60:63, 2] = held[63:66, 3] = 1
    pixels = np.zeros((120, 4, 4), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", X=pixels, y=held)
    for seed in range(20):
        data = read_arrays(tmp_path / "a.npz", seed=seed, fractions=(0.5, 0.25, 0.25))
        few = with_fewer_images(data, limit=8, fraction=1.0, seed=seed)
        folds = [with_fold(data, number=n, total=3, seed=seed) for n in (1, 2, 3)]
        for part in (data, few, *folds):
            assert part.splits["train"].targets_NK.any(axis=0).all()
        assert data.splits["val"].targets_NK[:, 1].sum() in (14, 15, 16)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 6)), min_size=1, max_size=14), SEEDS)
def test_the_spare_group_is_the_smallest_that_no_class_needs(pairs, seed):
    labels, groups = [label for label, _ in pairs], [group for _, group in pairs]
    spare = spare_group(labels, groups_N=groups, seed=seed).tolist()
    sizes = {}
    for group in set(groups):
        if {label for label, other in pairs if other != group} == set(labels):
            sizes[group] = groups.count(group)
    if not sizes:
        assert spare == []
        return
    (chosen,) = {groups[row] for row in spare}
    assert spare == [row for row, group in enumerate(groups) if group == chosen]
    assert sizes[chosen] == min(sizes.values())


def test_training_is_given_the_smallest_group_of_a_class_that_it_lacks():
    labels, groups = [0] * 10 + [1] * 7, [*range(10), *[10] * 4, *[11] * 3]
    train, _ = stratified_split(labels, fractions=(0.1, 0.9), seed=0, groups_N=groups)
    assert [row for row in train if labels[row] == 1] == [14, 15, 16]
