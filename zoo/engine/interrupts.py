"""SIGINT and SIGTERM while training: finish the step, save, leave. A second SIGINT stops now."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from zoo.errors import ZooError, printable

__all__ = ["Interrupted", "Interrupts", "interrupts"]


class Interrupted(ZooError):
    """A run was stopped by a signal, and its state is saved.

    Its exit code is 130 for SIGINT and 143 for SIGTERM, as shells have it.
    """

    def __init__(self, number: int, *, folder: Path, steps_done: int) -> None:
        super().__init__(
            f"stopped by {signal.Signals(number).name}",
            kept=f"{printable(folder)}, after step {steps_done}",
            hint=f"zoo resume {printable(folder)}",
        )
        self.exit_code = 128 + number


class Interrupts:
    """Remembers the first signal until the loop looks."""

    def __init__(self) -> None:
        self.received: int | None = None

    def note(self, number: int, frame: FrameType | None) -> None:
        """Takes note of a signal. The second SIGINT raises KeyboardInterrupt."""
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Catches SIGINT and SIGTERM in the main thread and puts the old handlers back at the end."""
    noted = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    old = {n: signal.signal(n, noted.note) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
