"""Whether a run has seen the images that it is examined on, so that its numbers are too good.

data, split -> own_split: which split of the run's own data that is -> why_optimistic: a note
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zoo.evaluation.subjects import ALL

if TYPE_CHECKING:
    from zoo.protocols import DataSet

__all__ = ["own_split", "why_optimistic"]

_WHY = {
    "train": "these images were trained on: the numbers are optimistic",
    "val": "the weights were chosen on these images: the numbers are optimistic",
    ALL: "some of these images were trained on, or the weights were chosen on them: "
    "the numbers are optimistic",
}


def why_optimistic(split: str | None) -> str:
    """Returns why the numbers are better than those on new images; empty where nothing says so.

    Args:
        split: Which split of the run's own data they are of, see :func:`own_split`.

    >>> why_optimistic("val")
    'the weights were chosen on these images: the numbers are optimistic'
    >>> why_optimistic("test"), why_optimistic(None)
    ('', '')
    """
    return "" if split is None else _WHY.get(split, "")


def own_split(
    split: str, data: DataSet, *, source: str | None, trained_on: str, fingerprint: str | None
) -> str | None:
    """Returns which split of the run's own data a split is; None where the data is other data.

    It is the run's own if the user named none, if it has the fingerprint that the run recorded, or
    if it is at the same place. What is only at the same place was read anew, without the limits
    and the shares of the run: ``test`` is the test split that the data has itself, and any other
    split may hold images of each.

    Args:
        split: Its name in ``data``.
        data: What was read.
        source: As ``--data``; None for what the run was trained on.
        trained_on: The same option of the run.
        fingerprint: Of the data that the run was trained on; None where it does not say.

    Returns:
        The name of a split, :data:`zoo.evaluation.subjects.ALL` for images of several, or None.
    """
    if source is None or data.fingerprint == fingerprint:
        return split
    if not _same_place(source, trained_on):
        return None
    return split if split == "test" else ALL


def _same_place(one: str, other: str) -> bool:
    """Whether two values of ``--data`` name the same."""
    if one == other:
        return True
    first, second = Path(one), Path(other)
    return first.exists() and second.exists() and first.samefile(second)
