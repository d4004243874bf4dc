"""Seeded, stratified splits of a list of labels. Arithmetic only, so every platform agrees.

Order within a class comes from a hash of (seed, position) and not from a generator, whose streams
may change from one numpy release to the next; shares are exact fractions and not floats.

Suffixes: N images, S splits, K classes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from zoo.errors import DataError

__all__ = ["spare_group", "strata", "stratified_split"]


def stratified_split(
    labels_N: Sequence[int] | NDArray[np.int64],
    *,
    fractions: Sequence[float],
    seed: int,
    groups_N: Sequence[Hashable] | None = None,
    keep_in_first: bool = True,
) -> tuple[NDArray[np.int64], ...]:
    """Returns the positions that belong to each split, ascending, int64.

    Every position is in exactly one split. Without groups, a class of n images gives each split
    n times its fraction, rounded up or down such that the sizes of the splits come out as well.
    With groups, each group stays together and the fractions are met as nearly as that allows.

    Args:
        labels_N: Class of each image.
        fractions: Share of each split, training first. Not negative, sum 1.
        seed: Another seed gives another split.
        groups_N: What must stay together, for example the person or the animal on the photo.
        keep_in_first: Whether each class keeps at least one image in the first split. Where that is
            the training split it must; folds are all alike.

    Raises:
        DataError: Fractions or lengths that cannot be.

    >>> train, test = stratified_split([0, 0, 0, 0, 1, 1, 1, 1], fractions=(0.75, 0.25), seed=0)
    >>> len(train), len(test)
    (6, 2)
    """
    labels = [int(label) for label in labels_N]
    shares = _shares(fractions)
    if groups_N is None:
        split_of = _place_images(labels, shares, seed, keep_in_first)
    else:
        if len(groups_N) != len(labels):
            raise DataError(f"{len(labels)} labels but {len(groups_N)} groups")
        split_of = _place_groups(labels, shares, seed, groups_N, keep_in_first)
        if keep_in_first:
            _give_training_one(labels, groups_N, split_of)
    placed_N = np.asarray(split_of, dtype=np.int64)
    return tuple(np.flatnonzero(placed_N == split).astype(np.int64) for split in range(len(shares)))


def strata(targets_NK: NDArray[np.number]) -> NDArray[np.int64]:
    """Returns what images are stratified by: the class of the greatest share.

    Of several whole labels the rarest one, since it is the hardest to divide; images without a
    label are a stratum of their own.

    >>> strata(np.array([[1, 1], [1, 0], [0, 0]])).tolist()
    [1, 0, 2]
    """
    counts_K = targets_NK.sum(axis=0, dtype=np.float64).round(6)  # sums of shares may miss by a bit
    # The rarest class first: of equal shares argmax takes the first.
    rarest_K = np.argsort(counts_K, kind="stable").astype(np.int64)
    strata_N: NDArray[np.int64] = rarest_K[targets_NK[:, rarest_K].argmax(axis=1)]
    strata_N[~targets_NK.any(axis=1)] = targets_NK.shape[1]
    return strata_N


def spare_group(
    labels_N: Sequence[int] | NDArray[np.int64], *, groups_N: Sequence[Hashable], seed: int
) -> NDArray[np.int64]:
    """Returns the positions of the smallest group without which every class still has an image.

    Of several as large the seed decides. Empty where there is none.

    >>> spare_group([0, 0, 1, 1, 1], groups_N=["a", "b", "c", "c", "d"], seed=0).tolist() in (
    ...     [0], [1], [4])
    True
    """
    labels = [int(label) for label in labels_N]
    members: defaultdict[Hashable, list[int]] = defaultdict(list)
    for position, group in enumerate(groups_N):
        members[group].append(position)
    grouped, totals = list(members.values()), Counter(labels)
    for index in sorted(_shuffled(len(grouped), seed), key=lambda index: len(grouped[index])):
        taken = Counter(labels[position] for position in grouped[index])
        if all(count < totals[label] for label, count in taken.items()):
            return np.asarray(grouped[index], dtype=np.int64)
    return np.empty(0, dtype=np.int64)


def _shares(fractions: Sequence[float]) -> list[Fraction]:
    """Returns the fractions as exact numbers that sum to 1."""
    try:
        shares = [Fraction(fraction).limit_denominator(1_000_000) for fraction in fractions]
    except (ValueError, OverflowError, TypeError):
        shares = []
    total = sum(shares, start=Fraction(0))
    if not shares or min(shares) < 0 or shares[0] == 0 or abs(float(total) - 1.0) > 1e-4:
        raise DataError(
            f"the data cannot be split into the fractions {list(fractions)}",
            hint="numbers of 0 or more that sum to 1, training first, as 0.8, 0.1, 0.1",
        )
    return [share / total for share in shares]


def _shuffled(count: int, seed: int) -> list[int]:
    """Returns the numbers below ``count`` in an order that depends on the seed alone.

    Sorts by the outputs of SplitMix64 (Steele, Lea and Flood, 2014), which are never equal. The
    seed is mixed first: streams of neighbouring seeds would be the same one, moved by one.
    """
    step = np.uint64(0x9E3779B97F4A7C15)
    start = _mixed(np.full(1, seed % 2**64, dtype=np.uint64))
    key_N = _mixed(start + np.arange(1, count + 1, dtype=np.uint64) * step)
    return [int(position) for position in np.argsort(key_N, kind="stable")]


def _mixed(value_N: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Returns the output function of SplitMix64, modulo 2**64."""
    value_N = (value_N ^ (value_N >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value_N = (value_N ^ (value_N >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value_N ^ (value_N >> np.uint64(31))


def _place_images(
    labels: Sequence[int], shares: Sequence[Fraction], seed: int, keep_in_first: bool
) -> list[int]:
    """Returns the split of each image when any image may go anywhere."""
    members: defaultdict[int, list[int]] = defaultdict(list)
    for position in _shuffled(len(labels), seed):
        members[labels[position]].append(position)
    split_of = [0] * len(labels)
    owed = [Fraction(0)] * len(shares)
    for label in sorted(members):
        counts = _counts(len(members[label]), shares, owed, keep_in_first)
        following = iter(members[label])
        for split, count in enumerate(counts):
            owed[split] += len(members[label]) * shares[split] - count
            for _ in range(count):
                split_of[next(following)] = split
    return split_of


def _counts(
    size: int, shares: Sequence[Fraction], owed: Sequence[Fraction], keep_in_first: bool
) -> list[int]:
    """Returns how many of a class of ``size`` go to each split.

    Shares are rounded down; what is left over goes to the splits that are owed most by the classes
    before. So many small classes together still fill a small split.
    """
    counts = [int(size * share) for share in shares]
    rest = [size * share - count for share, count in zip(shares, counts, strict=True)]
    order = sorted(
        (split for split in range(len(shares)) if rest[split]),
        key=lambda split: (-(owed[split] + rest[split]), split),
    )
    for split in order[: size - sum(counts)]:
        counts[split] += 1
    if keep_in_first and counts[0] == 0:
        counts[max(range(len(counts)), key=lambda split: counts[split])] -= 1
        counts[0] = 1
    return counts


def _place_groups(
    labels: Sequence[int],
    shares: Sequence[Fraction],
    seed: int,
    groups: Sequence[Hashable],
    keep_in_first: bool,
) -> list[int]:
    """Returns the split of each image when groups stay together.

    The largest group first, each to the split in which it lowers the squared distance from the
    wished counts most, classes weighted by their size. Of several the first, but of folds the one
    that has the fewest images: each class by itself would begin with the first again.
    """
    members: defaultdict[Hashable, list[int]] = defaultdict(list)
    for position, group in enumerate(groups):
        members[group].append(position)
    grouped = list(members.values())
    order = sorted(_shuffled(len(grouped), seed), key=lambda index: -len(grouped[index]))
    totals = Counter(labels)
    # Floats, since exact fractions would be slow for many groups. The same operations in the same
    # order give the same bits on every platform.
    want = [{label: float(share * count) for label, count in totals.items()} for share in shares]
    short = [dict(need) for need in want]
    split_of = [0] * len(labels)
    sizes = [0] * len(shares)
    for index in order:
        counts = sorted(Counter(labels[position] for position in grouped[index]).items())
        costs = []
        for split, share in enumerate(shares):
            cost = 0.0
            for label, count in counts:
                cost += (count - 2.0 * short[split][label]) * count / (want[split][label] or 1.0)
            costs.append(cost if share else float("inf"))
        fewest = [0] * len(shares) if keep_in_first else sizes
        chosen = min(range(len(shares)), key=lambda split: (costs[split], fewest[split]))
        sizes[chosen] += len(grouped[index])
        for label, count in counts:
            short[chosen][label] -= count
        for position in grouped[index]:
            split_of[position] = chosen
    return split_of


def _give_training_one(
    labels: Sequence[int], groups: Sequence[Hashable], split_of: list[int]
) -> None:
    """Moves the smallest group of each class that training lacks to training."""
    members: defaultdict[Hashable, list[int]] = defaultdict(list)
    for position, group in enumerate(groups):
        members[group].append(position)
    grouped = list(members.values())
    trained = {label for label, split in zip(labels, split_of, strict=True) if split == 0}
    for label in sorted(set(labels) - trained):
        owners = [
            positions
            for positions in grouped
            if any(labels[position] == label for position in positions)
        ]
        for position in min(owners, key=len):
            split_of[position] = 0
