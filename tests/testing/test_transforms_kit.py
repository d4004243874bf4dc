"""Each check of transforms catches one that is wrong in just that way."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from making import assert_caught, assert_each_can_fail, failing, skipped, subject

from zoo.testing.transforms import CHECKS

MIXES = {"shares-are-shares", "mixes-what-it-is-given"}


class Dim:
    """Darkens each image by a share that is drawn, or with a change."""

    num_random = 1

    def __init__(self, change=lambda out, images, random: out):
        self.change = change

    def __call__(self, images_BCHW, random_BN):
        share_B111 = random_BN[:, :1, None, None].float()
        return self.change(images_BCHW * share_B111, images_BCHW, random_BN)


class Kept(Dim):
    """Answers from what it saw first."""

    def __call__(self, images_BCHW, random_BN):
        self.shift = 0.9 if not hasattr(self, "shift") else self.shift * 0.9
        return images_BCHW * self.shift


class Blend:
    """Mixup with a uniform share, or with a change."""

    num_random = 1

    def __init__(self, change=lambda out, share: (out, share)):
        self.change = change

    def mix(self, images_BCHW, partners_BCHW, random_BN):
        share_B = random_BN[:, 0].float()
        weight = share_B[:, None, None, None]
        return self.change(images_BCHW * weight + partners_BCHW * (1 - weight), share_B)


def dims(change, **attributes):
    return lambda: type("Changed", (Dim,), attributes)(change)


def blends(change):
    return lambda: Blend(change)


def noisy(out, images, random_BN):
    return (out * (0.5 + torch.rand(()) / 2)).clamp(0, 1)


def reseeding(out, images, random_BN):
    torch.manual_seed(3)
    return out * torch.rand(())


def pythons(out, images, random_BN):
    return out * random.Random(0).random() + 0 * random.random()


def numpys(out, images, random_BN):
    np.random.rand()
    return out


def in_place(out, images, random_BN):
    return images.mul_(random_BN[:, :1, None, None].float())


def of_the_batch(out, images, random_BN):
    return out / out.amax().clamp(min=1e-6)


def by_place(out, images, random_BN):
    return out * torch.linspace(0.5, 1, len(out))[:, None, None, None]


def by_strides(out, images, random_BN):
    return out * (0.5 if images.stride(1) == 1 and images.shape[1] > 1 else 1.0)


def by_type(out, images, random_BN):
    return out * (0.5 if random_BN.dtype == torch.float64 else 1.0)


class Mutating(Blend):
    def mix(self, images_BCHW, partners_BCHW, random_BN):
        answer = super().mix(images_BCHW, partners_BCHW, random_BN)
        partners_BCHW.zero_()
        return answer


WRONG = [
    (dims(lambda out, i, r: out[:, :1]), {"keeps-shape-type-and-range": "it made (6, 1, 16, 16)"}),
    (dims(lambda out, i, r: out.double()), {"keeps-shape-type-and-range": "made torch.float64"}),
    (dims(lambda out, i, r: out * 1.5), {"keeps-shape-type-and-range": "made values from"}),
    (dims(lambda out, i, r: out / out.amax((1, 2, 3), True)),
     {"keeps-shape-type-and-range": "not finite"}),
    (dims(lambda out, i, r: list(out)), {"keeps-shape-type-and-range": "returned a list",
                                         **dict.fromkeys(["num-random-is-enough", "deterministic",
                                                          "samples-are-independent",
                                                          "memory-format-does-not-matter"], "")}),
    (dims(lambda out, i, r: out * r[:, 1, None, None, None]),
     dict.fromkeys(["num-random-is-enough", "keeps-shape-type-and-range", "deterministic",
                    "samples-are-independent", "memory-format-does-not-matter",
                    "inputs-are-left-alone", "leaves-generators-alone"], "IndexError")),
    (dims(by_type), {"num-random-is-enough": "in float64 give other images"}),
    (Kept, {"deterministic": "called twice", "samples-are-independent": "in batches of 1",
            "num-random-is-enough": "", "memory-format-does-not-matter": ""}),
    (dims(noisy), {"deterministic": "called twice", "leaves-generators-alone": "of torch",
                   "samples-are-independent": "", "memory-format-does-not-matter": "",
                   "num-random-is-enough": ""}),
    (dims(reseeding), {"leaves-generators-alone": "global generator of torch"}),
    (dims(numpys), {"leaves-generators-alone": "global generator of NumPy"}),
    (dims(pythons), {"leaves-generators-alone": "global generator of random"}),
    (dims(in_place), {"inputs-are-left-alone": "wrote into the images"}),
    (dims(of_the_batch), {"samples-are-independent": "in batches of 1 samples"}),
    (dims(by_place), {"samples-are-independent": "come out differently"}),
    (dims(by_strides), {"memory-format-does-not-matter": "channels-last"}),
    (Mutating, {"inputs-are-left-alone": "wrote into the partners"}),
    (blends(lambda out, share: (out, share + 1)), {"shares-are-shares": "shares go from 1.0"}),
    (blends(lambda out, share: (out, share[:, None])), {"shares-are-shares": "not float32 (16,)"}),
    (blends(lambda out, share: (1 - out, share)), {"mixes-what-it-is-given": "two equal flat"}),
    (blends(lambda out, share: ((out * 0.5), share)), {"mixes-what-it-is-given": "of neither"}),
]  # fmt: skip


def test_right_ones_pass_every_check():
    alone, pair = subject("transform", Dim), subject("transform", Blend)
    assert failing(CHECKS, alone) == failing(CHECKS, pair) == {}
    assert skipped(CHECKS, alone) == MIXES
    assert skipped(CHECKS, pair) == set()


@pytest.mark.parametrize(("target", "caught"), WRONG, ids=map(str, range(len(WRONG))))
def test_one_that_is_wrong_is_caught(target, caught):
    assert_caught(CHECKS, subject("transform", target), caught)


@pytest.mark.parametrize("number", [None, True, -1, 1.0])
def test_a_number_of_random_numbers_that_is_none_is_told(number):
    found = failing(CHECKS, subject("transform", dims(lambda out, i, r: out, num_random=number)))
    assert set(found) == {c.__name__.replace("_", "-") for c in CHECKS}
    assert f"num_random is {number!r}" in found["deterministic"]


def test_what_the_share_is_must_be_a_pair():
    found = failing(CHECKS, subject("transform", blends(lambda out, share: out)))
    assert "mix returned a Tensor, not (images_BCHW, share_B)" in found["shares-are-shares"]


def test_each_check_can_fail():
    assert_each_can_fail(CHECKS, WRONG)
