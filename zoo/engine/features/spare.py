"""What a pass over images leaves for another: in the same run, or in the next of an experiment.

Shapes: N samples of a split.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from zoo.data.reading.stamps import num_written_since
from zoo.engine.features.rows import HeldRows
from zoo.network.freeze import digest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from zoo.engine.features.frozen import FrozenPart
    from zoo.engine.features.rows import Rows
    from zoo.network.inference import Forward
    from zoo.protocols import Images, PixelImages

__all__ = ["Digest", "Spare"]

Digest: TypeAlias = "Callable[[Mapping[str, Tensor]], str]"
"""What :func:`zoo.network.freeze.digest` is."""

_SPLITS = 3
# Whose images are remembered: training, validation and test.

_TICK_NS = 10**7
# A file's time is that of the last tick of a clock, at most so long before.


class Spare:
    """What passes leave: a cut network, its engine, its probe, what images are, features in memory.

    The first two are of one run, the others also of use to the next.

    Args:
        digest: Returns the digest of tensors.
    """

    def __init__(self, digest: Digest = digest) -> None:
        self.digest = digest
        self.part: FrozenPart | None = None
        """The frozen part of the last phase."""
        self._engine: tuple[object, Forward] | None = None
        self._ids: OrderedDict[int, tuple[object, NDArray[np.uint8] | None, int]] = OrderedDict()
        self._rows: dict[str, tuple[object, HeldRows]] = {}
        self._probe: tuple[object, Tensor] | None = None

    def keep_engine(self, fast: Forward, *, made_of: object) -> None:
        """Takes an engine, and closes the one before.

        Args:
            fast: The engine.
            made_of: What tells the frozen part that it computes.
        """
        if self._engine is not None:
            self._engine[1].close()
        self._engine = made_of, fast

    def take_engine(self, name: str, *, made_of: object) -> Forward | None:
        """Returns the engine of this name if it is kept and computes that. It is the caller's."""
        if self._engine is None or self._engine[0] != made_of or self._engine[1].name != name:
            return None
        fast, self._engine = self._engine[1], None
        return fast

    def clear(self) -> None:
        """Lets go of everything that takes memory."""
        self.close()
        self._rows.clear()

    def close(self) -> None:
        """Lets go of what is of one run."""
        if self._engine is not None:
            self._engine[1].close()
        self._engine = self.part = None

    def ids(
        self, images: Images | PixelImages, look: Callable[[], NDArray[np.uint8] | None]
    ) -> NDArray[np.uint8] | None:
        """Returns what each of these images is, (N, 16): looked at once, for the last splits.

        Args:
            images: The very object, which is taken to stay what it is.
            look: Looks at them.
        """
        if id(images) not in self._ids:
            now_ns = time.time_ns()  # before it looks: what is written meanwhile may be seen
            # The images are kept, so that no others get their id.
            self._ids[id(images)] = images, look(), now_ns
            while len(self._ids) > _SPLITS:
                self._ids.popitem(last=False)
        self._ids.move_to_end(id(images))
        return self._ids[id(images)][1]

    def were_written(self, images: Images | PixelImages) -> bool:
        """Returns whether files of images were written since it was looked what they are.

        Args:
            images: Which :meth:`ids` was asked about.
        """
        _, _, when_ns = self._ids[id(images)]
        return num_written_since(images, when_ns=when_ns - _TICK_NS, until_ns=time.time_ns()) > 0

    def probe(self, make: Callable[[], Tensor], *, made_of: object) -> Tensor:
        """Returns what a frozen part makes of the two made-up images: made once, for the last one.

        Args:
            make: Has it made.
            made_of: What tells the frozen part that makes it.
        """
        if self._probe is None or self._probe[0] != made_of:
            self._probe = made_of, make()
        return self._probe[1]

    def keep_rows(self, view: str, rows: Rows, *, made_of: object) -> None:
        """Takes the features of a view of a split, if they are in memory.

        Args:
            view: Name of the split and number of the view: there are one view's features at a time.
            rows: The features.
            made_of: What tells them from others.
        """
        if isinstance(rows, HeldRows):
            self._rows[view] = made_of, rows

    def rows(self, view: str, *, made_of: object) -> HeldRows | None:
        """Returns the features of a view, if those are kept; None for what nobody can tell."""
        kept, rows = self._rows.get(view, (None, None))
        return rows if made_of is not None and kept == made_of else None

    def drop_rows(self, view: str) -> None:
        """Lets go of the features of a view: others come, and both at once may be too much."""
        self._rows.pop(view, None)
