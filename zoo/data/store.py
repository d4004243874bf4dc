"""Images of one split at the size that the network takes, fetched a batch at a time.

Images that fit the memory budget are decoded once and kept as bytes; others are decoded when they
are asked for, by threads (Pillow decodes and resizes without the interpreter's lock), one batch
ahead of the one in use.

Shapes: N images, B batch, C channels, S side in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor
from torch.nn import functional

from zoo.protocols import Images, PixelImages, Preprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Store", "ahead", "to_bytes"]

_RESAMPLING = {
    "nearest": PillowImage.Resampling.NEAREST,
    "bilinear": PillowImage.Resampling.BILINEAR,
    "bicubic": PillowImage.Resampling.BICUBIC,
}
_T = TypeVar("_T")


def to_bytes(image: PillowImage.Image, preprocessing: Preprocessing, channels: int) -> Tensor:
    """Returns one decoded image as uint8 of shape (C, S, S): resized, centre cut out."""
    side = preprocessing.image_size
    resized = _resized_side(preprocessing)
    width, height = image.size
    scale = resized / min(width, height)
    size = (max(side, round(width * scale)), max(side, round(height * scale)))
    resampling = _RESAMPLING[preprocessing.interpolation]
    image = image.resize(size, resampling, reducing_gap=3.0)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    image = image.crop((left, top, left + side, top + side))
    if channels == 1:
        return torch.from_numpy(np.array(image.convert("L"))).unsqueeze(0)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _resized_side(preprocessing: Preprocessing) -> int:
    return max(
        preprocessing.image_size, round(preprocessing.image_size / preprocessing.crop_fraction)
    )


@dataclass(frozen=True, slots=True)
class Store:
    """The images of one split, ready to be fetched.

    Args:
        images: Where they come from.
        preprocessing: Size, interpolation and crop.
        channels: 3 for colour, 1 for grey.
        held_NCSS: All images as uint8 when they fit the budget, else None.
        pool: Threads that decode.
    """

    images: Images | PixelImages
    preprocessing: Preprocessing
    channels: int
    held_NCSS: Tensor | None
    pool: ThreadPoolExecutor

    @classmethod
    def open(
        cls,
        images: Images | PixelImages,
        *,
        preprocessing: Preprocessing,
        channels: int,
        budget_bytes: int,
        num_threads: int,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Store:
        """Returns a store, with the images decoded into memory when they fit ``budget_bytes``.

        Raises:
            DataError: An image cannot be decoded.
        """
        pool = ThreadPoolExecutor(max(1, num_threads), thread_name_prefix="zoo-decode")
        store = cls(images, preprocessing, channels, None, pool)
        if isinstance(images, PixelImages):
            return store
        side, total = preprocessing.image_size, len(images)
        if total * channels * side * side > budget_bytes:
            return store
        held_NCSS = torch.empty((total, channels, side, side), dtype=torch.uint8)
        for first in range(0, total, 256):
            chunk = np.arange(first, min(first + 256, total))
            held_NCSS[first : first + len(chunk)] = store.fetch(chunk)
            progress(first + len(chunk), total)
        return cls(images, preprocessing, channels, held_NCSS, pool)

    def __len__(self) -> int:
        return len(self.images)

    def fetch(self, samples_B: NDArray[np.int64]) -> Tensor:
        """Returns these images as uint8 of shape (B, C, S, S).

        Raises:
            DataError: An image cannot be decoded.
        """
        if self.held_NCSS is not None:
            return self.held_NCSS[torch.from_numpy(samples_B)]
        if isinstance(self.images, PixelImages):
            return _resize_pixels(self.images.pixels[samples_B], self.preprocessing, self.channels)
        images = self.images

        def decode(sample: np.int64) -> Tensor:
            return to_bytes(images.read(int(sample)), self.preprocessing, self.channels)

        return torch.stack(list(self.pool.map(decode, samples_B)))

    @property
    def decodes(self) -> bool:
        """Whether a fetch has to decode, and so is worth doing ahead."""
        return self.held_NCSS is None and not isinstance(self.images, PixelImages)


def _resize_pixels(
    pixels: NDArray[np.uint8], preprocessing: Preprocessing, channels: int
) -> Tensor:
    """Resizes decoded images of one size, all at once: uint8 (B, H, W[, 3]) to (B, C, S, S)."""
    images = torch.from_numpy(pixels)
    images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
    if channels == 1 and images.shape[1] == 3:
        weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)  # ITU-R 601, as Pillow
        images = (images * weights).sum(1, keepdim=True).round().to(torch.uint8)
    side, resized = preprocessing.image_size, _resized_side(preprocessing)
    height, width = images.shape[-2:]
    scale = resized / min(height, width)
    size = (max(side, round(height * scale)), max(side, round(width * scale)))
    if size != (height, width):
        smooth = preprocessing.interpolation != "nearest"
        images = functional.interpolate(
            images, size, mode=preprocessing.interpolation, antialias=smooth,
            **({"align_corners": False} if smooth else {}),
        )  # fmt: skip
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    images = images[..., top : top + side, left : left + side]
    return images.expand(-1, channels, -1, -1) if images.shape[1] != channels else images


def ahead(items: Iterable[_T], fetch: Callable[[_T], Tensor]) -> Iterator[tuple[_T, Tensor]]:
    """Yields (item, fetch(item)) in order; the next is fetched while the current one is used."""
    with ThreadPoolExecutor(1, thread_name_prefix="zoo-ahead") as pool:
        waiting: tuple[_T, Future[Tensor]] | None = None
        try:
            for item in items:
                upcoming = (item, pool.submit(fetch, item))
                if waiting is not None:
                    yield waiting[0], waiting[1].result()
                waiting = upcoming
            if waiting is not None:
                yield waiting[0], waiting[1].result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
