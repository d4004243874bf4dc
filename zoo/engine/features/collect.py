"""Features of one split: taken from the shelf as far as they are there, the others computed.

Shapes: N samples of the split, M of them computed, B batch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from zoo.data.cache import make_room
from zoo.engine.features.compute import computed
from zoo.engine.features.identity import ID_BYTES
from zoo.engine.features.rows import HeldRows, Layout, MappedRows, Rows, as_numpy, gather
from zoo.errors import MachineError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.engine.features.engines import Engine
    from zoo.engine.feeds import ImageFeed

__all__ = ["SplitView", "collect"]

_GROUPS_AT_ONCE = 4
# Of 1, 2 and 4: 2.8, 2.5 and 2.3 s for 6,000 images of 64 pixels in mobilenetv3_large, two threads
# of ONNX Runtime; of 1, 2, 4 and 8 at 224 pixels: 21.6, 20.3, 20.1 and 19.6 s (n=2).


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SplitView:
    """A split's images, as they are or in one augmented view.

    Args:
        name: Of the split.
        images: The images, neither mixed nor taught.
        view: The epoch as of which they are augmented; None for the images as they are.
        ids_N: What each is; None where that is not known, and then nothing is kept.
        were_written: Whether files of them were written since: they may be other images now.
    """

    name: str
    images: ImageFeed
    view: int | None
    ids_N: NDArray[np.uint8] | None
    were_written: Callable[[], bool] = field(default=lambda: False)

    @property
    def title(self) -> str:
        """What tells it from the run's other views."""
        return self.name if self.view is None else f"{self.name}, view {self.view}"


def collect(
    split: SplitView,
    engine: Engine,
    *,
    layout: Layout,
    in_memory: bool,
    device: torch.device,
    noted: Callable[[str], None],
    progress: Callable[[int, int], None],
) -> Rows:
    """Returns the features of a split's view, and keeps those that had to be computed.

    Args:
        split: The images.
        engine: What computes, and the shelf of what it has computed.
        layout: How features are stored.
        in_memory: Whether they are held in memory, or mapped from the disk.
        device: Where batches go.
        noted: Told when they cannot be kept.
        progress: Told how many are computed. May raise to stop.

    Raises:
        MachineError: They are to be mapped, and the disk has no room for them.
    """
    shelf, keep = engine.shelf, split.ids_N is not None
    ids_N = _made_up_ids(len(split.images)) if split.ids_N is None else split.ids_N
    missing_M = _first_of_each(ids_N, np.flatnonzero(shelf.find(ids_N) < 0))

    def batches() -> Iterator[Tensor]:
        assert engine.forward is not None
        # A GPU computes what it is given as one batch, whose size has to stay the same.
        in_parts = engine.fast is not None and device.type == "cpu"
        for activation in computed(
            engine.forward, split.images, missing_M, epoch=split.view, progress=progress,
            groups=_GROUPS_AT_ONCE if in_parts else 1,
        ):  # fmt: skip
            yield layout.store(activation)

    def changed() -> bool:
        if were_written := split.were_written():
            noted(f"files of images ({split.name}) were written meanwhile: features are not kept")
        return were_written

    new_bytes = len(missing_M) * (ID_BYTES + layout.row_bytes)
    keep = keep and bool(len(missing_M)) and make_room(shelf.root, new_bytes, keep=shelf.key)
    if in_memory:
        held_N = torch.empty((len(ids_N), *layout.stored_shape), dtype=layout.dtype)
        into, done = as_numpy(held_N), 0
        for rows_B in batches() if len(missing_M) else ():
            into[missing_M[done : done + len(rows_B)]] = as_numpy(rows_B)
            done += len(rows_B)
        _fill(into, ids_N, missing_M, shelf.find(ids_N), shelf.arrays)
        if keep and not changed():
            try:
                with shelf.write(ids_N[missing_M], layout, keep=True) as writing:
                    for some_B in _a_few_at_once(missing_M):
                        writing.add(held_N[torch.from_numpy(some_B)])
                    writing.finish()
            except MachineError as error:
                noted(f"{error.what}, so a later run computes them anew: {error.found}")
        return HeldRows(held_N.to(device), layout)
    if len(missing_M):
        with shelf.write(ids_N[missing_M], layout, keep=keep) as writing:
            for rows_B in batches():
                writing.add(rows_B)
            writing.finish(keep=keep and not changed())
    return MappedRows(shelf.arrays, shelf.find(ids_N), layout, device)


def _fill(
    into_N: NDArray[np.generic],
    ids_N: NDArray[np.uint8],
    missing_M: NDArray[np.int64],
    places_N: NDArray[np.int64],
    files: list[NDArray[np.generic]],
) -> None:
    """Copies what was found, and what was computed for a twin, to where that is not yet."""
    for some_B in _a_few_at_once(np.flatnonzero(places_N >= 0)):
        block_B = np.empty((len(some_B), *into_N.shape[1:]), dtype=into_N.dtype)
        gather(files, places_N[some_B], block_B)
        into_N[some_B] = block_B
    unknown = np.flatnonzero(places_N < 0)
    if len(unknown) > len(missing_M):
        first = {ids_N[sample].tobytes(): sample for sample in missing_M}
        for sample in unknown:
            into_N[sample] = into_N[first[ids_N[sample].tobytes()]]


def _a_few_at_once(samples: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Returns samples a few at a time: copies of all of them would take as much memory again."""
    return np.array_split(samples, max(1, len(samples) // 32))


def _first_of_each(ids_N: NDArray[np.uint8], samples: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the first of these samples of each content, ascending: twins are computed once."""
    first: dict[bytes, int] = {}
    for sample in samples.tolist():
        first.setdefault(ids_N[sample].tobytes(), sample)
    return np.fromiter(first.values(), dtype=np.int64, count=len(first))


def _made_up_ids(count: int) -> NDArray[np.uint8]:
    """Returns ids that nothing else has: the sample's number, and random bytes."""
    ids_N = np.empty((count, ID_BYTES), dtype=np.uint8)
    ids_N[:, :8] = np.arange(count, dtype=np.int64)[:, None].view(np.uint8)
    ids_N[:, 8:] = np.frombuffer(os.urandom(8), np.uint8)
    return ids_N
