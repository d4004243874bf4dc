"""Signals wherever a command does not catch them itself: an exit code, no traceback."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from zoo.engine.interrupts import stopping_signals

__all__ = ["Stopped", "signals_stop"]


class Stopped(KeyboardInterrupt):
    """A signal came. Its exit code is 130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


@contextmanager
def signals_stop() -> Iterator[None]:
    """Raises :class:`Stopped` at a signal in the main thread, for as long as the block runs.

    While a module is being imported the process ends at once instead. An exception there passes
    through code that is not ours and does not expect it: measured, of two dozen it was swallowed
    once, and once it left a half-imported numpy behind. Nothing is lost: all writes are atomic.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = {number: signal.signal(number, _stop) for number in stopping_signals()}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os.write(2, b"stopped\n")
            os._exit(128 + number)
        frame = frame.f_back
    raise Stopped(number)
