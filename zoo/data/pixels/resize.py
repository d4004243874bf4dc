"""How an image of any shape becomes the square that a network takes.

    crop     the shorter side is resized to image_size / crop_fraction, the centre is cut out
    pad      the longer side is resized to image_size, borders of the mean colour are added
    squash   both sides are resized to image_size

One resampler serves single images and stacks: torch's, with antialiasing, on bytes. On photographs
it takes a third of Pillow's time and differs by a grey level at most, and nobody has to ask which
of the two an image went through. Sizes and offsets are rounded as torchvision's ``Resize`` and
``CenterCrop`` round them, since that is how the networks whose weights are loaded were trained.

Shapes: B batch, C channels (3 or 1), H height, W width, S side of the square, pixels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from zoo.data.pixels.normalise import by_channel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from PIL.Image import Image

    from zoo.protocols import Preprocessing

__all__ = [
    "fill_colour",
    "needed_sides",
    "stack_to_bytes",
    "to_bytes",
    "to_square",
    "write_square",
    "write_squares",
]

_LONGEST = 8
# A longer image is first cut to this many times its shorter side, around its centre: a hostile one
# of 1 x 5,000 pixels would become 224 x 1,120,000. It can move the crop by half a pixel.

_RED, _GREEN, _BLUE = 19595, 38470, 7471
# ITU-R 601 in 1/65536, as Pillow rounds it: 0.299, 0.587, 0.114.


def needed_sides(preprocessing: Preprocessing) -> tuple[int, int]:
    """Returns the shorter and the longer side that an image is resized to at least, pixels.

    >>> from zoo.protocols import Preprocessing
    >>> needed_sides(Preprocessing(image_size=224, crop_fraction=0.875))
    (256, 256)
    >>> needed_sides(Preprocessing(image_size=224, fit="pad"))
    (0, 224)
    """
    side = preprocessing.image_size
    if preprocessing.fit == "crop":
        # timm's rounding. Twelve digits, because 57 / 0.57 is a little less than 100.
        side = max(side, math.floor(round(side / preprocessing.crop_fraction, 12)))
    return (0 if preprocessing.fit == "pad" else side), side


def fill_colour(mean: Sequence[float], channels: int) -> list[int]:
    """Returns the mean colour as bytes: what borders are made of, near 0 once it is normalised."""
    return [round(255 * value) for value in by_channel(mean, channels)]


def to_bytes(image: Image, preprocessing: Preprocessing, channels: int) -> Tensor:
    """Returns one decoded image as uint8 of shape (C, S, S).

    Args:
        image: Any size, RGB or what converts to it.
        preprocessing: Size, fit, crop and interpolation.
        channels: 3 for colour, 1 for grey.
    """
    side = preprocessing.image_size
    square_SSC = np.empty((side, side, channels), dtype=np.uint8)
    write_square(image, square_SSC, preprocessing)
    return torch.from_numpy(square_SSC).permute(2, 0, 1)


def write_square(image: Image, square_SSC: NDArray[np.uint8], preprocessing: Preprocessing) -> None:
    """Fills ``square_SSC`` with the image, in as many channels as it has. Uses one thread."""
    write_squares({0: image}, square_SSC[np.newaxis], preprocessing)


def write_squares(
    images: Mapping[int, Image], squares_BSSC: NDArray[np.uint8], preprocessing: Preprocessing
) -> None:
    """Fills rows of ``squares_BSSC`` with their images, as :func:`write_square` does.

    Those of one size are resized in one call. A call costs as much as a small image does: RGB of
    28 pixels to 64 took 64 us an image, and 15 us in calls of 16 images (AMD EPYC, torch 2.14.1;
    benchmarks/pipeline.py --squares).
    """
    channels = squares_BSSC.shape[3]
    mode = "L" if channels == 1 else "RGB"
    alike: dict[tuple[int, int], list[int]] = {}
    for row, image in images.items():
        alike.setdefault(image.size, []).append(row)
    for (width, height), rows in alike.items():
        pixels = [
            np.asarray(image if image.mode == mode else image.convert(mode))
            for image in map(images.__getitem__, rows)
        ]
        if width == height == preprocessing.image_size == needed_sides(preprocessing)[1]:
            # Nothing to do. A tensor costs more than decoding an image this small.
            for row, pixels_HWC in zip(rows, pixels, strict=True):
                squares_BSSC[row] = pixels_HWC.reshape(height, width, channels)
            continue
        squares_BCSS = stack_to_bytes(np.stack(pixels), preprocessing, channels)
        # numpy copies: torch would take more threads.
        squares_BSSC[rows] = squares_BCSS.permute(0, 2, 3, 1).numpy()


def stack_to_bytes(
    pixels_BHWC: NDArray[np.uint8], preprocessing: Preprocessing, channels: int
) -> Tensor:
    """Returns decoded images of one size, uint8 (B, H, W) or (B, H, W, 3), as (B, C, S, S)."""
    images_BCHW = torch.from_numpy(pixels_BHWC)
    images_BCHW = (
        images_BCHW.unsqueeze(1) if images_BCHW.ndim == 3 else images_BCHW.permute(0, 3, 1, 2)
    )
    if channels == 1 and images_BCHW.shape[1] == 3:
        images_BCHW = _grey(images_BCHW)
    if preprocessing.fit == "pad" and images_BCHW.shape[1] != channels:
        images_BCHW = images_BCHW.expand(-1, channels, -1, -1)  # the border may have a colour
    squares_BCSS = to_square(images_BCHW, preprocessing)
    return squares_BCSS.expand(-1, channels, -1, -1)


def to_square(images_BCHW: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Returns uint8 images of one size, (B, C, H, W), as squares (B, C, S, S)."""
    side, fit = preprocessing.image_size, preprocessing.fit
    if fit == "crop":
        images_BCHW = _cut_long(images_BCHW)
    height, width = images_BCHW.shape[-2:]
    rows, columns = _resized(height, width, preprocessing)
    if (rows, columns) != (height, width):
        smooth = preprocessing.interpolation != "nearest"
        images_BCHW = functional.interpolate(
            images_BCHW, (rows, columns), antialias=smooth,
            mode=preprocessing.interpolation if smooth else "nearest-exact",
        )  # fmt: skip
    if fit == "pad" and rows != columns:
        colour_C = fill_colour(preprocessing.mean, images_BCHW.shape[1])
        squares_BSSC = torch.empty((len(images_BCHW), side, side, len(colour_C)), dtype=torch.uint8)
        squares_BSSC[:] = torch.tensor(colour_C, dtype=torch.uint8)
        top, left = (side - rows) // 2, (side - columns) // 2
        squares_BCSS = squares_BSSC.permute(0, 3, 1, 2)
        squares_BCSS[..., top : top + rows, left : left + columns] = images_BCHW
        return squares_BCSS
    top, left = round((rows - side) / 2), round((columns - side) / 2)
    return images_BCHW[..., top : top + side, left : left + side]


def _resized(height: int, width: int, preprocessing: Preprocessing) -> tuple[int, int]:
    """Returns the height and width that an image is resized to before it is cut or padded."""
    side = needed_sides(preprocessing)[1]
    shorter, longer = sorted((height, width))
    if preprocessing.fit == "squash":
        return side, side
    if preprocessing.fit == "pad":
        other = max(1, round(side * shorter / longer))
        return (side, other) if height >= width else (other, side)
    other = int(side * longer / shorter)
    return (other, side) if height >= width else (side, other)


def _cut_long(images_BCHW: Tensor) -> Tensor:
    height, width = images_BCHW.shape[-2:]
    longest = _LONGEST * min(height, width)
    top, left = max(0, (height - longest) // 2), max(0, (width - longest) // 2)
    return images_BCHW[..., top : top + longest, left : left + longest]


def _grey(images_B3HW: Tensor) -> Tensor:
    """Returns luma (B, 1, H, W), to the bit as Pillow's ``convert("L")``."""
    red, green, blue = images_B3HW.int().unbind(1)
    luma_BHW = (red * _RED + green * _GREEN + blue * _BLUE + 0x8000) >> 16
    return luma_BHW.to(torch.uint8).unsqueeze(1)
