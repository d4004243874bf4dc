"""Test-time augmentation: several views of the same image, whose probabilities are averaged.

    flip               the image and its mirror image: 2 views
    five-crop          the four corners and the centre: 5 views (Krizhevsky et al. 2012)
    ten-crop           these and their mirror images: 10 views
    a transform, K     the image, and K - 1 draws of a transform such as ``rotate-10``

The average is over the views of one image and never over neighbours in a batch. The draws of a
transform are the same for every image, so what is said of an image depends on that image alone:
not on its place among others, nor on how many are looked at together.

Shapes: B batch, C channels, L side of the larger square, S side of the network's input, pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zoo.data.pixels.resize import needed_sides
from zoo.data.randomness import Stream, uniform
from zoo.errors import PluginError, UsageError, printable
from zoo.protocols import MixTransform, Preprocessing
from zoo.registry import Registry, build, parse_choices

if TYPE_CHECKING:
    from zoo.protocols import BatchTransform

__all__ = ["NAMED", "View", "Views", "make_views"]

NAMED = ("flip", "five-crop", "ten-crop")
"""The sets of views that have a name."""

DEFAULT_DRAWS = 8
_LARGER = 8 / 7
# 256 pixels for a network of 224, as AlexNet had it, where the weights ask for no crop themselves.

View = Callable[[Tensor], Tensor]
"""Maps float images_BCLL in 0..1 to images_BCSS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """The views of an image that a network is asked about.

    Args:
        preprocessing: How an image becomes the square that all views are taken from.
        views: At least one.
        name: As messages show them; empty for the image alone.
    """

    preprocessing: Preprocessing
    views: Sequence[View]
    name: str = ""

    def __len__(self) -> int:
        return len(self.views)


def make_views(
    preprocessing: Preprocessing,
    *,
    tta: str | None,
    draws: int | None = None,
    registry: Registry | None = None,
) -> Views:
    """Returns the views of a network with this preprocessing.

    Args:
        preprocessing: How images become the network's input.
        tta: ``flip``, ``five-crop``, ``ten-crop``, or transforms joined by ``+``; None for
            one view.
        draws: How many views in all where ``tta`` is a transform; 8 unless it is given.
        registry: The components to choose from; by default all that are installed.

    Raises:
        UsageError: There are no such views.
    """
    if tta is None or tta.strip().lower() in ("", "none"):
        if draws is not None:
            raise UsageError("--tta-views has no effect without --tta", hint="--tta rotate-10")
        return Views(preprocessing=preprocessing, views=(_as_it_is,))
    name = tta.strip().lower().replace("_", "-")
    if name in NAMED:
        if draws is not None:
            raise UsageError(
                f"--tta {name} has its own number of views",
                hint="--tta-views goes with a transform, as --tta rotate-10 --tta-views 8",
            )
        return _named(preprocessing, name)
    return _drawn(preprocessing, tta, draws or DEFAULT_DRAWS, registry or Registry.installed())


def _named(preprocessing: Preprocessing, name: str) -> Views:
    if name == "flip":
        views: tuple[View, ...] = (_as_it_is, _mirrored)
        return Views(preprocessing=preprocessing, views=views, name=name)
    side = preprocessing.image_size
    larger = needed_sides(preprocessing)[1]
    if larger == side:
        larger = round(side * _LARGER)
    square = replace(preprocessing, image_size=larger, crop_fraction=1.0)
    crops = _corners(larger, side)
    if name == "ten-crop":
        crops += [_then(crop, _mirrored) for crop in crops]
    return Views(preprocessing=square, views=crops, name=name)


def _corners(larger: int, side: int) -> list[View]:
    """Returns the four corners and the centre of a square."""
    last, middle = larger - side, round((larger - side) / 2)
    places = [(0, 0), (0, last), (last, 0), (last, last), (middle, middle)]

    def cut(top: int, left: int) -> View:
        return lambda images_BCLL: images_BCLL[..., top : top + side, left : left + side]

    return [cut(*place) for place in places]


def _drawn(preprocessing: Preprocessing, spec: str, draws: int, registry: Registry) -> Views:
    transforms: list[BatchTransform] = []
    for choice in parse_choices(registry, "transform", spec):
        built: Any = build(choice)
        if isinstance(built, MixTransform):
            raise UsageError(
                f"{printable(choice.entry.id)} mixes images with others: no view of one image",
                hint=f"--tta {NAMED[0]}, {NAMED[1]}, {NAMED[2]}, or a transform such as rotate-10",
            )
        if not callable(built) or not isinstance(getattr(built, "num_random", None), int):
            raise PluginError(f"the transform {choice.entry.id} is no batch transform")
        transforms.append(built)
    count = sum(transform.num_random for transform in transforms)
    if not count:
        raise UsageError(
            f"--tta {printable(spec)} draws nothing: all its views would be the same",
            hint="--tta flip, or a transform such as rotate-10",
        )
    numbers_VN = torch.from_numpy(uniform(Stream.AUGMENT, 0, 0, range(draws), count=count))
    # A number just below 1 would be rounded up to it.
    numbers_VN = numbers_VN.float().clamp_max(1 - 2**-24)

    def draw(number: int) -> View:
        def view(images_BCSS: Tensor) -> Tensor:
            images_BCSS, start = images_BCSS.clone(), 0
            for transform in transforms:
                stop = start + transform.num_random
                numbers_N = numbers_VN[number, start:stop].to(images_BCSS.device)
                images_BCSS = transform(images_BCSS, numbers_N.expand(len(images_BCSS), -1))
                start = stop
            return images_BCSS

        return view

    drawn = [draw(number) for number in range(1, draws)]
    return Views(preprocessing=preprocessing, views=(_as_it_is, *drawn), name=f"{spec} x {draws}")


def _as_it_is(images_BCSS: Tensor) -> Tensor:
    return images_BCSS


def _mirrored(images_BCSS: Tensor) -> Tensor:
    return images_BCSS.flip(-1)


def _then(first: View, second: View) -> View:
    return lambda images_BCLL: second(first(images_BCLL))
