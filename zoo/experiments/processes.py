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
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import errors
from zoo.config import RunConfig
from zoo.errors import MachineError, ZooError, as_zoo_error, printable
from zoo.registry.child import ending

if TYPE_CHECKING:
    from zoo.engine.events import RunResult

__all__ = ["Process", "processes", "serve"]

_CODE = (
    "import sys, json; setup = json.loads(sys.stdin.readline()); sys.path[:] = setup['path']; "
    "from importlib import import_module; import_module(setup['module']).main(setup); "
    "from zoo.leaving import leave; leave(0)"
)
_SECONDS_TO_SAVE = 60.0


class Process:
    """A process that trains one run after the other. It is started when it is needed.

    Args:
        module: Its ``main(setup)`` is what is done there; it calls :func:`serve`.
        setup: What that is told, as plain data.
    """

    def __init__(self, module: str, setup: Mapping[str, object]) -> None:
        self._message = {"path": sys.path, "module": module, **setup}
        self._started: subprocess.Popen[str] | None = None
        self._is_to_end = False

    def start(self) -> None:
        """Starts it, which takes some seconds of a core."""
        # -P: what lies in the current folder is not what `import json` means. A group of its own:
        # a Ctrl-C is for this process, which then ends the other one.
        self._started = subprocess.Popen(
            [sys.executable, "-P", "-c", _CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, encoding="utf-8", start_new_session=True,
        )  # fmt: skip
        self._send(self._started, self._message)
        if self._is_to_end:  # said in another thread just now
            self.ask_to_end()

    def train(self, config: RunConfig) -> RunResult:
        """Trains a run there and returns how it ended.

        Raises:
            ZooError: What stopped the run.
            MachineError: The process was lost.
        """
        from zoo.engine.records.earlier import result_of
        from zoo.runs.folder import RunFolder  # imports torch

        if self._started is None:
            self.start()
        process = self._started
        assert process is not None
        assert process.stdout is not None
        self._send(process, {"config": config.as_mapping()})
        line = process.stdout.readline()
        if not line.endswith("\n"):
            raise MachineError(
                f"the process that trained {printable(config.name)} was lost",
                found=ending(process.wait()),
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
        if self._started is not None:
            assert self._started.stdin is not None
            with suppress(OSError):  # it has ended
                self._started.stdin.close()

    def close(self) -> None:
        """Returns when it has ended, killed if saving takes too long."""
        self.ask_to_end()
        if self._started is None:
            return
        assert self._started.stdout is not None
        try:
            self._started.wait(_SECONDS_TO_SAVE)
        except BaseException as error:
            self._started.kill()
            self._started.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
        finally:
            self._started.stdout.close()

    @staticmethod
    def _send(process: subprocess.Popen[str], message: Mapping[str, object]) -> None:
        assert process.stdin is not None
        with suppress(BrokenPipeError, ValueError):  # it has ended: the missing answer tells
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()


@contextmanager
def processes(count: int, make: Callable[[int], Process]) -> Iterator[list[Process]]:
    """Yields processes, numbered from 1, and ends them with the block.

    They are started at once where this one has torch still to import: all of them do then, at the
    same time. Otherwise each starts when it is given something to do.
    """
    made = [make(number) for number in range(1, count + 1)]
    try:
        if "torch" not in sys.modules:
            for process in made:
                process.start()
        yield made
    finally:
        for process in made:
            process.ask_to_end()
        for process in made:
            process.close()


def serve(train: Callable[[RunConfig], RunResult], *, prepare: Callable[[], None]) -> None:
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
