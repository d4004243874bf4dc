"""What was found, as pages of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from zoo.data.sheet import Cell, contact_sheet
from zoo.disk import atomic_file, machine_errors
from zoo.evaluation.interpretation.heatmaps import overlay

if TYPE_CHECKING:
    from zoo.evaluation.interpretation.explained import Explained
    from zoo.evaluation.interpretation.review import Review

__all__ = ["heat_sheet", "review_sheet", "save_sheet"]

_LEAST, _MOST = 176, 256  # side of a picture, pixels


def heat_sheet(explained: Sequence[Explained], *, title: str, columns: int = 8) -> Image.Image:
    """Returns a page with every image beside its heat, the class and its probability below.

    Args:
        explained: At least one.
        title: Headline.
        columns: Pictures a row, an even number.
    """
    cells = []
    for one in explained:
        known = f"is {one.label}" if one.label and one.label != one.class_name else ""
        cells += [
            Cell(image=one.image, caption=Path(one.name).name),
            Cell(
                image=overlay(one.image, one.heat_SS),
                caption=", ".join(filter(None, (f"{one.class_name} {one.probability:.0%}", known))),
            ),
        ]
    side = _side(cells)
    return contact_sheet(cells, columns=min(columns, len(cells)), side=side, title=title)


def review_sheet(found: Review, *, most: int = 48, columns: int = 8) -> Image.Image:
    """Returns a page with the first candidates: rank, label, suggestion.

    Args:
        found: What was found.
        most: At most so many.
        columns: Pictures a row.
    """
    cells = [
        Cell(
            image=found.picture(one),
            caption=f"{rank}. {one.label} > {one.suggested}",
        )
        for rank, one in enumerate(found.candidates[:most], start=1)
    ]
    title = (
        f"{found.data}: {len(found.candidates):,} of {found.num_images:,} labels to look at"
        if cells
        else f"{found.data}: no label to look at among {found.num_images:,}"
    )
    return contact_sheet(cells, columns=columns, side=_side(cells), title=title)


def _side(cells: Sequence[Cell]) -> int:
    """Returns the side of a picture on a page: small pictures grow by whole numbers."""
    width = max((max(cell.image.size) for cell in cells), default=_LEAST)
    return min(width * max(1, round(_LEAST / width)), _MOST)


def save_sheet(path: Path, sheet: Image.Image) -> None:
    """Writes a page as PNG, whole or not at all.

    Raises:
        MachineError: The file cannot be written.
    """
    with machine_errors("writing", path):
        atomic_file(path, lambda beside: sheet.save(beside, format="PNG", optimize=True))
