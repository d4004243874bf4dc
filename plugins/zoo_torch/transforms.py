"""Batch transforms: pure functions of images and per-sample choices, then the classes that draw.

B batch, C channels, H height, W width. Images are float32 in 0..1, all randomness comes in as
uniform numbers. What happens to a sample is the same, bit for bit, in whatever batch it is: the
functions copy pixels and use arithmetic that IEEE 754 rounds correctly, but no reduction and no
sine or logarithm, whose last bit may depend on where in a vector register a sample lies.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.protocols import BatchTransform

__all__ = [
    "Chain",
    "Color",
    "Erase",
    "Flip",
    "Keep",
    "Rotate",
    "Shift",
    "colored",
    "erased",
    "flipped",
    "light",
    "rotated",
    "shifted",
]


def flipped(images_BCHW: Tensor, chosen_B: Tensor) -> Tensor:
    """Returns the images with the chosen ones (bool) mirrored left and right."""
    return torch.where(_per_image(chosen_B), images_BCHW.flip(-1), images_BCHW)


def shifted(images_BCHW: Tensor, down_B: Tensor, right_B: Tensor) -> Tensor:
    """Returns the images moved by whole pixels (int64, less than the side), edges mirrored."""
    rows_BH = _mirrored(down_B, images_BCHW.shape[2])
    columns_BW = _mirrored(right_B, images_BCHW.shape[3])
    # One gather over flat pixels: 0.9 ms for 64x3x64x64 on one core, against 6 ms by indexing.
    index_BN = (rows_BH[:, :, None] * images_BCHW.shape[3] + columns_BW[:, None, :]).flatten(1)
    pixels_BCN = images_BCHW.flatten(2)
    return pixels_BCN.gather(2, index_BN[:, None].expand_as(pixels_BCN)).view(images_BCHW.shape)


def rotated(images_BCHW: Tensor, half_tangent_B: Tensor) -> Tensor:
    """Returns the images turned about their centre, bilinear, edges mirrored.

    Args:
        images_BCHW: The images.
        half_tangent_B: tan(angle / 2); positive turns anticlockwise. Sine and cosine follow from it
            by arithmetic alone.
    """
    _, _, height, width = images_BCHW.shape
    squared_B11 = (half_tangent_B * half_tangent_B)[:, None, None]
    sine_B11 = 2 * half_tangent_B[:, None, None] / (1 + squared_B11)
    cosine_B11 = (1 - squared_B11) / (1 + squared_B11)
    # Pixel centres, measured from the centre of the image, y downwards.
    y_H1 = (torch.arange(height).to(images_BCHW) - (height - 1) / 2)[:, None]
    x_1W = (torch.arange(width).to(images_BCHW) - (width - 1) / 2)[None]
    from_x_BHW = cosine_B11 * x_1W - sine_B11 * y_H1
    from_y_BHW = sine_B11 * x_1W + cosine_B11 * y_H1
    grid_BHW2 = torch.stack((from_x_BHW * (2 / width), from_y_BHW * (2 / height)), dim=-1)
    return F.grid_sample(
        images_BCHW, grid_BHW2, mode="bilinear", padding_mode="reflection", align_corners=False
    )


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
    inside_BH = _between(images_BCHW.shape[2], top_B, height_B)
    inside_BW = _between(images_BCHW.shape[3], left_B, width_B)
    return images_BCHW.masked_fill((inside_BH[:, :, None] & inside_BW[:, None, :])[:, None], value)


def colored(images_BCHW: Tensor, brightness_B: Tensor, contrast_B: Tensor) -> Tensor:
    """Returns ``(images - 0.5) contrast + 0.5 + brightness``, cut to 0..1."""
    return ((images_BCHW - 0.5) * _per_image(contrast_B) + _per_image(brightness_B + 0.5)).clamp(
        0, 1
    )


def _per_image(values_B: Tensor) -> Tensor:
    return values_B[:, None, None, None]


def _mirrored(offset_B: Tensor, side: int) -> Tensor:
    """Returns for each output position the input position, mirrored back where it falls outside."""
    from_BS = (torch.arange(side, device=offset_B.device) - offset_B[:, None]).abs()
    return torch.where(from_BS >= side, 2 * (side - 1) - from_BS, from_BS)


def _between(side: int, start_B: Tensor, length_B: Tensor) -> Tensor:
    """Returns inside_BS: whether each pixel's centre lies in [start, start + length)."""
    centre_S = torch.arange(side).to(start_B) + 0.5
    return (centre_S >= start_B[:, None]) & (centre_S < (start_B + length_B)[:, None])


# ---- the classes that components name ---------------------------------------------------------


class Keep:
    """Leaves images as they are."""

    def __init__(self) -> None:
        self.num_random = 0

    def __call__(self, images_BCHW: Tensor, random_BN: Tensor) -> Tensor:
        """Returns the images."""
        return images_BCHW


class Flip:
    """Mirrors a share ``p`` of the images left and right."""

    def __init__(self, *, p: float = 0.5) -> None:
        self.num_random = 1
        self.p = p

    def __call__(self, images_BCHW: Tensor, random_BN: Tensor) -> Tensor:
        """Returns the images, some mirrored."""
        return flipped(images_BCHW, random_BN[:, 0] < self.p)


class Shift:
    """Moves images by whole pixels, up to ``fraction`` of the side: a crop after padding."""

    def __init__(self, *, fraction: float = 0.125) -> None:
        self.num_random = 2
        self.fraction = fraction

    def __call__(self, images_BCHW: Tensor, random_BN: Tensor) -> Tensor:
        """Returns the images, moved."""
        return shifted(
            images_BCHW,
            self._pixels(random_BN[:, 0], images_BCHW.shape[2]),
            self._pixels(random_BN[:, 1], images_BCHW.shape[3]),
        )

    def _pixels(self, random_B: Tensor, side: int) -> Tensor:
        most = min(int(self.fraction * side), side - 1)
        # Rounding can make the product reach its bound though the random number is below 1.
        return (random_B * (2 * most + 1)).long().clamp(max=2 * most) - most


class Rotate:
    """Turns images by up to ``degrees`` (at most 90) to either side.

    The tangent of half the angle is uniform, not the angle itself: for 10 degrees their densities
    differ by less than one percent.
    """

    def __init__(self, *, degrees: float = 10.0) -> None:
        self.num_random = 1
        self.degrees = degrees

    def __call__(self, images_BCHW: Tensor, random_BN: Tensor) -> Tensor:
        """Returns the images, turned."""
        most = math.tan(math.radians(self.degrees) / 2)
        return rotated(images_BCHW, _spread(random_BN[:, 0].to(images_BCHW), most))


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
        share_B2 = self.smallest + (self.largest - self.smallest) * random_BN[:, 1:3]
        height_B, width_B = share_B2[:, 0] * height, share_B2[:, 1] * width
        top_B = (height - height_B) * random_BN[:, 3]
        left_B = (width - width_B) * random_BN[:, 4]
        # A rectangle of height 0 leaves the image as it is.
        height_B = torch.where(random_BN[:, 0] < self.p, height_B, 0.0)
        return erased(images_BCHW, top_B, left_B, height_B, width_B, value=self.value)


class Color:
    """Adds up to ``brightness`` and scales the contrast about mid-grey by up to ``contrast``."""

    def __init__(self, *, brightness: float = 0.2, contrast: float = 0.2) -> None:
        self.num_random = 2
        self.brightness, self.contrast = brightness, contrast

    def __call__(self, images_BCHW: Tensor, random_BN: Tensor) -> Tensor:
        """Returns the images with brightness and contrast changed, in 0..1."""
        random_BN = random_BN.to(images_BCHW)
        return colored(
            images_BCHW,
            _spread(random_BN[:, 0], self.brightness),
            1 + _spread(random_BN[:, 1], self.contrast),
        )


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


def _spread(random_B: Tensor, most: float) -> Tensor:
    """Returns uniform numbers in [-most, most) from uniform numbers in [0, 1)."""
    return (2 * random_B - 1) * most
