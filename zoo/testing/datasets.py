"""What is required of a data set.

Shapes: N images, H height, W width, K classes.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from zoo.data.pixels.decode import open_image
from zoo.errors import DataError, ZooError, printable
from zoo.protocols import DataSet, PixelImages, SourcedImages, Split
from zoo.registry import load_target
from zoo.testing.requiring import require
from zoo.testing.subject import NotApplicable, Subject

__all__ = ["CHECKS"]

_SHARES = (0.6, 0.2, 0.2)
_LOOKED_AT = 6
"""Images that are read of each split."""

_ROUNDED = 2.0
"""Grey levels by which decoders of one file may differ, in the mean."""


def _build(subject: Subject, *, seed: int = 0, on_bad: str = "skip") -> DataSet:
    """Builds it with what a run gives it. Damaged images are skipped: examples may have any.

    Raises:
        NotApplicable: It needs an argument that only its author can give.
        AssertionError: It cannot be built for another reason.
    """
    params = subject.component.params
    asks = any(param.default is None and not param.optional for param in params)
    try:
        built = subject.build(seed=seed, split=_SHARES, on_bad=on_bad)
    except ZooError as error:
        if subject.example.arguments:
            raise
        what = f"it cannot be built from its defaults alone: {error.what}"
        hint = "give an Example with arguments that it can be built with"
        if asks:
            raise NotApplicable(f"{what}; {hint}") from error
        raise AssertionError(f"{what}; {hint}") from error
    if not isinstance(built, DataSet):
        raise AssertionError(f"it returned a {type(built).__name__}, not a zoo.protocols.DataSet")
    return built


def _some(split: Split) -> list[int]:
    """Returns the first, the last and a few more indices."""
    last = len(split.images) - 1
    return sorted({round(place) for place in np.linspace(0, last, _LOOKED_AT)}) if last >= 0 else []


def _readable(split: Split, name: str) -> list[tuple[int, Image]]:
    """Returns some images that can be read, with their places.

    A damaged one may be found out only when it is read, by an error that names it.
    """
    found: list[tuple[int, Image]] = []
    damaged: list[str] = []
    for index in _some(split):
        try:
            found.append((index, split.images.read(index)))
        except DataError as error:
            own = split.images.name(index)
            told = own in str(error) or printable(own) in str(error)
            require(
                told, f"{name}[{index}] cannot be read, and the error does not name it: {error}"
            )
            damaged.append(printable(own))
    require(
        bool(found) or not damaged,
        f"none of {len(damaged)} images of {name} can be read: {damaged[:3]}",
    )
    return found


def _pixels(picture: object, where: str) -> NDArray[np.uint8]:
    if not isinstance(picture, Image):
        raise AssertionError(f"read gives a {type(picture).__name__} for {where}, no PIL image")
    require(picture.mode == "RGB", f"read gives {where} in mode {picture.mode}, not RGB")
    return np.asarray(picture)


def has_train_and_val(subject: Subject) -> None:
    """It has the splits train and val, neither of them empty, and no others but test."""
    data = _build(subject)
    for name in ("train", "val"):
        require(name in data.splits, f"there is no split {name}, only {sorted(data.splits)}")
    more = sorted(set(data.splits) - {"train", "val", "test"})
    require(not more, f"nothing looks at the splits {more}; there are train, val and test")
    for name, split in data.splits.items():
        require(len(split.images) > 0, f"the split {name} is empty")


def labels_within_classes(subject: Subject) -> None:
    """Each image has an int64 label within the classes; those are unique and all in training."""
    data = _build(subject)
    classes = data.classes
    texts = all(isinstance(name, str) and name for name in classes)
    require(len(classes) >= 2 and texts, f"its classes are {classes!r:.80}, not two or more names")
    twice = [name for name, times in Counter(classes).items() if times > 1]
    require(not twice, f"classes stand twice: {[printable(name) for name in twice[:5]]}")
    for name, split in data.splits.items():
        labels_N = split.labels_N
        require(labels_N.dtype == np.int64, f"labels of {name} are {labels_N.dtype}, not int64")
        shape = (len(split.images),)
        require(
            labels_N.shape == shape,
            f"labels of {name} have the shape {labels_N.shape}, its images {shape}",
        )
        low, high = int(labels_N.min()), int(labels_N.max())
        within = low >= 0 and high < len(classes)
        require(within, f"labels of {name} go from {low} to {high}, and classes to {len(classes)}")
    if not data.multi_label:
        present = set(data.splits["train"].labels_N.tolist())
        absent = [printable(c) for index, c in enumerate(classes) if index not in present]
        require(not absent, f"no training image is of {absent[:5]}: classes come from training")


def targets_and_weights_fit(subject: Subject) -> None:
    """Targets, weights and groups, where there are any, have their shapes, types and ranges."""
    data = _build(subject)
    for name, split in data.splits.items():
        num = len(split.images)
        if data.multi_label:
            require(split.targets_NK is not None, f"it is multi_label, and {name} has no targets")
        if (targets_NK := split.targets_NK) is not None:
            shape = (num, len(data.classes))
            fits = targets_NK.shape == shape and targets_NK.dtype == np.float32
            shown = f"{targets_NK.dtype} {targets_NK.shape}"
            require(fits, f"targets of {name} are {shown}, not float32 {shape}")
            inside = bool((targets_NK >= 0).all() and (targets_NK <= 1).all())
            require(inside, f"targets of {name} are not within 0..1")
            if not data.multi_label:
                sums_N = targets_NK.sum(1)
                require(
                    np.allclose(sums_N, 1, atol=1e-4), f"rows of {name}'s targets are not sums of 1"
                )
                own_N = targets_NK[np.arange(num), split.labels_N]
                greatest = bool((own_N >= targets_NK.max(1) - 1e-6).all())
                require(greatest, f"labels of {name} are not the greatest share of its targets")
        if (weights_N := split.weights_N) is not None:
            fits = weights_N.shape == (num,) and weights_N.dtype == np.float32
            good = fits and bool(np.isfinite(weights_N).all() and (weights_N >= 0).all())
            require(good, f"weights of {name} are not {num} float32 of at least 0")
        if (groups_N := split.groups_N) is not None:
            fits = groups_N.shape == (num,) and groups_N.dtype == np.int64
            require(fits, f"groups of {name} are not {num} int64")


def reads_rgb(subject: Subject) -> None:
    """``read`` gives PIL images in RGB; ``pixels`` and ``source``, where it has them, the same."""
    for name, split in _build(subject).splits.items():
        images = split.images
        pixels = images.pixels if isinstance(images, PixelImages) else None
        if pixels is not None:
            grey = pixels.ndim == 3
            colour = pixels.ndim == 4 and pixels.shape[3] == 3
            fits = pixels.dtype == np.uint8 and (grey or colour) and len(pixels) == len(images)
            shown = f"{pixels.dtype} {pixels.shape}"
            require(fits, f"pixels of {name} are {shown}, not uint8 (N, H, W) or (N, H, W, 3)")
        for index, picture in _readable(split, name):
            found_HW3 = _pixels(picture, f"{name}[{index}]")
            if pixels is not None:
                own = pixels[index]
                expected = np.repeat(own[:, :, None], 3, axis=2) if own.ndim == 2 else own
                same = np.array_equal(found_HW3, expected)
                require(same, f"read and pixels differ for {name}[{index}]")
            elif isinstance(images, SourcedImages):  # what training decodes instead of reading
                _as_its_source(images.source(index), found_HW3, f"{name}[{index}]")


def _as_its_source(source: object, found_HW3: NDArray[np.uint8], where: str) -> None:
    """Requires that an image is what zoo decodes of its source; other decoders may round."""
    if source is None:
        return
    if not isinstance(source, Path | bytes):
        raise AssertionError(
            f"source gives a {type(source).__name__} for {where}, no Path or bytes"
        )
    decoded_HW3 = np.asarray(open_image(source, name=where))
    same = decoded_HW3.shape == found_HW3.shape and (
        np.abs(decoded_HW3.astype(int) - found_HW3).mean() <= _ROUNDED
    )
    require(same, f"read gives another image for {where} than zoo decodes of its source")


def names_are_unique(subject: Subject) -> None:
    """Every image of a split has a name of its own, a text that is not empty."""
    for split_name, split in _build(subject).splits.items():
        names = list(_names(split))
        bad = [name for name in names if not isinstance(name, str) or not name]
        require(not bad, f"images of {split_name} have names that are no text: {bad[:3]!r:.80}")
        twice = [printable(name) for name, times in Counter(names).items() if times > 1]
        require(not twice, f"{len(twice)} names of {split_name} stand twice, as {twice[:3]}")


def _names(split: Split) -> Iterator[str]:
    return (split.images.name(index) for index in range(len(split.images)))


def built_twice_is_the_same(subject: Subject) -> None:
    """The same arguments and seed give the same images, labels and fingerprint, a hex digest."""
    first, again = _build(subject), _build(subject)
    digest = isinstance(first.fingerprint, str) and re.fullmatch("[0-9a-f]{8,}", first.fingerprint)
    require(bool(digest), f"its fingerprint is {first.fingerprint!r:.80}, no hex digest")
    require(
        first.fingerprint == again.fingerprint,
        f"built twice, its fingerprint is {first.fingerprint:.12} and {again.fingerprint:.12}",
    )
    require(first.classes == again.classes, "built twice, its classes differ")
    require(_contents(first) == _contents(again), "built twice, its images or labels differ")


def fingerprint_follows_the_split(subject: Subject) -> None:
    """Where another seed splits it otherwise, its fingerprint is another one, and only there."""
    first, other = _build(subject), _build(subject, seed=12345)
    same_split = _contents(first) == _contents(other)
    same_print = first.fingerprint == other.fingerprint
    if same_split:
        require(same_print, "another seed changes its fingerprint, and neither images nor labels")
    else:
        require(not same_print, "another seed splits it otherwise, and its fingerprint is the same")


def _contents(data: DataSet) -> list[object]:
    """Returns names and labels of all images, and the pixels of some."""
    return [
        (
            name,
            tuple(_names(split)),
            split.labels_N.tolist(),
            [_read(split, i) for i in _some(split)],
        )
        for name, split in data.splits.items()
    ]


def _read(split: Split, index: int) -> object:
    """Returns the size and the pixels of an image; None of one that is damaged."""
    try:
        pixels = np.asarray(split.images.read(index))
    except DataError:
        return None
    return pixels.shape, pixels.tobytes()


def reads_in_threads(subject: Subject) -> None:
    """Four threads that read at once get the pixels that one gets."""
    data = _build(subject)
    places = [
        (split, index) for name, split in data.splits.items() for index, _ in _readable(split, name)
    ]

    def read(place: tuple[Split, int]) -> NDArray[np.uint8]:
        return np.asarray(place[0].images.read(place[1]))

    alone = [read(place) for place in places]
    # In four different orders, so that threads are at different places of the same files.
    orders: Sequence[Sequence[int]] = [
        np.roll(range(len(places)), k * 3).tolist() for k in range(4)
    ]
    with ThreadPoolExecutor(4) as pool:
        many = list(pool.map(lambda order: [(at, read(places[at])) for at in order * 3], orders))
    for thread in many:
        for at, found in thread:
            same = np.array_equal(found, alone[at])
            require(same, "an image that four threads read at once has other pixels than before")


def honours_on_bad(subject: Subject) -> None:
    """Damaged images are an error that names them, or with ``on_bad="skip"`` left out, listed."""
    if "on_bad" not in inspect.signature(load_target(subject.entry)).parameters:
        raise NotApplicable("its target does not take the fact on_bad")
    skipping = _build(subject)
    kept = {name for split in skipping.splits.values() for name in _names(split)}
    both = sorted(map(printable, kept & set(skipping.bad)))
    require(not both, f"images are in a split and listed as bad: {both[:3]}")
    try:
        failing = subject.build(seed=0, split=_SHARES, on_bad="fail")
    except DataError as error:
        require(bool(skipping.bad), "on_bad=fail refuses images that on_bad=skip does not list")
        text = str(error)
        named = any(name in text or printable(name) in text for name in skipping.bad)
        require(named, f"the error names none of the {len(skipping.bad)} images: {error.what}")
        return
    require(
        not skipping.bad, f"on_bad=fail takes {len(skipping.bad)} images that skip lists as bad"
    )
    same = failing.fingerprint == skipping.fingerprint
    require(same, "nothing is damaged, and on_bad changes the fingerprint")


CHECKS = (
    has_train_and_val,
    labels_within_classes,
    targets_and_weights_fit,
    reads_rgb,
    names_are_unique,
    built_twice_is_the_same,
    fingerprint_follows_the_split,
    reads_in_threads,
    honours_on_bad,
)
