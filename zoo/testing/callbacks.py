"""What is required of a callback: that it hears what it means to, and survives a run.

The run is told and not trained: records with the attributes of the engine's own, in its order.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from zoo.protocols.training import EVENTS
from zoo.testing.requiring import generators_untouched, require
from zoo.testing.subject import Subject

__all__ = ["CHECKS"]


# ---- a run that is only told ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """An epoch, as the engine's ``EpochRow``."""

    phase: str
    epoch: int
    lr: float = 0.01
    train_loss: float = 0.7
    train_accuracy: float = 0.5
    val_loss: float = 0.6
    val_accuracy: float = 0.625
    seconds: float = 1.5
    images_per_second: float = 100.0
    best: bool = True
    metrics: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Returns the row as plain data, each metric as ``val_LABEL``; None where it is NaN."""
        table = asdict(self)
        metrics = table.pop("metrics")
        return {**table, **{f"val_{k}": None if v != v else v for k, v in metrics.items()}}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    """How a run ended, as the engine's ``RunResult``."""

    path: Path
    rows: Sequence[_Row]
    best_epoch: int = 2
    best_score: float = 0.625
    monitor: str = "val_accuracy"
    test_accuracy: float | None = 0.5
    test_loss: float | None = 0.8
    num_test: int = 8
    seconds: float = 4.5
    greater_is_better: bool = True
    test_metrics: Mapping[str, float] = field(default_factory=lambda: {"f1": 0.4})
    average: str = ""

    def summary(self) -> dict[str, Any]:
        """Returns what summary.json has."""
        table = {k: v for k, v in asdict(self).items() if k not in ("path", "rows", "test_metrics")}
        return {**table, **{f"test_{label}": v for label, v in self.test_metrics.items()}}


class _WeightsView:
    """A network's weights and gradients as copies, as the engine's ``WeightsView``."""

    def __init__(self, network: torch.nn.Module) -> None:
        self._network = network

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yields name and value of each parameter."""
        for name, parameter in self._network.named_parameters():
            yield name, parameter.detach().clone()

    def gradients(self) -> Iterator[tuple[str, Tensor]]:
        """Yields name and gradient of each parameter that has one."""
        for name, parameter in self._network.named_parameters():
            if parameter.grad is not None:
                yield name, parameter.grad.clone()


_OPTIONS = {
    "model": "lenet", "data": "shapes", "lr": 0.01, "epochs": 2, "restore_best": True,
    "split": (0.8, 0.1, 0.1),
}  # fmt: skip
_ROWS = (
    _Row(phase="freeze", epoch=1, metrics={"f1": 0.5, "auroc": float("nan")}),
    _Row(phase="finetune", epoch=2, metrics={"f1": 0.6, "auroc": 0.7}),
    _Row(phase="finetune", epoch=3, best=False, metrics={"f1": 0.55, "auroc": 0.7}),
)


def _job() -> SimpleNamespace:
    spec = {"spec": "classics/lenet", "package": "classifier-zoo 1.0"}
    return SimpleNamespace(
        config=SimpleNamespace(as_mapping=lambda: dict(_OPTIONS), **_OPTIONS),
        choices=SimpleNamespace(described=lambda: {"model": dict(spec)}),
        phases=tuple(_phases().values()),
    )


def _phases() -> dict[str, SimpleNamespace]:
    return {
        name: SimpleNamespace(name=name, epochs=epochs, trainable=trainable)
        for name, epochs, trainable in (("freeze", 1, "head"), ("finetune", 2, "all"))
    }


def _network() -> torch.nn.Module:
    network = torch.nn.Linear(3, 2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter))
            parameter.grad = torch.ones_like(parameter)
    return network


def _tell(
    callback: object, path: Path, network: torch.nn.Module, *, done: int = 0, until: int = 3,
    error: BaseException | None = None,
) -> None:  # fmt: skip
    """Tells a run, or the part of one after ``done`` epochs. One that raises is closed at least."""
    methods = _methods(callback)
    told = _events(path, network, done=done, until=until, error=error)
    try:
        for name, args, facts in told:
            if name in methods:
                methods[name](*args, **facts)
    except BaseException as failure:
        if "closed" in methods:
            with suppress(Exception):
                methods["closed"](failure)
        raise


def _methods(callback: object) -> dict[str, Callable[..., object]]:
    return {event: method for event in EVENTS if callable(method := getattr(callback, event, None))}


def _events(
    path: Path, network: torch.nn.Module, *, done: int, until: int, error: BaseException | None
) -> Iterator[tuple[str, tuple[object, ...], dict[str, object]]]:
    """Yields (event, arguments, arguments by name) in the engine's order."""
    images_BCHW = torch.linspace(0, 1, 2 * 3 * 8 * 8).view(2, 3, 8, 8)
    sample = SimpleNamespace(images_BCHW=images_BCHW, labels=("bar", "dot"))
    phases, current = _phases(), ""
    yield "run_started", (_job(), path), {"resumed_epoch": done}
    if done:
        yield "resumed", (_ROWS[:done],), {}
    yield "preparing", ("decoding", 4, 8), {}
    for row in _ROWS[done:until]:
        phase, epoch = phases[row.phase], row.epoch
        if row.phase != current:
            current = row.phase
            sizes = {"trainable": 8, "total": 8, "cached": row.phase == "freeze"}
            yield "phase_started", (phase,), {**sizes}
            yield "sampled", (phase, lambda: sample), {"epoch": epoch}
        for step in range(2):
            loss = 0.7 if step else None  # not every loss is looked at
            place = {"epoch": epoch, "step": step, "num_steps": 2, "loss": loss}
            yield "step_ended", (phase,), {**place}
            numbers = {"steps_done": 2 * epoch - 1 + step, "lr": row.lr, "loss": loss}
            yield "step_measured", (), {**numbers}
        yield "epoch_ended", (row,), {}
        yield "weights_shown", (_WeightsView(network),), {"epoch": epoch}
    yield "noted", ("a note with \x1b[31m what a file was called",), {}
    if error is None:
        yield "run_ended", (_Result(path=path, rows=_ROWS),), {}
    yield "closed", (error,), {}


# ---- checks -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Built:
    callback: object
    path: Path


def _built(subject: Subject, folder: str) -> _Built:
    path = Path(folder, "run-é 1")  # a name with a space and an accent, as users have them
    path.mkdir(exist_ok=True)
    return _Built(subject.build(run_path=path), path)


def listens_to_events(subject: Subject) -> None:
    """It has a method named as an event, and none whose name is nearly one."""
    with TemporaryDirectory() as folder:
        callback = _built(subject, folder).callback
    kind = type(callback).__name__
    require(bool(_methods(callback)), f"{kind} has no method of the events {', '.join(EVENTS)}")
    own = [
        name
        for base in type(callback).__mro__[:-1]
        if base.__module__ == type(callback).__module__  # not what a library's class brings
        for name, value in vars(base).items()
        if callable(value) and not name.startswith("_") and name not in EVENTS
    ]
    for name in own:
        close = difflib.get_close_matches(name.removeprefix("on_"), EVENTS, n=1, cutoff=0.75)
        require(not close, f"{kind}.{name} is never told of anything; the event is {close[:1]}")


def takes_the_arguments(subject: Subject) -> None:
    """Each method takes the arguments of its event; those after the star come by name."""
    with TemporaryDirectory() as folder:
        for event, method in _methods(_built(subject, folder).callback).items():
            positional, _, named = EVENTS[event].partition("*")
            by_place = [name for name in positional.split(", ") if name]
            by_name = [name for name in named.split(", ") if name]
            try:
                inspect.signature(method).bind(*by_place, **dict.fromkeys(by_name))
            except TypeError as error:
                raise AssertionError(
                    f"{event} is called as {event}({EVENTS[event]}), and its method "
                    f"does not take that: {error}"
                ) from error


def builds_without_a_trace(subject: Subject) -> None:
    """Building it writes nothing: what it opens waits for ``run_started``."""
    with TemporaryDirectory() as folder:
        built = _built(subject, folder)
        left = sorted(path.name for path in built.path.rglob("*"))
    require(not left, f"building it already made {left[:5]} in the run folder")


def survives_a_run(subject: Subject) -> None:
    """It is told a whole run, three epochs in two phases with metrics, and raises nothing."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        built = _built(subject, folder)
        _tell(built.callback, built.path, _network())


def survives_a_resume(subject: Subject) -> None:
    """A run that is interrupted, then resumed by another process, is no error."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        built = _built(subject, folder)
        _tell(built.callback, built.path, _network(), until=2, error=KeyboardInterrupt())
        again = _built(subject, folder)  # the second epoch was saved before it was told
        _tell(again.callback, again.path, _network(), done=1)
        finished = _built(subject, folder)
        _tell(finished.callback, finished.path, _network(), done=3)


def survives_an_early_end(subject: Subject) -> None:
    """``closed`` right after building, and right after ``run_started``, is no error."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for started in (False, True):
            built = _built(subject, folder)
            methods = _methods(built.callback)
            if started and "run_started" in methods:
                methods["run_started"](_job(), built.path, resumed_epoch=0)
            if "closed" in methods:
                methods["closed"](RuntimeError("the disk is full"))


def leaves_generators_alone(subject: Subject) -> None:
    """It neither draws from nor seeds the global generators of torch and NumPy."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        built, network = _built(subject, folder), _network()
        # Python's own is where libraries take the names of runs from.
        with generators_untouched("it", among=("torch", "NumPy")):
            _tell(built.callback, built.path, network)


CHECKS = (
    listens_to_events,
    takes_the_arguments,
    builds_without_a_trace,
    survives_a_run,
    survives_a_resume,
    survives_an_early_end,
    leaves_generators_alone,
)
