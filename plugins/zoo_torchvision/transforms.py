"""torchvision's augmentation policies as batch transforms.

torchvision draws from torch's global generator; a batch transform may not. So a policy sees one
image at a time, and before each image the generator is seeded from that sample's own numbers. It
is put back afterwards. Between the two no other thread may draw from it: the caller sees to that.
For as long, torch computes with one thread.

Images pass through uint8, for which the policies are made, on the CPU: there the generator is one,
and its numbers are the same on every machine. Grey images keep their one channel; what needs colour
(saturation) leaves them as they are.

B batch, C channels (1 or 3), H height, W width, M images that a transform acts on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from zoo.errors import UsageError

__all__ = [
    "Blur",
    "PerSample",
    "Together",
    "augmix",
    "autoaugment",
    "autocontrast",
    "blur",
    "equalize",
    "invert",
    "perspective",
    "posterize",
    "randaugment",
    "sharpness",
    "solarize",
    "trivial",
]

Change: TypeAlias = Callable[[Tensor], Tensor]
"""Maps images of uint8 to images of the same shape."""


class PerSample:
    """Calls a transform that draws from torch's generator, on one image at a time.

    Args:
        transform: Takes and returns uint8 of shape (C, H, W).
        p: Share of the images that it sees.
    """

    def __init__(self, transform: Change, *, p: float = 1.0) -> None:
        self.num_random = 3
        self.transform, self.p = transform, p

    def __call__(self, images_BCHW: Tensor, random_BN: Tensor) -> Tensor:
        """Returns the images, some transformed; these are multiples of 1/255."""
        chosen_M = _chosen(random_BN, self.p)
        seeds = _seeds(random_BN[chosen_M, 1:].tolist())

        def change(pixels_MCHW: Tensor) -> Tensor:
            with _apart():
                images = map(self._seeded, pixels_MCHW, seeds)
                return torch.stack(list(images))

        return _through_bytes(images_BCHW, chosen_M, change)

    def _seeded(self, image_CHW: Tensor, seed: int) -> Tensor:
        # Not torch.manual_seed: that would also seed the GPUs, and nobody would put them back.
        torch.default_generator.manual_seed(seed)
        return self.transform(image_CHW)


class Together:
    """Calls a transform without randomness on all chosen images at once.

    Args:
        transform: Takes and returns uint8 of shape (M, C, H, W), each image by itself.
        p: Share of the images that it sees.
    """

    def __init__(self, transform: Change, *, p: float = 0.5) -> None:
        self.num_random = 1
        self.transform, self.p = transform, p

    def __call__(self, images_BCHW: Tensor, random_BN: Tensor) -> Tensor:
        """Returns the images, some transformed; these are multiples of 1/255."""
        return _through_bytes(images_BCHW, _chosen(random_BN, self.p), self.transform)


class Blur:
    """Blurs one image with a Gaussian whose width is drawn from torch's generator.

    torchvision's own transform has a kernel of fixed size; this one fits it to width and image.

    Args:
        smallest: Standard deviation, pixels.
        largest: Standard deviation, pixels.

    Raises:
        UsageError: ``smallest`` is greater than ``largest``.
    """

    def __init__(self, *, smallest: float = 0.1, largest: float = 2.0) -> None:
        if smallest > largest:
            raise UsageError(
                "blur: smallest must not be greater than largest",
                found=f"smallest={smallest:g}, largest={largest:g}",
            )
        self.smallest, self.largest = smallest, largest

    def __call__(self, image_CHW: Tensor) -> Tensor:
        """Returns the image, blurred; edges mirrored."""
        sigma = self.smallest + (self.largest - self.smallest) * float(torch.rand(()))
        reach = math.ceil(3 * sigma)
        # A mirrored edge can be no wider than the image without its outermost pixel.
        width, height = (2 * min(reach, side - 1) + 1 for side in reversed(image_CHW.shape[1:]))
        blurred: Tensor = F.gaussian_blur(image_CHW, [width, height], [sigma, sigma])
        return blurred


@contextmanager
def _apart() -> Iterator[None]:
    """Holds torch to one thread; puts threads and generator back as they were.

    Operations on one small image wait for a second thread longer than they run: AugMix of 28 pixels
    took 40 ms an image with two threads on two busy cores, 1.1 ms with one. And so no bit depends
    on the number of threads.
    """
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(num_threads)


def _chosen(random_BN: Tensor, p: float) -> Tensor:
    return (random_BN[:, 0] < p).nonzero()[:, 0]


def _seeds(pairs: list[list[float]]) -> Iterator[int]:
    """Yields 48 bits of each pair: a float32 below 1 has 24 that are uniform."""
    for high, low in pairs:
        yield (int(high * 2**24) << 24) + int(low * 2**24)


def _through_bytes(images_BCHW: Tensor, chosen_M: Tensor, change: Change) -> Tensor:
    """Returns the images with the chosen ones changed as uint8 on the CPU."""
    if images_BCHW.shape[1] not in (1, 3):
        raise UsageError(
            "transforms of torchvision take images with 1 or 3 channels",
            found=f"{images_BCHW.shape[1]} channels",
            hint="choose others: zoo list transforms",
        )
    if not len(chosen_M):
        return images_BCHW
    everyone = len(chosen_M) == len(images_BCHW)
    values_MCHW = (images_BCHW if everyone else images_BCHW[chosen_M]).mul(255).round_()
    pixels_MCHW = change(values_MCHW.to("cpu", torch.uint8).contiguous())
    changed_MCHW = pixels_MCHW.to(images_BCHW.device).to(images_BCHW.dtype).div_(255)
    if everyone:
        return changed_MCHW
    images_BCHW = images_BCHW.clone()
    images_BCHW[chosen_M] = changed_MCHW
    return images_BCHW


def _byte(value: float) -> int:
    return round(255 * value)


def _grey(fill: float) -> int | None:
    """Returns torchvision's fill. Its way to black that is not asked for is quicker, and exact."""
    return _byte(fill) or None


# ---- what components name: policies -----------------------------------------------------------


def trivial(*, bins: int = 31, fill: float = 0.0) -> PerSample:
    """Builds TrivialAugmentWide: one operation an image, at a strength drawn for it."""
    return PerSample(v2.TrivialAugmentWide(num_magnitude_bins=bins, fill=_grey(fill)))


def randaugment(*, num_ops: int = 2, magnitude: int = 9, fill: float = 0.0) -> PerSample:
    """Builds RandAugment: operations drawn for each image, all at one strength of 0..30."""
    return PerSample(v2.RandAugment(num_ops, magnitude, num_magnitude_bins=31, fill=_grey(fill)))


def autoaugment(*, policy: str = "imagenet", fill: float = 0.0) -> PerSample:
    """Builds AutoAugment with the operations that were found for a data set."""
    return PerSample(v2.AutoAugment(v2.AutoAugmentPolicy(policy), fill=_grey(fill)))


def augmix(
    *, severity: int = 3, width: int = 3, depth: int = 0, alpha: float = 1.0, fill: float = 0.0
) -> PerSample:
    """Builds AugMix: an image blended with chains of operations on it.

    A depth of 0 draws 1 to 3 operations for each chain. Only the images: the consistency loss of
    the paper is not part of it.
    """
    return PerSample(v2.AugMix(severity, width, chain_depth=depth, alpha=alpha, fill=_grey(fill)))


# ---- single ones ------------------------------------------------------------------------------


def blur(*, p: float = 0.5, smallest: float = 0.1, largest: float = 2.0) -> PerSample:
    """Builds a Gaussian blur of a width drawn for each image."""
    return PerSample(Blur(smallest=smallest, largest=largest), p=p)


def perspective(*, distortion: float = 0.5, p: float = 0.5, fill: float = 0.0) -> PerSample:
    """Builds a view from the side: each corner moves inwards by a share of half the image."""
    tilt = v2.RandomPerspective(distortion, p=1.0, fill=_grey(fill))

    def tilted(image_CHW: Tensor) -> Tensor:
        try:
            result: Tensor = tilt(image_CHW)
        # Three corners can be on one line in images of few pixels: nothing to see from there.
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # missing in the stub
            return image_CHW
        return result

    return PerSample(tilted, p=p)


def sharpness(*, factor: float = 2.0, p: float = 0.5) -> PerSample:
    """Builds a change of sharpness: 0 blurs, 1 is the image, 2 sharpens."""
    return PerSample(lambda image_CHW: F.adjust_sharpness(image_CHW, factor), p=p)


def autocontrast(*, p: float = 0.5) -> Together:
    """Builds the stretch of each channel to the full range."""
    return Together(F.autocontrast, p=p)


def equalize(*, p: float = 0.5) -> Together:
    """Builds the equalisation of each channel's histogram."""
    return Together(F.equalize, p=p)


def invert(*, p: float = 0.5) -> Together:
    """Builds the negative."""
    return Together(F.invert, p=p)


def posterize(*, bits: int = 4, p: float = 0.5) -> Together:
    """Builds the reduction to few bits a channel."""
    return Together(lambda pixels_MCHW: F.posterize(pixels_MCHW, bits), p=p)


def solarize(*, threshold: float = 0.5, p: float = 0.5) -> Together:
    """Builds the negative of all values that reach a threshold (0..1)."""
    return Together(lambda pixels_MCHW: F.solarize(pixels_MCHW, _byte(threshold)), p=p)
