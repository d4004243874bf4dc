"""Callbacks: observers that the user chose. One that fails is switched off; the run goes on.

Choices -> built callbacks -> each guarded -> one observer that tells them all
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from zoo.engine.events import EVENTS, Observer, Observers
from zoo.engine.interrupts import Interrupted
from zoo.errors import PluginError, in_words
from zoo.registry import Choice, build

__all__ = ["guarded", "listening"]

_UNSAVED = "step_ended", "step_measured"
"""Events between two saves. What fails there stops the run only after the next save."""


@contextmanager
def listening(
    observer: Observer, choices: Sequence[Choice], *, run_path: Path
) -> Iterator[Observers]:
    """Yields an observer that tells ``observer`` and the chosen callbacks, and closes them.

    Args:
        observer: Hears everything first, and the notes about callbacks that fail.
        choices: The callbacks.
        run_path: The run folder.

    Raises:
        PluginError: A callback cannot be built. Nothing has been trained yet.
    """
    callbacks = [
        guarded(
            build(choice, run_path=run_path), name=choice.entry.id,
            essential=choice.arguments.get("essential") is True, noted=observer.noted,
        )
        for choice in choices
    ]  # fmt: skip
    together = Observers([observer, *callbacks])
    try:
        yield together
    except BaseException as error:
        with suppress(PluginError):  # the run already ends with an error, which says more
            together.closed(error)
        raise
    together.closed(None)


def guarded(
    callback: object, *, name: str, essential: bool = False, noted: Callable[[str], None]
) -> Observer:
    """Returns a callback as an observer that loses no run.

    When the callback raises, it is named with the cause in a note and is told nothing more. An
    essential one stops the run instead: at once where the state is saved, else by its ``failure``,
    which the engine looks at after each step. Interruptions pass.

    Args:
        callback: An object with any of the methods of :class:`Observer`.
        name: As messages call it.
        essential: Whether the run is worth nothing without it.
        noted: Where notes go.

    Raises:
        PluginError: It has none of the methods.
    """
    heard = [event for event in EVENTS if callable(getattr(callback, event, None))]
    if not heard:
        raise PluginError(
            f"the callback {name} is a {type(callback).__name__}, which listens to nothing",
            found=f"none of the methods {', '.join(EVENTS)}",
        )
    return _Guard(callback, heard, name=name, essential=essential, noted=noted)


class _Guard(Observer):
    """A callback behind a guard. Only events that it hears are overridden."""

    def __init__(
        self, callback: object, heard: Sequence[str], *, name: str, essential: bool,
        noted: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._name, self._essential, self._noted = name, essential, noted
        self._off = False
        self._failure: PluginError | None = None
        for event in heard:
            method = getattr(callback, event)
            if getattr(method, "__func__", method) is not getattr(Observer, event):
                setattr(self, event, self._guarding(event, method))

    @property
    def failure(self) -> PluginError | None:
        """Why the run has to stop."""
        return self._failure

    def _guarding(self, event: str, method: Callable[..., None]) -> Callable[..., None]:
        def tell(*args: object, **facts: object) -> None:
            if not self._off:
                try:
                    method(*args, **facts)
                except Interrupted:
                    raise
                except (Exception, SystemExit) as error:
                    self._fail(event, error)
            if self._failure is not None and event not in _UNSAVED:
                raise self._failure

        return tell

    def _fail(self, event: str, error: BaseException) -> None:
        self._off = True  # first: a note may come back as an event
        told = in_words(error)
        if self._essential:
            self._failure = PluginError(
                f"the callback {self._name} failed at {event}, and it is essential", found=told,
                kept="the state of the run, up to its last save",
                hint="zoo resume goes on; without essential=true a run goes on by itself",
            )  # fmt: skip
            self._failure.__cause__ = error
        else:
            self._noted(f"the callback {self._name} failed at {event} and is switched off: {told}")
