"""Each check of data sets catches one that is wrong in just that way."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO

import numpy as np
import pytest
from making import assert_caught, assert_each_can_fail, failing, skipped, subject
from PIL import Image

from zoo.errors import DataError, UsageError
from zoo.plugin import Param
from zoo.protocols import DataSet, Split
from zoo.testing.datasets import CHECKS
from zoo.testing.subject import Example

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 6, 7, 3), dtype=np.uint8)
LABELS = np.arange(30, dtype=np.int64) % 3


@dataclass
class Some:
    """Some of thirty pictures."""

    rows: np.ndarray
    mode: str = "RGB"

    def __len__(self):
        return len(self.rows)

    def read(self, index):
        return Image.fromarray(PIXELS[self.rows[index]]).convert(self.mode)

    def name(self, index):
        return f"{self.rows[index]}.png"


class Shared(Some):
    """Reads through one place that all threads write to."""

    def read(self, index):
        self.place = self.rows[index]
        time.sleep(0.001)  # as a seek and a read of one file handle
        return Image.fromarray(PIXELS[self.place])


class Locked(Shared):
    lock = threading.Lock()

    def read(self, index):
        with self.lock:
            return super().read(index)


class Arrays(Some):
    def read(self, index):
        return PIXELS[self.rows[index]]


class Torn(Some):
    """One picture is damaged, and says so by name or not at all."""

    told = True

    def read(self, index):
        if self.rows[index] == self.rows[0]:
            raise DataError("cannot be read", found=self.name(index) if self.told else "")
        return super().read(index)


class TornSilently(Torn):
    told = False


class AllTorn(Some):
    def read(self, index):
        raise DataError(f"{self.name(index)} cannot be read")


class Twins(Some):
    def name(self, index):
        return "same.png"


class Pixels(Some):
    """Says what it holds decoded, mirrored by mistake."""

    turned = -1

    @property
    def pixels(self):
        return PIXELS[self.rows][:, :, :: self.turned]


class RightPixels(Pixels):
    turned = 1


class BigPixels(RightPixels):
    @property
    def pixels(self):
        return PIXELS[self.rows].astype(np.int16)


class FromFiles(Some):
    """Says where its pictures are: what was drawn, another one, or what is no content."""

    def source(self, index):
        content = BytesIO()
        Image.fromarray(PIXELS[self.rows[index + self.off]]).save(content, "PNG")
        return content.getvalue()

    off = 0


class FromOtherFiles(FromFiles):
    off = -1


class FromTexts(FromFiles):
    def source(self, index):
        return self.name(index)


class Drawn(Some):
    """Other pictures under the same names, each time or as of the seed."""

    def __init__(self, rows, seed=None):
        super().__init__(rows)
        self.noise = np.random.default_rng(seed).integers(0, 256, PIXELS.shape, dtype=np.uint8)

    def read(self, index):
        return Image.fromarray(self.noise[self.rows[index]])


def data(seed=0, *, images=Some, fingerprint=None) -> DataSet:
    """Thirty pictures of three classes, split by the seed."""
    order = np.random.default_rng(seed).permutation(30)
    order = np.concatenate([order[LABELS[order] == k] for k in range(3)]).reshape(3, 10)
    parts = {
        "train": order[:, :6].ravel(),
        "val": order[:, 6:8].ravel(),
        "test": order[:, 8:].ravel(),
    }
    return DataSet(
        name="made", classes=("bar", "dot", "ring"), fingerprint=fingerprint or f"{seed:08x}",
        splits={
            name: Split(images=images(rows), labels_N=LABELS[rows]) for name, rows in parts.items()
        },
    )  # fmt: skip


def with_train(**changes):
    """Changes the training split."""

    def made(*, seed):
        good = data(seed)
        train = replace(good.splits["train"], **changes)
        return replace(good, splits={**good.splits, "train": train})

    return made


def changed(**changes):
    return lambda *, seed: replace(data(seed), **changes)


def one_more(**splits):
    return lambda *, seed: replace(data(seed), splits={**data(seed).splits, **splits})


def damaged(*, seed, on_bad, fault=""):
    """The first training image is broken."""
    if on_bad == "fail" and fault != "takes it":
        raise DataError(
            "1 image cannot be read", found="another" if fault == "unnamed" else "x.png"
        )
    if fault == "listed and there":
        return replace(data(seed), bad={"0.png": "cut short"})
    return replace(data(seed), bad={} if fault == "silent" else {"x.png": "cut short"})


def with_damage(fault):
    return lambda *, seed, on_bad: damaged(seed=seed, on_bad=on_bad, fault=fault)


def forgetful():
    """Another order each time."""
    calls = []

    def build():
        calls.append(0)
        return data(len(calls), fingerprint="0123abcd")

    return build


EMPTY = Split(images=Some(np.arange(0)), labels_N=np.zeros(0, np.int64))
MULTI = np.eye(3, dtype=np.float32)[np.arange(18) // 6]
WRONG = [
    (lambda *, seed: replace(data(seed), splits={"train": data(seed).splits["train"]}),
     {"has-train-and-val": "no split val"}),
    (one_more(holdout=data().splits["test"]), {"has-train-and-val": "['holdout']"}),
    (one_more(test=EMPTY), {"has-train-and-val": "test is empty", "labels-within-classes": ""}),
    (changed(classes=("bar", "dot")), {"labels-within-classes": "to 2, and classes to 2"}),
    (changed(classes=("bar", "dot", "bar")), {"labels-within-classes": "stand twice: ['bar']"}),
    (changed(classes=("bar", "dot", "ring", "none")),
     {"labels-within-classes": "no training image is of ['none']"}),
    (with_train(labels_N=np.zeros(18, np.int32)), {"labels-within-classes": "int32, not int64"}),
    (with_train(labels_N=LABELS[:4]), {"labels-within-classes": "shape (4,), its images (18,)"}),
    (with_train(weights_N=-np.ones(18, np.float32)), {"targets-and-weights-fit": "weights"}),
    (with_train(groups_N=np.zeros(3, np.int64)), {"targets-and-weights-fit": "groups of train"}),
    (with_train(targets_NK=MULTI.astype(float)), {"targets-and-weights-fit": "float64"}),
    (with_train(targets_NK=MULTI * 2), {"targets-and-weights-fit": "not within 0..1"}),
    (with_train(targets_NK=MULTI / 2), {"targets-and-weights-fit": "not sums of 1"}),
    (with_train(targets_NK=MULTI[::-1].copy()), {"targets-and-weights-fit": "not the greatest"}),
    (changed(multi_label=True), {"targets-and-weights-fit": "has no targets"}),
    (lambda *, seed: data(seed, images=lambda rows: Some(rows, "L")),
     {"reads-rgb": "in mode L, not RGB"}),
    (lambda *, seed: data(seed, images=Arrays), {"reads-rgb": "gives a ndarray"}),
    (lambda *, seed: data(seed, images=Pixels), {"reads-rgb": "read and pixels differ"}),
    (lambda *, seed: data(seed, images=TornSilently),
     {"reads-rgb": "the error does not name it", "reads-in-threads": ""}),
    (lambda *, seed: data(seed, images=AllTorn),
     {"reads-rgb": "none of 6 images of train can be read", "reads-in-threads": ""}),
    (lambda *, seed: data(seed, images=BigPixels), {"reads-rgb": "pixels of train are int16"}),
    (lambda *, seed: data(seed, images=Twins),
     {"names-are-unique": "['same.png']"}),
    (lambda *, seed: data(seed, images=FromOtherFiles),
     {"reads-rgb": "read gives another image for train[0] than zoo decodes of its source"}),
    (lambda *, seed: data(seed, images=FromTexts),
     {"reads-rgb": "source gives a str for train[0], no Path or bytes"}),
    (lambda: data(3, images=Drawn),
     {"built-twice-is-the-same": "images or labels differ",
      "fingerprint-follows-the-split": "fingerprint is the same"}),
    (forgetful(), {"built-twice-is-the-same": "images or labels differ",
                   "fingerprint-follows-the-split": "otherwise, and its fingerprint is the same"}),
    (changed(fingerprint="new"), {"built-twice-is-the-same": "no hex digest",
                                  "fingerprint-follows-the-split": "fingerprint is the same"}),
    (changed(fingerprint="0123abcd"), {"fingerprint-follows-the-split": "is the same"}),
    (lambda *, seed: data(0, fingerprint=f"{seed:08x}"),
     {"fingerprint-follows-the-split": "changes its fingerprint, and neither images"}),
    (lambda *, seed: data(seed, images=Shared), {"reads-in-threads": "other pixels than before"}),
    (with_damage("takes it"), {"honours-on-bad": "takes 1 images that skip lists"}),
    (with_damage("unnamed"), {"honours-on-bad": "names none of the 1 images"}),
    (with_damage("silent"), {"honours-on-bad": "that on_bad=skip does not list"}),
    (with_damage("listed and there"), {"honours-on-bad": "listed as bad: ['0.png']"}),
]  # fmt: skip


@pytest.mark.parametrize(
    "target",
    [
        lambda *, seed: data(seed),
        lambda: data(3),
        lambda *, seed, split, on_bad: data(seed),
        lambda *, seed: data(seed, images=Locked),
        lambda *, seed: data(seed, images=RightPixels),
        lambda *, seed: data(seed, images=Torn),
        lambda *, seed: data(seed, images=FromFiles),
        lambda *, seed: data(0, images=partial(Drawn, seed=seed), fingerprint=f"{seed:08x}"),
        with_damage(""),
        with_train(targets_NK=MULTI, weights_N=np.ones(18, np.float32)),
    ],
)
def test_right_ones_pass_every_check(target):
    assert failing(CHECKS, subject("dataset", target)) == {}
    assert skipped(CHECKS, subject("dataset", target)) <= {"honours-on-bad"}


@pytest.mark.parametrize(("target", "caught"), WRONG, ids=map(str, range(len(WRONG))))
def test_one_that_is_wrong_is_caught(target, caught):
    assert_caught(CHECKS, subject("dataset", target), caught)


def test_each_check_can_fail():
    assert_each_can_fail(CHECKS, WRONG)


def needing(*, path=None):
    if path is None:
        raise UsageError("the data set needs a path")
    return data(path)


def test_without_a_source_it_asks_for_an_example():
    path = Param(name="path", type="int")
    asking = subject("dataset", needing, params=(path,))
    assert len(skipped(CHECKS, asking)) == len(CHECKS)
    given = subject("dataset", needing, params=(path,), example=Example(arguments={"path": 4}))
    assert failing(CHECKS, given) == {}
    # Nothing in its declaration says that it needs something.
    silent = failing(CHECKS, subject("dataset", needing))
    assert "give an Example" in silent["reads-rgb"]


def test_what_is_no_data_set_is_told():
    found = failing(CHECKS, subject("dataset", lambda: [1, 2]))
    assert "returned a list, not a zoo.protocols.DataSet" in found["reads-rgb"]
