"""Transforms that leave images, erase parts of them, or join other transforms.

B batch, C channels, H height, W width. Images are float32 in 0..1, all randomness comes in as
uniform numbers. :mod:`zoo_torch.drawing` says why a sample comes out alike in every batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zoo.errors import UsageError
from zoo_torch.colors import Jitter
from zoo_torch.drawing import inside, within
from zoo_torch.geometry import Crop, Flip, Shift

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.protocols import BatchTransform

__all__ = ["Chain", "Erase", "Keep", "erased", "light", "standard"]


def erased(
    images_BCHW: Tensor,
    top_B: Tensor,
    left_B: Tensor,
    height_B: Tensor,
    width_B: Tensor,
    *,
    value: float = 0.5,
) -> Tensor:
    """Returns the images with one rectangle each set to a value. Places and sizes in pixels."""
    inside_BH = inside(images_BCHW.shape[2], top_B, height_B)
    inside_BW = inside(images_BCHW.shape[3], left_B, width_B)
    return images_BCHW.masked_fill((inside_BH[:, :, None] & inside_BW[:, None, :])[:, None], value)


# ---- the classes that components name ---------------------------------------------------------


class Keep:
    """Leaves images as they are."""

    def __init__(self) -> None:
        self.num_random = 0

    def __call__(self, images_BCHW: Tensor, random_BN: Tensor) -> Tensor:
        """Returns the images."""
        return images_BCHW


class Erase:
    """Sets a rectangle to grey in a share ``p`` of the images.

    Height and width are drawn apart, as shares of the image's sides.

    Source: Zhong et al. 2020, "Random Erasing Data Augmentation", which draws area and ratio.

    Raises:
        UsageError: ``smallest`` is greater than ``largest``.
    """

    def __init__(
        self, *, p: float = 0.5, smallest: float = 0.15, largest: float = 0.5, value: float = 0.5
    ) -> None:
        if smallest > largest:
            raise UsageError(
                "erase: smallest must not be greater than largest",
                found=f"smallest={smallest:g}, largest={largest:g}",
            )
        self.num_random = 5
        self.p, self.smallest, self.largest, self.value = p, smallest, largest, value

    def __call__(self, images_BCHW: Tensor, random_BN: Tensor) -> Tensor:
        """Returns the images, some with a grey rectangle."""
        height, width = images_BCHW.shape[2:]
        random_BN = random_BN.to(images_BCHW)
        height_B = within(random_BN[:, 1], self.smallest, self.largest) * height
        width_B = within(random_BN[:, 2], self.smallest, self.largest) * width
        top_B = (height - height_B) * random_BN[:, 3]
        left_B = (width - width_B) * random_BN[:, 4]
        # A rectangle of height 0 leaves the image as it is.
        height_B = torch.where(random_BN[:, 0] < self.p, height_B, 0.0)
        return erased(images_BCHW, top_B, left_B, height_B, width_B, value=self.value)


class Chain:
    """Applies transforms one after the other, each with random numbers of its own."""

    def __init__(self, transforms: Sequence[BatchTransform]) -> None:
        self.transforms = tuple(transforms)
        self.num_random = sum(transform.num_random for transform in self.transforms)

    def __call__(self, images_BCHW: Tensor, random_BN: Tensor) -> Tensor:
        """Returns the images after all transforms."""
        start = 0
        for transform in self.transforms:
            stop = start + transform.num_random
            images_BCHW = transform(images_BCHW, random_BN[:, start:stop])
            start = stop
        return images_BCHW


def light(*, p: float = 0.5, fraction: float = 0.125) -> Chain:
    """Builds flip, then shift."""
    return Chain((Flip(p=p), Shift(fraction=fraction)))


def standard(*, p: float = 0.5, area: float = 0.5, strength: float = 0.4) -> Chain:
    """Builds crop, flip and jitter, the habit of fine-tuning scripts, at moderate strength.

    Shape of the crop, flip and a jitter of 0.4 without hue are what timm's ``train.py`` does by
    default. Its crops go down to an area of 0.08, made for training on ImageNet from scratch;
    Ultralytics' classifiers, which are mostly fine-tuned, start from 0.5 (``scale=0.5``).

    Args:
        p: Share of the images that are mirrored left and right.
        area: Smallest area of a crop as a share of the image's.
        strength: Of the jitter, for brightness, contrast and saturation alike.
    """
    jitter = Jitter(brightness=strength, contrast=strength, saturation=strength, hue=0.0)
    return Chain((Crop(scale=(area, 1.0)), Flip(p=p), jitter))
