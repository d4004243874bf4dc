"""What is required of a transform: of one image at a time, or of an image and its partner.

Shapes: B batch, C channels, H height, W width, N uniform numbers a sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from zoo.errors import in_words
from zoo.protocols import MixTransform
from zoo.testing.requiring import equal_bits, generators_untouched, require, seeded
from zoo.testing.subject import NotApplicable, Subject

__all__ = ["CHECKS"]

_SHAPES = ((3, 16, 16), (1, 28, 28), (3, 17, 31), (1, 8, 8), (3, 5, 6))
_GREATEST = 1 - 2**-24
"""The greatest number below 1 in float32."""

_Batch: TypeAlias = tuple[Tensor, Tensor, Tensor]
"""(images_BCHW, partners_BCHW, random_BN)"""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came out: images, and the share of the own one where it mixes."""

    images_BCHW: Tensor
    share_B: Tensor | None


@dataclass(frozen=True, slots=True)
class _Transform:
    """Either kind of transform, called in one way."""

    built: Any
    num_random: int

    @property
    def mixes(self) -> bool:
        return isinstance(self.built, MixTransform)

    def __call__(self, *batch: Tensor) -> _Answer:
        """Returns the answer to copies: one check alone asks who writes into its input."""
        return self.directly(*(tensor.clone() for tensor in batch))

    def directly(self, images_BCHW: Tensor, partners_BCHW: Tensor, random_BN: Tensor) -> _Answer:
        """Returns the answer to these very tensors."""
        if not self.mixes:
            return _Answer(self.built(images_BCHW, random_BN), None)
        returned = self.built.mix(images_BCHW, partners_BCHW, random_BN)
        pair = isinstance(returned, tuple) and len(returned) == 2
        require(pair, f"mix returned a {type(returned).__name__}, not (images_BCHW, share_B)")
        return _Answer(*returned)


def _build(subject: Subject) -> _Transform:
    built = subject.build()
    number = getattr(built, "num_random", None)
    whole = isinstance(number, int) and not isinstance(number, bool) and number >= 0
    require(whole, f"its num_random is {number!r}, not how many numbers it needs a sample")
    assert isinstance(number, int)
    return _Transform(built, number)


def _batch(num: int, shape: tuple[int, ...], transform: _Transform, *, seed: int = 0) -> _Batch:
    draw = torch.Generator().manual_seed(seed)
    images_BCHW, partners_BCHW = torch.rand(2, num, *shape, generator=draw)
    return images_BCHW, partners_BCHW, torch.rand(num, transform.num_random, generator=draw)


def _edges(batch: _Batch) -> Iterator[_Batch]:
    """Yields the batch, then with the smallest and greatest random numbers and with flat images."""
    images_BCHW, partners_BCHW, random_BN = batch
    yield batch
    first = torch.full_like(random_BN, _GREATEST)
    first[:, :1] = 0  # where the first number decides whether anything is done
    for random in (torch.zeros_like(random_BN), torch.full_like(random_BN, _GREATEST), first):
        yield images_BCHW, partners_BCHW, random
    for level in (0.0, 1.0):
        yield torch.full_like(images_BCHW, level), partners_BCHW, random_BN


def _same(one: _Answer, other: _Answer) -> bool:
    pairs = [(one.images_BCHW, other.images_BCHW)]
    if one.share_B is not None and other.share_B is not None:
        pairs.append((one.share_B, other.share_B))
    return all(equal_bits(a, b) for a, b in pairs)


def keeps_shape_type_and_range(subject: Subject) -> None:
    """Out come float32 images of the same shape in 0..1, for 1 and 3 channels and several sizes."""
    transform = _build(subject)
    for shape in _SHAPES:
        for batch in _edges(_batch(6, shape, transform)):
            out = transform(*batch).images_BCHW
            what = f"of images of shape {tuple(batch[0].shape)}"
            require(isinstance(out, Tensor), f"it returned a {type(out).__name__}, no tensor")
            require(out.shape == batch[0].shape, f"{what} it made {tuple(out.shape)}")
            require(out.dtype == torch.float32, f"{what} in float32 it made {out.dtype}")
            require(bool(out.isfinite().all()), f"{what} it made values that are not finite")
            low, high = float(out.min()), float(out.max())
            require(low >= 0 and high <= 1, f"{what} in 0..1 it made values from {low} to {high}")


def num_random_is_enough(subject: Subject) -> None:
    """It works with exactly ``num_random`` uniform numbers a sample, float32 or float64."""
    transform = _build(subject)
    images_BCHW, partners_BCHW, random_BN = _batch(4, (3, 16, 16), transform)
    try:
        single = transform(images_BCHW, partners_BCHW, random_BN)
        double = transform(images_BCHW, partners_BCHW, random_BN.double())
    except (IndexError, RuntimeError, ValueError) as error:
        raise AssertionError(
            f"with num_random = {transform.num_random} numbers a sample it fails: {in_words(error)}"
        ) from error
    require(_same(single, double), "the same random numbers in float64 give other images")


def deterministic(subject: Subject) -> None:
    """The same images and random numbers give the same bits, whatever the global seed."""
    transform, again = _build(subject), _build(subject)
    batch = _batch(16, (3, 16, 16), transform)
    answers = []
    for seed, one in ((1, transform), (2, transform), (3, again)):
        with seeded(seed):
            answers.append(one(*batch))
    require(
        _same(answers[0], answers[1]), "called twice with the same numbers it gives other images"
    )
    require(_same(answers[0], answers[2]), "built twice it gives other images for equal numbers")


def leaves_generators_alone(subject: Subject) -> None:
    """It neither draws from nor seeds the global generators of torch, NumPy and Python."""
    transform = _build(subject)
    batch = _batch(8, (3, 16, 16), transform)
    with generators_untouched("it"):
        transform(*batch)


def samples_are_independent(subject: Subject) -> None:
    """A sample comes out alike, to the bit, alone, in another order and in a smaller batch."""
    transform = _build(subject)
    for shape in ((3, 13, 13), (1, 28, 28)):
        batch = _batch(11, shape, transform, seed=5)
        whole = transform(*batch)
        for size in (1, 4):
            parts = zip(*(torch.split(tensor, size) for tensor in batch), strict=True)
            _compare(_joined([transform(*part) for part in parts]), whole, f"in batches of {size}")
        turned = transform(*(tensor.flip(0) for tensor in batch))
        back = _Answer(
            turned.images_BCHW.flip(0), None if turned.share_B is None else turned.share_B.flip(0)
        )
        _compare(back, whole, "in another order")


def _joined(parts: list[_Answer]) -> _Answer:
    shares = [part.share_B for part in parts if part.share_B is not None]
    return _Answer(
        torch.cat([part.images_BCHW for part in parts]), torch.cat(shares) if shares else None
    )


def _compare(found: _Answer, whole: _Answer, how: str) -> None:
    differing = [
        index
        for index, (a, b) in enumerate(zip(found.images_BCHW, whole.images_BCHW, strict=True))
        if not equal_bits(a, b)
    ]
    require(not differing, f"{how} samples {differing} come out differently")
    require(_same(found, whole), f"{how} the shares come out differently")


def memory_format_does_not_matter(subject: Subject) -> None:
    """Images in the memory format channels-last, which training may use, come out alike."""
    transform = _build(subject)
    images_BCHW, partners_BCHW, random_BN = _batch(8, (3, 16, 16), transform)
    plain = transform(images_BCHW, partners_BCHW, random_BN)
    last = torch.channels_last
    turned = transform(
        images_BCHW.contiguous(memory_format=last),
        partners_BCHW.contiguous(memory_format=last),
        random_BN,
    )
    require(_same(plain, turned), "images in channels-last come out differently")


def inputs_are_left_alone(subject: Subject) -> None:
    """The images, partners and random numbers that it is given are not written to."""
    transform = _build(subject)
    for batch in _edges(_batch(8, (3, 16, 16), transform)):
        before = [tensor.clone() for tensor in batch]
        transform.directly(*batch)
        for name, given, kept in zip(
            ("images", "partners", "random numbers"), batch, before, strict=True
        ):
            require(equal_bits(given, kept), f"it wrote into the {name} that it was given")


def _mixer(subject: Subject) -> _Transform:
    transform = _build(subject)
    if not transform.mixes:
        raise NotApplicable("it has no method mix: it works on each image by itself")
    return transform


def shares_are_shares(subject: Subject) -> None:
    """``mix`` says for each image which share of it is left: float32 (B,) in 0..1."""
    transform = _mixer(subject)
    for batch in _edges(_batch(16, (3, 16, 16), transform)):
        share_B = transform(*batch).share_B
        if not isinstance(share_B, Tensor):
            raise AssertionError(f"the share is a {type(share_B).__name__}, no tensor")
        fits = share_B.shape == (16,) and share_B.dtype == torch.float32
        shown = f"{share_B.dtype} {tuple(share_B.shape)}"
        require(fits, f"of 16 images the share is {shown}, not float32 (16,)")
        inside = bool(((share_B >= 0) & (share_B <= 1)).all())
        require(inside, f"shares go from {float(share_B.min())} to {float(share_B.max())}")


def mixes_what_it_is_given(subject: Subject) -> None:
    """Mixed values lie between the least and the greatest of the pair; equal images stay alike."""
    transform = _mixer(subject)
    images_BCHW, partners_BCHW, random_BN = _batch(16, (3, 16, 16), transform)
    images_BCHW, partners_BCHW = 0.2 + 0.2 * images_BCHW, 0.5 + 0.3 * partners_BCHW
    out = transform(images_BCHW, partners_BCHW, random_BN).images_BCHW
    low_B = torch.minimum(images_BCHW, partners_BCHW).amin((1, 2, 3))
    high_B = torch.maximum(images_BCHW, partners_BCHW).amax((1, 2, 3))
    beyond = (out.amin((1, 2, 3)) < low_B - 1e-6) | (out.amax((1, 2, 3)) > high_B + 1e-6)
    require(not bool(beyond.any()), f"{int(beyond.sum())} of 16 mixes have values of neither image")
    alike = torch.full_like(images_BCHW, 0.625)  # exact in binary
    kept = transform(alike, alike, random_BN).images_BCHW
    close = torch.allclose(kept, alike, atol=1e-6, rtol=0)
    require(close, "two equal flat images do not mix to the same one")


CHECKS = (
    keeps_shape_type_and_range,
    num_random_is_enough,
    deterministic,
    leaves_generators_alone,
    samples_are_independent,
    memory_format_does_not_matter,
    inputs_are_left_alone,
    shares_are_shares,
    mixes_what_it_is_given,
)
