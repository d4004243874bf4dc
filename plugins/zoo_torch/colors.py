"""Transforms that change colours: functions of images and per-sample choices, then the classes.

B batch, C channels, H height, W width. Images are float32 in 0..1, all randomness comes in as
uniform numbers. :mod:`zoo_torch.drawing` says why a sample comes out alike in every batch.
What needs three channels (grey, saturation, hue) leaves images with another number as they are.
"""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zoo_torch.drawing import per_image, spread, within

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Color",
    "Grayscale",
    "Jitter",
    "brightened",
    "colored",
    "contrasted",
    "greyed",
    "hued",
    "jittered",
    "saturated",
]

_EXACT = 2**24
"""Values in 0..1 as integers: a sum of them is the same in any order."""


def colored(images_BCHW: Tensor, brightness_B: Tensor, contrast_B: Tensor) -> Tensor:
    """Returns ``(images - 0.5) contrast + 0.5 + brightness``, cut to 0..1."""
    return ((images_BCHW - 0.5) * per_image(contrast_B) + per_image(brightness_B + 0.5)).clamp(0, 1)


def greyed(images_BCHW: Tensor) -> Tensor:
    """Returns grey_B1HW: 0.299 red + 0.587 green + 0.114 blue (ITU-R BT.601), as Pillow has it."""
    red, green, blue = images_BCHW[:, :1], images_BCHW[:, 1:2], images_BCHW[:, 2:]
    return red * 0.299 + green * 0.587 + blue * 0.114


def brightened(images_BCHW: Tensor, factor_B: Tensor) -> Tensor:
    """Returns the images times a factor, cut to 0..1: 0 is black, 1 the image."""
    return (images_BCHW * per_image(factor_B)).clamp_(0, 1)


def contrasted(images_BCHW: Tensor, factor_B: Tensor) -> Tensor:
    """Returns the images blended with their mean grey: 0 is all grey, 1 the image."""
    grey = greyed(images_BCHW) if images_BCHW.shape[1] == 3 else images_BCHW
    sum_B = (grey * _EXACT).round().long().sum((1, 2, 3))
    mean_B = sum_B.to(images_BCHW) / (grey[0].numel() * _EXACT)
    return _blended(images_BCHW, per_image(mean_B), factor_B)


def saturated(images_BCHW: Tensor, factor_B: Tensor) -> Tensor:
    """Returns the images blended with their grey form: 0 is grey, 1 the image."""
    if images_BCHW.shape[1] != 3:
        return images_BCHW
    return _blended(images_BCHW, greyed(images_BCHW), factor_B)


def hued(images_BCHW: Tensor, turn_B: Tensor) -> Tensor:
    """Returns the images with the hue turned, as a share of the colour circle (-0.5..0.5).

    Greatest and least of a pixel's channels stay; only which channel has what changes.
    """
    if images_BCHW.shape[1] != 3:
        return images_BCHW
    red, green, blue = images_BCHW[:, :1], images_BCHW[:, 1:2], images_BCHW[:, 2:]
    most, least = images_BCHW.amax(1, keepdim=True), images_BCHW.amin(1, keepdim=True)
    chroma = most - least
    divisor = torch.where(chroma > 0, chroma, 1.0)  # grey pixels have no hue, and stay
    sixths = torch.where(
        red == most,
        (green - blue) / divisor,
        torch.where(green == most, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    sixths = sixths + per_image(6 * turn_B)
    channels = []
    for offset in (5, 3, 1):  # red, green, blue
        place = sixths + offset
        place = place - 6 * (place / 6).floor()
        channels.append(most - chroma * torch.minimum(place, 4 - place).clamp_(0, 1))
    return torch.cat(channels, dim=1)


def jittered(
    images_BCHW: Tensor,
    order_B: Tensor,
    *,
    brightness_B: Tensor | None = None,
    contrast_B: Tensor | None = None,
    saturation_B: Tensor | None = None,
    hue_B: Tensor | None = None,
) -> Tensor:
    """Returns the images after up to four changes of colour, in an order of each image's own.

    Args:
        images_BCHW: The images.
        order_B: Which permutation of the four, 0..23 in lexical order; -1 leaves an image as it is.
        brightness_B: Factors as :func:`brightened` takes them; None leaves the step out.
        contrast_B: As :func:`contrasted`.
        saturation_B: As :func:`saturated`.
        hue_B: As :func:`hued`.
    """
    steps: tuple[tuple[Callable[[Tensor, Tensor], Tensor], Tensor | None], ...] = (
        (brightened, brightness_B),
        (contrasted, contrast_B),
        (saturated, saturation_B),
        (hued, hue_B),
    )
    orders_P4 = torch.tensor(list(permutations(range(4))), device=order_B.device)
    orders_B4 = torch.where(order_B[:, None] < 0, -1, orders_P4[order_B.clamp(min=0)])
    images_BCHW = images_BCHW.clone()
    for position in range(4):
        for step, (change, factor_B) in enumerate(steps):
            if factor_B is None:
                continue
            chosen = (orders_B4[:, position] == step).nonzero()[:, 0]
            if len(chosen):
                images_BCHW[chosen] = change(images_BCHW[chosen], factor_B[chosen])
    return images_BCHW


def _blended(images_BCHW: Tensor, others: Tensor, factor_B: Tensor) -> Tensor:
    factor_B111 = per_image(factor_B)
    return (images_BCHW * factor_B111 + others * (1 - factor_B111)).clamp_(0, 1)


# ---- the classes that components name ---------------------------------------------------------


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
            spread(random_BN[:, 0], self.brightness),
            1 + spread(random_BN[:, 1], self.contrast),
        )


class Jitter:
    """Changes brightness, contrast, saturation and hue in random order, as torchvision does.

    A factor is uniform from 1 - x (at least 0) to 1 + x, the turn of the hue from -x to x. A step
    with x = 0 is left out.

    Args:
        brightness: x of the brightness.
        contrast: x of the contrast.
        saturation: x of the saturation.
        hue: x of the hue, at most 0.5.
        p: Share of the images that are changed.
    """

    def __init__(
        self,
        *,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.4,
        hue: float = 0.1,
        p: float = 1.0,
    ) -> None:
        self.num_random = 6
        self.brightness, self.contrast, self.saturation = brightness, contrast, saturation
        self.hue, self.p = hue, p

    def __call__(self, images_BCHW: Tensor, random_BN: Tensor) -> Tensor:
        """Returns the images with their colours changed, in 0..1."""
        random_BN = random_BN.to(images_BCHW)
        order_B = (random_BN[:, 1] * 24).long().clamp(max=23)
        return jittered(
            images_BCHW,
            torch.where(random_BN[:, 0] < self.p, order_B, -1),
            brightness_B=_factor(random_BN[:, 2], self.brightness),
            contrast_B=_factor(random_BN[:, 3], self.contrast),
            saturation_B=_factor(random_BN[:, 4], self.saturation),
            hue_B=spread(random_BN[:, 5], self.hue) if self.hue else None,
        )


class Grayscale:
    """Takes the colour out of a share ``p`` of the images; they keep three channels."""

    def __init__(self, *, p: float = 0.1) -> None:
        self.num_random = 1
        self.p = p

    def __call__(self, images_BCHW: Tensor, random_BN: Tensor) -> Tensor:
        """Returns the images, some grey."""
        if images_BCHW.shape[1] != 3:
            return images_BCHW
        return torch.where(per_image(random_BN[:, 0] < self.p), greyed(images_BCHW), images_BCHW)


def _factor(random_B: Tensor, most: float) -> Tensor | None:
    return within(random_B, max(0.0, 1 - most), 1 + most) if most else None
