"""Opens image files as far as their headers, many at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo.cores import num_cores
from zoo.data.pixels.decode import image_size
from zoo.data.reading.scan import bullets, listed
from zoo.data.threads import in_blocks
from zoo.errors import DataError, count_of, printable
from zoo.protocols import OnBad

__all__ = ["Headers", "read_headers", "refuse_or_skip"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    """What the headers of image files say.

    Args:
        sides: Shorter side in pixels, by name, of those that can be read.
        bad: Reason by name of those that cannot.
    """

    sides: Mapping[str, int]
    bad: Mapping[str, str]


def read_headers(root: Path, names: Sequence[str]) -> Headers:
    """Returns what the header of each image says. Decodes nothing.

    Args:
        root: The folder that the names are below.
        names: Paths of the images below it, or absolute ones.
    """

    def look(rows: range) -> tuple[dict[str, int], dict[str, str]]:
        sides, bad = {}, {}
        for name in names[rows.start : rows.stop]:
            try:
                sides[name] = min(image_size(root / name, name=name))
            except DataError as error:
                bad[name] = error.found
        return sides, bad

    sides: dict[str, int] = {}
    bad: dict[str, str] = {}
    # More threads than cores: on a far disk they wait.
    for _, (some_sides, some_bad) in in_blocks(
        look, len(names), num_threads=min(8, num_cores() + 2), size=256
    ):
        sides |= some_sides
        bad |= some_bad
    return Headers(sides=sides, bad={name: bad[name] for name in names if name in bad})


def refuse_or_skip(bad: Mapping[str, str], *, on_bad: OnBad, total: int, where: str) -> list[str]:
    """Returns the note about images that are left out, or refuses them all by name.

    Args:
        bad: Reason by name of the images that cannot be read.
        on_bad: ``fail`` or ``skip``.
        total: How many images there are.
        where: The folder or file, as messages show it.

    Raises:
        DataError: There are some and ``on_bad`` is not ``skip``, or none is left.
    """
    if not bad:
        return []
    reasons = [f"{printable(name)}: {reason}" for name, reason in bad.items()]
    if on_bad != "skip" or len(bad) == total:
        raise DataError(
            f"{len(bad)} of {total} images below {where} cannot be read\n{bullets(reasons)}",
            hint="replace or remove them" + ("" if on_bad == "skip" else ", or --on-bad skip"),
        )
    return [
        f"left out {count_of(len(bad), 'image')} that cannot be read: {listed(list(bad), most=3)}"
    ]
