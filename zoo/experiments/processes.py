"""Further processes that train an experiment's runs, beside the one that was started.

    Process.train --a configuration a line--> serve
                 <--the run's folder, or an error--

All else that there is to say of a run stands in its folder. When its standard input ends, because
this process stops the other one or is gone itself, the run there is saved as at any signal.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from zoo import errors
from zoo.config import RunConfig
from zoo.errors import MachineError, ZooError, as_zoo_error, printable
from zoo.experiments.children import Child, may_be_copied, signals_held
from zoo.registry.child import ending

if TYPE_CHECKING:
    from zoo.engine.events import RunResult

__all__ = ["Process", "Work", "processes", "serve"]

Work: TypeAlias = Callable[[Mapping[str, Any]], None]
"""What a process does, given its setup as plain data."""

_SECONDS_TO_SAVE = 60.0


class Process:
    """A process that trains one run after the other. It is started when it is needed.

    Args:
        module: Its ``main(setup)`` is what is done there; it calls :func:`serve`.
        setup: What that is told, as plain data.
    """

    def __init__(self, module: str, setup: Mapping[str, object]) -> None:
        self._message = {"path": sys.path, "module": module, **setup}
        self.child: Child | None = None
        self._is_to_end = False

    def start(self) -> None:
        """Starts it anew, which takes some seconds of a core."""
        self.child = Child.new()
        self._send(self.child, self._message)
        if self._is_to_end:  # said in another thread just now
            self.ask_to_end()

    def copy(self, work: Work, *, beside: Sequence[Process]) -> bool:
        """Starts it as a copy of this process that does ``work(setup)``. Returns whether it can."""
        others = [process.child for process in beside if process.child is not None]
        self.child = Child.copy(lambda: work(self._message), beside=others)
        return self.child is not None

    def train(self, config: RunConfig) -> RunResult:
        """Trains a run there and returns how it ended.

        Raises:
            ZooError: What stopped the run.
            MachineError: The process was lost.
        """
        from zoo.engine.records.earlier import result_of
        from zoo.runs.folder import RunFolder  # imports torch

        if self.child is None:
            self.start()
        process = self.child
        assert process is not None
        self._send(process, {"config": config.as_mapping()})
        line = process.stdout.readline()
        if not line.endswith("\n"):
            raise MachineError(
                f"the process that trained {printable(config.name)} was lost",
                found=ending(process.wait(None)),
                kept="all that was saved; the same command with --name goes on",
                hint="fewer --jobs, if memory ran out",
            )
        answer = json.loads(line)
        if "error" in answer:
            error = _error_from(answer["error"])
            if "traceback" in answer:
                error.add_note(answer["traceback"])
            raise error
        result = result_of(RunFolder.open(Path(answer["ended"])))
        assert result is not None  # it has ended
        return result

    def ask_to_end(self) -> None:
        """Has it save the run that it trains, if any, and end."""
        self._is_to_end = True
        if self.child is not None:
            with suppress(OSError):  # it has ended
                self.child.stdin.close()

    def close(self) -> None:
        """Returns when it has ended, killed if saving takes too long."""
        self.ask_to_end()
        if self.child is None:
            return
        try:
            self.child.wait(_SECONDS_TO_SAVE)
        except BaseException as error:
            self.child.kill()
            self.child.wait(None)
            if not isinstance(error, TimeoutError):
                raise
        finally:
            self.child.stdout.close()

    @staticmethod
    def _send(child: Child, message: Mapping[str, object]) -> None:
        with suppress(BrokenPipeError, ValueError):  # it has ended: the missing answer tells
            child.stdin.write(json.dumps(message) + "\n")
            child.stdin.flush()


@contextmanager
def processes(
    count: int, make: Callable[[int], Process], *, load: Callable[[], Work]
) -> Iterator[list[Process]]:
    """Yields processes, numbered from 1, and ends them with the block.

    Where it can be, they are copies of this process once it has loaded what all of them need. Else
    they start now where this one has torch still to import: all do then, at the same time.
    Otherwise each starts when it is given something to do.

    Args:
        count: How many.
        make: Makes one of its number.
        load: Loads here what they need, and returns what a copy does with its setup.
    """
    made = [make(number) for number in range(1, count + 1)]
    try:
        at_once = "torch" not in sys.modules
        if made and may_be_copied():
            work = load()
            with signals_held():
                for process in made:
                    if not process.copy(work, beside=made):
                        break
        for process in made:
            if process.child is None and at_once:
                process.start()
        yield made
    finally:
        for process in made:
            process.ask_to_end()
        for process in made:
            process.close()


def serve(
    train: Callable[[RunConfig], RunResult], *, prepare: Callable[[], None] = lambda: None
) -> None:
    """Trains what standard input names, until that ends.

    What is printed meanwhile goes to standard error.

    Args:
        train: Trains a run.
        prepare: Called first.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    tasks: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    busy = threading.Event()

    def listen() -> None:
        for line in sys.stdin:
            tasks.put(json.loads(line))
        tasks.put(None)
        if busy.is_set():
            signal.raise_signal(signal.SIGTERM)

    busy.set()
    threading.Thread(target=listen, name="zoo-tasks", daemon=True).start()
    prepare()
    busy.clear()
    while (task := tasks.get()) is not None:
        busy.set()
        try:
            ended = train(RunConfig.from_mapping(task["config"]))
            answer: dict[str, object] = {"ended": str(ended.path)}
        except Exception as error:
            told = as_zoo_error(error)
            answer = {"error": _described(told)}
            if told is not error:  # --debug shows it
                answer["traceback"] = "".join(traceback.format_exception(error))
        busy.clear()
        with suppress(BrokenPipeError):
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


def _described(error: ZooError) -> dict[str, object]:
    """Returns an error as plain data."""
    return {
        "kind": type(error).__name__, "what": error.what, "found": error.found, "kept": error.kept,
        "hint": error.hint, "exit_code": error.exit_code,
    }  # fmt: skip


def _error_from(described: Mapping[str, Any]) -> ZooError:
    """Returns the error that :func:`_described` turned into this."""
    kind = getattr(errors, described["kind"], ZooError)
    error: ZooError = kind(
        described["what"], found=described["found"], kept=described["kept"], hint=described["hint"]
    )
    error.exit_code = described["exit_code"]
    return error
