"""``zoo kfold`` and ``zoo sweep``: several runs that answer one question."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import click

from zoo.cli.run import Grouped, run_flags, table_of
from zoo.engine.events import Observer, Observers
from zoo.errors import UsageError, printable
from zoo.plugin import Value

if TYPE_CHECKING:
    from zoo.api.experiments import Experiment
    from zoo.engine.assembly.phases import Phase
    from zoo.experiments.running import Outcome
    from zoo.experiments.tables import Line, Spread
    from zoo.experiments.trials import Trial

__all__ = ["kfold", "parse_axis", "sweep"]


def parse_axis(text: str) -> tuple[str, tuple[Value, ...]]:
    """Reads ``lr=1e-3,1e-2``, or ``sched=multi-30,80-0.1;cosine`` where values have commas.

    >>> parse_axis("lr=1e-3,1e-2")
    ('lr', (0.001, 0.01))

    Raises:
        UsageError: There is no ``=``, no value or no such option.
    """
    from zoo.config import parse_setting

    key, equals, values = text.partition("=")
    parts = [part.strip() for part in values.split(";" if ";" in values else ",")]
    if not equals or not all(parts):
        raise UsageError(
            f"--grid {printable(text)} is not OPTION=VALUE,VALUE",
            hint="--grid lr=1e-3,1e-2, or --grid 'sched=multi-30,80-0.1;cosine'",
        )
    read = [parse_setting(f"{key}={part}") for part in parts]
    return read[0][0], tuple(value for _, value in read)


def _kfold(
    config_file: str | None, settings: tuple[str, ...], folds: int, seeds: str, jobs: int | None,
    as_json: bool, **flags: Value,
) -> None:  # fmt: skip
    """Train once for each part of the training and validation images (cross-validation).

    Every image of the two is validated exactly once, and the test split stays unseen. Takes all
    flags of zoo run. With the same --name it goes on where it was stopped.
    """
    from zoo.api.experiments import kfold

    table = table_of(config_file, settings, flags)
    numbers = _numbers(seeds)
    with _Display(as_json) as display:
        found = kfold(table, folds=folds, seeds=numbers, jobs=jobs, **display.hears)
    _show(found, as_json=as_json)


def _sweep(
    config_file: str | None, settings: tuple[str, ...], axes: tuple[str, ...], seeds: str,
    sample: int | None, jobs: int | None, as_json: bool, **flags: Value,
) -> None:  # fmt: skip
    """Train once for each combination of values, and rank them by the monitored metric.

    Takes all flags of zoo run. What a network's frozen part makes of the images is computed once
    and shared by all runs. With the same --name it goes on where it was stopped.
    """
    from zoo.api.experiments import sweep

    table = table_of(config_file, settings, flags)
    grid: dict[str, Sequence[object]] = {}
    for text in axes:
        key, values = parse_axis(text)
        if key in grid:
            raise UsageError(f"--grid {printable(key)} is given twice")
        grid[key] = values
    if numbers := _numbers(seeds):
        if "seed" in grid:
            raise UsageError("seeds are given twice: with --grid seed and with --seeds")
        grid["seed"] = numbers
    if not grid:
        raise UsageError("there is nothing to try", hint="--grid lr=1e-3,1e-2 or --seeds 0,1,2")
    with _Display(as_json) as display:
        found = sweep(table, grid=grid, sample=sample, jobs=jobs, **display.hears)
    _show(found, as_json=as_json)


def _numbers(text: str) -> tuple[int, ...]:
    """Reads ``0,1,2``."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isascii() and part.isdecimal() for part in parts):
        raise UsageError(f"--seeds {printable(text)} is not a list of whole numbers",
                         hint="--seeds 0,1,2")  # fmt: skip
    return tuple(int(part) for part in parts)


class _Display:
    """A line for each run that has ended, and the bar: of the run that trains, or of all runs.

    With several jobs the bar is the first run's while the others wait for what it computes, and all
    runs' from then on. They are told of in any thread.
    """

    def __init__(self, silent: bool) -> None:
        from zoo.cli.console import apart
        from zoo.cli.progress import LogFile, RunDisplay

        self._bar = None if silent else RunDisplay()
        self._apart = apart(silent)
        self._several, self._of_all, self._num_ended, self._total = False, False, 0, 0
        self._lock = threading.RLock()  # for the bar, and whose it is
        bars = [] if self._bar is None else [_Moving(self._own_bar)]
        self._observer = Observers([LogFile(), *bars])

    @property
    def hears(self) -> dict[str, Any]:
        """What an experiment is given so that all is shown, and logged in each run's folder."""
        return {
            "observer": self._observer, "listener": "zoo.cli.progress:LogFile",
            "at_once": self._at_once, "started": self._started, "ended": self._ended,
        }  # fmt: skip

    def __enter__(self) -> _Display:
        self._apart.__enter__()
        return self

    def __exit__(self, *stopped: Any) -> None:
        self._apart.__exit__(*stopped)
        if self._bar is not None:
            self._bar.close()

    def _at_once(self, jobs: int) -> None:
        self._several = jobs > 1

    def _started(self, number: int, total: int, trial: Trial) -> None:
        with self._lock:
            self._total = total
            self._of_all = self._several and number > 1
            self._move()

    def _move(self) -> None:
        if self._bar is not None and self._of_all:
            self._bar.preparing("runs that have ended", self._num_ended, self._total)

    @contextmanager
    def _own_bar(self) -> Iterator[Observer | None]:
        """Lends the bar to the run that trains here; None when it is all runs'."""
        with self._lock:
            yield None if self._of_all else self._bar

    def _ended(self, outcome: Outcome) -> None:
        with self._lock:
            self._num_ended += 1
            if self._bar is not None:
                self._bar.close()
                self._tell(outcome)
                self._move()

    def _tell(self, outcome: Outcome) -> None:
        from zoo.cli.console import echo

        count = f"{self._num_ended:>{len(str(self._total))}}/{self._total}"
        result = outcome.result
        if result is None:
            echo(f"{count}  failed: {printable(outcome.failure)}  {outcome.trial.title}")
        else:
            test = "" if result.test_accuracy is None else f"  test {result.test_accuracy:.1%}"
            echo(
                f"{count}  {result.monitor} {result.best_score:.4f}{test}  "
                f"{result.seconds:.0f} s  {printable(outcome.trial.title)}"
            )


class _Moving(Observer):
    """Moves a display's bar, while it is this run's to move, and prints nothing."""

    def __init__(self, bar: Callable[[], AbstractContextManager[Observer | None]]) -> None:
        self._bar = bar

    def preparing(self, what: str, done: int, total: int) -> None:
        """Moves the bar."""
        with self._bar() as bar:
            if bar is not None:
                bar.preparing(what, done, total)

    def step_ended(
        self, phase: Phase, *, epoch: int, step: int, num_steps: int, loss: float | None
    ) -> None:
        """Moves the bar."""
        with self._bar() as bar:
            if bar is not None:
                bar.step_ended(phase, epoch=epoch, step=step, num_steps=num_steps, loss=loss)


def _show(found: Experiment, *, as_json: bool) -> None:
    """Prints the settings, the best first."""
    from zoo.cli.console import echo, print_json, print_table

    if as_json:
        print_json(
            {
                "path": str(found.path),
                "trials": [outcome.as_dict() for outcome in found.outcomes],
                "settings": [dataclasses.asdict(line) for line in found.lines],
            }
        )
        return
    echo()
    print_table(
        ("runs", "score", "test", "seconds", "setting"),
        [
            (
                _runs(line), _spread(line.score), _spread(line.test), f"{line.seconds:.0f}",
                _setting(line.setting) + "".join(f"  failed: {why}" for why in line.failures),
            )
            for line in found.lines
        ],
    )  # fmt: skip
    echo(f"\nkept       {printable(found.path)}")


def _runs(line: Line) -> str:
    """Returns how many runs a setting has, and first how many of them have a score."""
    scored = 0 if line.score is None else line.score.count
    return str(line.runs) if scored == line.runs else f"{scored} of {line.runs}"


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    deviation = "" if spread.deviation is None else f" ± {spread.deviation:.4f}"
    undefined = f", {spread.undefined} undefined" if spread.undefined else ""
    return f"{spread.mean:.4f}{deviation}{undefined}"


def _setting(setting: Mapping[str, Any]) -> str:
    from zoo.registry.specs import format_value

    shown = (f"{key.replace('_', '-')} {format_value(value)}" for key, value in setting.items())
    return ", ".join(shown) or "all"


def _flags(*own: click.Option) -> list[click.Parameter]:
    hidden = {"fold"}
    return [
        *own,
        click.Option(["--jobs"], type=click.IntRange(min=1),
                     help="Runs at once, each in a process of its own.  [1; of heads alone on a "
                     "CPU up to 4]"),
        click.Option(["--seeds"], default="", metavar="LIST", help="Repeat with each: 0,1,2."),
        click.Option(["--json", "as_json"], is_flag=True, help="Print the result as JSON."),
        *(flag for flag in run_flags() if flag.name not in hidden),
    ]  # fmt: skip


kfold = Grouped(
    "kfold",
    callback=_kfold,
    help=_kfold.__doc__,
    params=_flags(
        click.Option(["--folds"], type=click.IntRange(min=2), default=5, show_default=True,
                     help="How many parts.")
    ),
)  # fmt: skip

sweep = Grouped(
    "sweep",
    callback=_sweep,
    help=_sweep.__doc__,
    params=_flags(
        click.Option(["--grid", "axes"], multiple=True, metavar="OPTION=VALUES",
                     help="Values to try: lr=1e-3,1e-2. Values that contain commas are separated "
                     "by ;, in quotes: 'sched=multi-30,80-0.1;cosine'. Repeat it for more "
                     "options."),
        click.Option(["--sample"], type=click.IntRange(min=1),
                     help="Try only so many of the combinations."),
    ),
)  # fmt: skip
