"""A sample of images with what is said about them, on one page; wrong ones are framed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from zoo.data.sheet import Cell, contact_sheet
from zoo.errors import DataError
from zoo.evaluation.predict.records import Prediction
from zoo.protocols import Images, PixelImages

__all__ = ["COUNT", "Shown", "grid", "sample_rows", "shown_of", "title_of"]

COUNT = 48
"""How many images a grid shows."""

_SIDE, _FRAME, _GAP = 160, 5, 3
_WRONG, _PAPER = (200, 40, 40), (255, 255, 255)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One image of a grid.

    Args:
        row: Which image it is.
        prediction: What is said about it.
        truth: What it is, None where that is not known.
    """

    row: int
    prediction: Prediction
    truth: str | None = None

    @property
    def known(self) -> bool:
        """Whether it can be right or wrong: it was read, and what it is is known."""
        return self.truth is not None and self.prediction.score is not None

    @property
    def wrong(self) -> bool:
        """Whether it is known to be something else."""
        return self.known and self.truth not in self.prediction.labels


def sample_rows(total: int, count: int = COUNT) -> Sequence[int]:
    """Returns which of ``total`` images to show: at even distances, the first and last among them.

    >>> sample_rows(100, 5), sample_rows(3, 5)
    ([0, 25, 50, 74, 99], [0, 1, 2])
    """
    if total <= count:
        return list(range(total))
    return [int(row) for row in np.linspace(0, total - 1, count).round()]


def grid(images: Images, shown: Sequence[Shown], *, total: int) -> Image.Image:
    """Returns the page. An image that is known to be something else has a red frame.

    Args:
        images: Where the pictures are; read again, one at a time.
        shown: The sample, in order.
        total: How many images it is a sample of.
    """
    cells = [Cell(image=_picture(images, one), caption=_caption(one)) for one in shown]
    columns = min(8, max(1, math.ceil(math.sqrt(len(cells) * 1.5))))
    title = title_of(shown, total=total)
    return contact_sheet(cells, columns=columns, side=_SIDE, title=title)


def title_of(shown: Sequence[Shown], *, total: int) -> str:
    """Returns how many images a grid shows, and how many of those with a known label are right.

    Args:
        shown: The sample.
        total: How many images it is a sample of.

    >>> read = Prediction(image="a.png", labels=("cat",), score=0.9)
    >>> broken = Prediction(image="b.png", error="truncated")
    >>> title_of([Shown(row=0, prediction=read, truth="cat"),
    ...           Shown(row=1, prediction=broken, truth="cat")], total=9)
    '2 of 9 images, 1 right, 1 not read'
    """
    title = f"{len(shown):,} of {total:,} images"
    num_known, num_wrong = sum(one.known for one in shown), sum(one.wrong for one in shown)
    if num_known:
        title += f", {num_wrong} of {num_known} wrong" if num_wrong else f", {num_known} right"
    num_unread = sum(one.prediction.score is None for one in shown)
    return f"{title}, {num_unread} not read" if num_unread else title


def _caption(one: Shown) -> str:
    """Returns what is said, how sure, and what it is if that is something else."""
    said = one.prediction
    if said.score is None:
        return f"not read: {said.error}"
    text = f"{said.label or 'no label'} {said.score:.0%}"
    return f"{text}, is {one.truth}" if one.wrong else text


def _picture(images: Images, one: Shown) -> Image.Image:
    """Returns the picture, as large as a cell; in a frame if it is wrong."""
    try:
        image = _read(images, one.row)
    except DataError:
        return Image.new("RGB", (_SIDE, _SIDE), (226, 229, 233))
    room = _SIDE - 2 * (_FRAME + _GAP) if one.wrong else _SIDE
    scale = room / max(image.size)
    if scale >= 2:
        size = image.width * int(scale), image.height * int(scale)
        image = image.resize(size, Image.Resampling.NEAREST)
    else:
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    if not one.wrong:
        return image
    framed = Image.new("RGB", (_SIDE, _SIDE), _PAPER)
    framed.paste(image, ((_SIDE - image.width) // 2, (_SIDE - image.height) // 2))
    ImageDraw.Draw(framed).rectangle((0, 0, _SIDE - 1, _SIDE - 1), outline=_WRONG, width=_FRAME)
    return framed


def _read(images: Images, row: int) -> Image.Image:
    if isinstance(images, PixelImages):
        return Image.fromarray(np.asarray(images.pixels[row])).convert("RGB")
    return images.read(row)


def shown_of(
    rows: Sequence[int], predictions: Mapping[int, Prediction], truths: Mapping[int, str]
) -> list[Shown]:
    """Returns the images of a grid from what is known by row."""
    return [
        Shown(row=row, prediction=predictions[row], truth=truths.get(row))
        for row in rows
        if row in predictions
    ]
