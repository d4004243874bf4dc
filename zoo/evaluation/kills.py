"""Processes that are killed at random instants of a chosen stage, and what became of them.

The parent starts a process, follows its stages on a pipe, and kills it when the drawn instant has
come: a stage, its n-th visit, and a delay after it began. What counts is the last stage that the
process told of before it died, so a kill that came too late is counted where it hit.
"""

from __future__ import annotations

import queue
import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from zoo.evaluation.stages import Stage

__all__ = ["Kill", "Launch", "Life", "Process", "Strata", "live"]


class Process(Protocol):
    """A process that can be killed."""

    marks: BinaryIO
    """The reading end of its marks, unbuffered; ends when the process has ended."""

    def kill(self) -> None:
        """Ends it at once: SIGKILL, or TerminateProcess on Windows."""
        ...

    def wait(self) -> int:
        """Waits for its end and returns its exit code, negative if it was killed."""
        ...

    def errors(self) -> str:
        """Returns what it wrote to stderr, after its end."""
        ...


class Launch(Protocol):
    """Starts a process that runs a named run, or goes on with it."""

    def __call__(self, name: str) -> Process:
        """Returns it, just started."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """When a process is to be killed.

    Args:
        stage: In which stage.
        visit: In which visit of it, from 1.
        delay: Seconds after that visit began.
    """

    stage: Stage
    visit: int
    delay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """What became of one process.

    Args:
        planned: When it was to be killed; None if it was to live.
        killed: Whether it was; else it ended by itself, or hung.
        stage: The last stage that it told of.
        visits: Each stage that it came to, with the seconds that it stayed.
        exit_code: Its own; negative if a signal ended it.
        hung: Whether it had to be killed because it told of nothing for too long.
        errors: What it wrote to stderr.
    """

    planned: Kill | None
    killed: bool
    stage: Stage
    visits: tuple[tuple[Stage, float], ...]
    exit_code: int
    hung: bool
    errors: str

    def kept(self) -> Counter[Stage]:
        """Returns the visits up to the last save that was completed: a resume goes on after it."""
        stages = [stage for stage, _ in self.visits]
        saves = [i for i, stage in enumerate(stages[:-1]) if stage is Stage.SAVE]
        counted = Counter(stages[1 : saves[-1] + 1] if saves else [])
        counted[Stage.END] = stages.count(Stage.END)
        return counted


def live(process: Process, *, kill: Kill | None, patience: float) -> Life:
    """Follows a process to its end, and kills it when that is planned. Never leaves it running.

    Args:
        process: It has just been started.
        kill: When to kill it; None lets it live.
        patience: Seconds without a word after which it counts as hung.
    """
    told: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(process.marks, told.put), daemon=True)
    began = time.monotonic()
    stages: list[tuple[Stage, float]] = [(Stage.START_UP, began)]
    try:
        reader.start()
        killed, hung = _follow(process, told, stages, kill, patience)
        exit_code = process.wait()
    except BaseException:  # a signal to this process alone, say
        process.kill()
        process.wait()
        raise
    finally:
        if reader.is_alive():
            reader.join()
        process.marks.close()
        errors = process.errors()
    ends = [moment for _, moment in stages[1:]] + [time.monotonic()]
    return Life(
        planned=kill, killed=killed and exit_code < 0, stage=stages[-1][0],
        visits=tuple((stage, end - at) for (stage, at), end in zip(stages, ends, strict=True)),
        exit_code=exit_code, hung=hung, errors=errors,
    )  # fmt: skip


def _follow(
    process: Process, told: queue.SimpleQueue[tuple[float, bytes]],
    stages: list[tuple[Stage, float]], kill: Kill | None, patience: float,
) -> tuple[bool, bool]:  # fmt: skip
    """Adds each stage with its beginning until the pipe ends; kills as planned, or at a silence.

    Returns:
        Whether it was killed as planned, and whether it hung.
    """
    visits = Counter(stage for stage, _ in stages)
    killed = hung = False
    while True:
        deadline = time.monotonic() + patience
        due = kill is not None and not killed and visits[kill.stage] >= kill.visit
        if due and kill is not None:
            deadline = _began(stages, kill) + kill.delay
        try:
            moment, mark = told.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            process.kill()
            killed, hung = killed or due, hung or not due
            continue
        if not mark:
            return killed, hung
        stages.append((Stage(mark), moment))
        visits[Stage(mark)] += 1


def _read(marks: BinaryIO, put: Callable[[tuple[float, bytes]], None]) -> None:
    """Passes each byte on with the time of its arrival; an empty one says that the pipe ended."""
    while True:
        mark = marks.read(1)
        put((time.monotonic(), mark))
        if not mark:
            return


def _began(stages: Sequence[tuple[Stage, float]], kill: Kill) -> float:
    """Returns when the planned visit began."""
    moments = [moment for stage, moment in stages if stage is kill.stage]
    return moments[kill.visit - 1]


class Strata:
    """Draws instants such that each stage gets its turn, whatever share of the time it takes.

    Args:
        straight: A run that was not killed: what stages there are, how many, how long.
        seed: Of the draws.
    """

    def __init__(self, straight: Life, *, seed: int) -> None:
        self._random = random.Random(seed)
        self._seconds: dict[Stage, list[float]] = {}
        for stage, seconds in straight.visits:
            self._seconds.setdefault(stage, []).append(seconds)
        self._planned: Counter[Stage] = Counter()

    def draw(self, *, kept: Mapping[Stage, int]) -> Kill | None:
        """Returns the next instant.

        Args:
            kept: Visits of the run that no kill can undo any more. Once it has come to the end,
                half of the runs are let go.
        """
        if kept.get(Stage.END) and self._random.random() < 0.5:
            return None
        left = {stage: len(s) - kept.get(stage, 0) for stage, s in self._seconds.items()}
        left |= {stage: 1 for stage in (Stage.START_UP, Stage.END) if stage in left}
        stages = [stage for stage, visits in left.items() if visits > 0]
        fewest = min(self._planned[stage] for stage in stages)
        stage = self._random.choice([s for s in stages if self._planned[s] == fewest])
        self._planned[stage] += 1
        # Uniform over the stage's time: its n-th visit as often as it is long.
        lengths = self._seconds[stage][-left[stage] :]
        visit = self._random.choices(range(1, left[stage] + 1), weights=lengths)[0]
        return Kill(stage=stage, visit=visit, delay=self._random.random() * lengths[visit - 1])

    def typical(self) -> Mapping[str, tuple[int, float]]:
        """Returns for each stage how often the straight run came to it, and its median seconds."""
        return {
            stage.label: (len(seconds), statistics.median(seconds))
            for stage, seconds in self._seconds.items()
        }
