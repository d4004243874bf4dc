"""A signal while training: finish the step, save, leave. A second SIGINT stops now."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from zoo.errors import ZooError, in_words, printable

__all__ = ["Interrupted", "Interrupts", "ended_by", "interrupts", "stopping_signals"]


class Interrupted(ZooError):
    """A run was stopped by a signal, and can go on from what is saved.

    Its exit code is 130 for SIGINT, 143 for SIGTERM and 129 for SIGHUP, as shells have it.

    Args:
        number: Of the signal.
        folder: The run's.
        steps_done: Up to which it is saved; None for what was saved last, if anything.
        found: What the signal broke, if anything.
    """

    def __init__(
        self, number: int, *, folder: Path, steps_done: int | None, found: str = ""
    ) -> None:
        saved = "as it was last saved" if steps_done is None else f"after step {steps_done}"
        super().__init__(
            f"stopped by {signal.Signals(number).name}",
            found=found,
            kept=f"{printable(folder)}, {saved}",
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


def stopping_signals() -> list[signal.Signals]:
    """Returns what stops a command: SIGINT, SIGTERM, and a terminal that is closed, on POSIX.

    That is SIGHUP, which ``nohup`` has ignored: then it stays so.
    """
    numbers = [signal.SIGINT, signal.SIGTERM]
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    return numbers


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Catches what stops a run in the main thread and puts the old handlers back at the end."""
    noted = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    old = {number: signal.signal(number, noted.note) for number in stopping_signals()}
    try:
        yield noted
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextmanager
def ended_by(signals: Interrupts, *, folder: Path) -> Iterator[None]:
    """Has an error inside the block that comes after a signal be told as the signal, and by it.

    A terminal sends Ctrl-C to every process of the command, and so do schedulers of jobs with what
    ends one. A compiler at work for ``--compile`` then stops in the middle, and its error reaches
    the loop before the loop has looked for signals.

    Raises:
        Interrupted: Instead of any error but zoo's own, which it names.
    """
    try:
        yield
    except ZooError:
        raise
    except Exception as error:  # whatever a library makes of the processes that it has lost
        if signals.received is None:
            raise
        raise Interrupted(
            signals.received, folder=folder, steps_done=None, found=in_words(error)
        ) from error
