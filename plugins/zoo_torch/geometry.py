"""Transforms that move pixels: functions of images and per-sample choices, then the classes.

B batch, C channels, H height, W width. Images are float32 in 0..1, all randomness comes in as
uniform numbers. :mod:`zoo_torch.drawing` says why a sample comes out alike in every batch.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo_torch.drawing import interval, per_image, power, spread

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Affine",
    "Crop",
    "Flip",
    "Rotate",
    "Shift",
    "VerticalFlip",
    "affined",
    "cropped",
    "flipped",
    "rotated",
    "shifted",
]


def flipped(images_BCHW: Tensor, chosen_B: Tensor, *, dim: int = -1) -> Tensor:
    """Returns the images with the chosen ones (bool) mirrored: left and right, or along ``dim``."""
    return torch.where(per_image(chosen_B), images_BCHW.flip(dim), images_BCHW)


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
    y_H1, x_1W = _centred(images_BCHW)
    return _sampled(images_BCHW, *_turned(x_1W, y_H1, half_tangent_B))


def affined(
    images_BCHW: Tensor,
    *,
    half_tangent_B: Tensor,
    scale_B: Tensor,
    down_B: Tensor,
    right_B: Tensor,
    slant_x_B: Tensor,
    slant_y_B: Tensor,
) -> Tensor:
    """Returns the images sheared, turned, scaled and moved, bilinear, edges mirrored.

    Args:
        images_BCHW: The images.
        half_tangent_B: tan(angle / 2); positive turns anticlockwise.
        scale_B: Greater than 1 enlarges.
        down_B: Pixels.
        right_B: Pixels.
        slant_x_B: Tangent of the shear along the rows, sign as in torchvision's ``affine``.
        slant_y_B: Tangent of the shear along the columns.
    """
    y_H1, x_1W = _centred(images_BCHW)
    x_B1W = (x_1W - right_B[:, None, None]) / scale_B[:, None, None]
    y_BH1 = (y_H1 - down_B[:, None, None]) / scale_B[:, None, None]
    x_BHW, y_BHW = _turned(x_B1W, y_BH1, half_tangent_B)
    y_BHW = y_BHW + slant_y_B[:, None, None] * x_BHW
    x_BHW = x_BHW + slant_x_B[:, None, None] * y_BHW
    return _sampled(images_BCHW, x_BHW, y_BHW)


def cropped(
    images_BCHW: Tensor, top_B: Tensor, left_B: Tensor, height_B: Tensor, width_B: Tensor
) -> Tensor:
    """Returns one box of each image, enlarged to the image's size, bilinear.

    Boxes are in pixels and may have fractions. No pixel from outside a box shows at its edge.
    """
    height, width = images_BCHW.shape[2:]
    y_BH = _boxed(height, top_B, height_B) - (height - 1) / 2
    x_BW = _boxed(width, left_B, width_B) - (width - 1) / 2
    size = (len(images_BCHW), height, width)
    return _sampled(images_BCHW, x_BW[:, None, :].expand(size), y_BH[:, :, None].expand(size))


def _mirrored(offset_B: Tensor, side: int) -> Tensor:
    """Returns for each output position the input position, mirrored back where it falls outside."""
    from_BS = (torch.arange(side, device=offset_B.device) - offset_B[:, None]).abs()
    return torch.where(from_BS >= side, 2 * (side - 1) - from_BS, from_BS)


def _boxed(side: int, start_B: Tensor, length_B: Tensor) -> Tensor:
    """Returns position_BS in the input of each output position, counted in pixel centres."""
    centre_S = torch.arange(side).to(start_B) + 0.5
    from_BS = centre_S * (length_B[:, None] / side) - 0.5
    return start_B[:, None] + torch.minimum(from_BS.clamp(min=0), (length_B[:, None] - 1).clamp(0))


def _centred(images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Returns (y_H1, x_1W): pixel centres measured from the centre of the image, y downwards."""
    height, width = images_BCHW.shape[2:]
    y_H1 = (torch.arange(height).to(images_BCHW) - (height - 1) / 2)[:, None]
    x_1W = (torch.arange(width).to(images_BCHW) - (width - 1) / 2)[None]
    return y_H1, x_1W


def _turned(x: Tensor, y: Tensor, half_tangent_B: Tensor) -> tuple[Tensor, Tensor]:
    """Returns (x_BHW, y_BHW): where in the input a turned image takes its pixels from."""
    squared_B11 = (half_tangent_B * half_tangent_B)[:, None, None]
    sine_B11 = 2 * half_tangent_B[:, None, None] / (1 + squared_B11)
    cosine_B11 = (1 - squared_B11) / (1 + squared_B11)
    return cosine_B11 * x - sine_B11 * y, sine_B11 * x + cosine_B11 * y


def _sampled(images_BCHW: Tensor, x_BHW: Tensor, y_BHW: Tensor) -> Tensor:
    """Returns the images' values at these places, pixels from the centre, edges mirrored."""
    height, width = images_BCHW.shape[2:]
    grid_BHW2 = torch.stack((x_BHW * (2 / width), y_BHW * (2 / height)), dim=-1)
    out_BCHW = F.grid_sample(
        images_BCHW, grid_BHW2, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return out_BCHW.clamp_(0, 1)  # four weights may add up to 1 + 2**-23


# ---- the classes that components name ---------------------------------------------------------


class Flip:
    """Mirrors a share ``p`` of the images left and right."""

    def __init__(self, *, p: float = 0.5) -> None:
        self.num_random = 1
        self.p = p

    def __call__(self, images_BCHW: Tensor, random_BN: Tensor) -> Tensor:
        """Returns the images, some mirrored."""
        return flipped(images_BCHW, random_BN[:, 0] < self.p)


class VerticalFlip:
    """Turns a share ``p`` of the images upside down."""

    def __init__(self, *, p: float = 0.5) -> None:
        self.num_random = 1
        self.p = p

    def __call__(self, images_BCHW: Tensor, random_BN: Tensor) -> Tensor:
        """Returns the images, some upside down."""
        return flipped(images_BCHW, random_BN[:, 0] < self.p, dim=-2)


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
        return rotated(images_BCHW, _half_tangent(random_BN[:, 0].to(images_BCHW), self.degrees))


class Affine:
    """Turns, moves, scales and shears images, each by an amount drawn apart.

    Args:
        degrees: Largest angle to either side. Drawn as :class:`Rotate` draws it.
        translate: Largest shift as a share of the side, in both directions.
        scale: Smallest and largest factor; its logarithm is uniform.
        shear: Largest angle of the shear in degrees, in both directions; its tangent is uniform.

    Raises:
        UsageError: ``scale`` is not two numbers in order.
    """

    def __init__(
        self,
        *,
        degrees: float = 10.0,
        translate: float = 0.1,
        scale: Sequence[float] = (0.9, 1.1),
        shear: float = 5.0,
    ) -> None:
        self.num_random = 6
        self.degrees, self.translate, self.shear = degrees, translate, shear
        self.scale = interval(scale, name="scale", of="affine")

    def __call__(self, images_BCHW: Tensor, random_BN: Tensor) -> Tensor:
        """Returns the images, each seen through an affine map of its own."""
        height, width = images_BCHW.shape[2:]
        random_BN = random_BN.to(images_BCHW)
        slant = math.tan(math.radians(self.shear))
        return affined(
            images_BCHW,
            half_tangent_B=_half_tangent(random_BN[:, 0], self.degrees),
            scale_B=power(random_BN[:, 1], *self.scale),
            down_B=spread(random_BN[:, 2], self.translate * height),
            right_B=spread(random_BN[:, 3], self.translate * width),
            slant_x_B=spread(random_BN[:, 4], slant),
            slant_y_B=spread(random_BN[:, 5], slant),
        )


class Crop:
    """Cuts out a box of random area and shape and enlarges it to the image's size.

    The shape is drawn first (its logarithm is uniform), then an area among those that fit, so no
    draw is thrown away. torchvision draws both and tries again, up to ten times, until they fit.

    Source: Szegedy et al. 2014, "Going Deeper with Convolutions".

    Args:
        scale: Smallest and largest area as a share of the image's; one number is the smallest.
        ratio: Smallest and largest width over height.

    Raises:
        UsageError: ``scale`` or ``ratio`` is not two numbers in order.
    """

    def __init__(
        self, *, scale: Sequence[float] = (0.08, 1.0), ratio: Sequence[float] = (0.75, 1.3333)
    ) -> None:
        self.num_random = 4
        scale = (*scale, 1.0) if len(scale) == 1 else scale
        self.scale = interval(scale, name="scale", of="crop")
        self.ratio = interval(ratio, name="ratio", of="crop")

    def __call__(self, images_BCHW: Tensor, random_BN: Tensor) -> Tensor:
        """Returns a part of each image, enlarged."""
        height, width = images_BCHW.shape[2:]
        random_BN = random_BN.to(images_BCHW)
        ratio_B = power(random_BN[:, 0], *self.ratio)
        fits_B = torch.minimum(ratio_B * (height / width), (width / height) / ratio_B)
        largest_B = fits_B.clamp(max=self.scale[1])
        smallest_B = largest_B.clamp(max=self.scale[0])
        area_B = smallest_B + (largest_B - smallest_B) * random_BN[:, 1]
        height_B = (area_B / ratio_B * (height * width)).sqrt().clamp(1, height)
        width_B = (area_B * ratio_B * (height * width)).sqrt().clamp(1, width)
        top_B = (height - height_B) * random_BN[:, 2]
        left_B = (width - width_B) * random_BN[:, 3]
        return cropped(images_BCHW, top_B, left_B, height_B, width_B)


def _half_tangent(random_B: Tensor, degrees: float) -> Tensor:
    return spread(random_B, math.tan(math.radians(degrees) / 2))
