"""From the names in a configuration to the components they mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.config.compatibility import check_options
from zoo.engine.assembly.measures import choose_metrics, choose_monitor
from zoo.engine.assembly.phases import parse_phases
from zoo.errors import UnknownName, UsageError, ZooError
from zoo.protocols import Preprocessing
from zoo.registry import Choice, Registry, parse_choice, parse_choices
from zoo.registry.loading import call, load_target

if TYPE_CHECKING:
    from zoo.config import RunConfig
    from zoo.protocols import Weights

__all__ = [
    "Choices",
    "check_callbacks",
    "choose",
    "names_a_path",
    "offered_weights",
    "preprocessing_of",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """The components that a configuration names.

    ``data`` is None when it names a path, ``head`` when the network keeps its own. ``metrics`` are
    by label, the one that ``monitor`` names among them, unless it is ``loss`` or ``accuracy``.
    """

    model: Choice
    loss: Choice
    optimizer: Choice
    scheduler: Choice
    transforms: tuple[Choice, ...]
    callbacks: tuple[Choice, ...]
    data: Choice | None
    head: Choice | None = None
    metrics: Mapping[str, Choice] = field(default_factory=dict)
    monitor: str = "accuracy"

    def described(self) -> dict[str, dict[str, str]]:
        """Returns full spec and package of each component, as runs store them."""
        return {
            key: {"spec": choice.spec, "package": choice.entry.origin}
            for key, choice in self._named().items()
        }

    @property
    def all(self) -> tuple[Choice, ...]:
        """Every component that was chosen."""
        return tuple(self._named().values())

    @property
    def second_order(self) -> bool:
        """Whether the optimizer differentiates the gradient once more."""
        return "needs-create-graph" in self.optimizer.entry.component.tags

    def _named(self) -> dict[str, Choice]:
        named = {
            "model": self.model, "loss": self.loss, "optimizer": self.optimizer,
            "scheduler": self.scheduler, "data": self.data, "head": self.head,
            **{f"transform-{i}": choice for i, choice in enumerate(self.transforms)},
            **{f"callback-{i}": choice for i, choice in enumerate(self.callbacks)},
            **{f"metric-{label}": choice for label, choice in self.metrics.items()},
        }  # fmt: skip
        return {key: choice for key, choice in named.items() if choice is not None}


def choose(config: RunConfig, registry: Registry) -> Choices:
    """Returns the components that a configuration names.

    Raises:
        UsageError: Names or arguments that do not resolve, all of them together.
    """
    problems: list[ZooError] = []

    def pick(kind: str, text: str, parse: Any = parse_choice) -> Any:
        try:
            return parse(registry, kind, text)
        except UsageError as error:
            problems.append(error)

    picked = {
        "model": pick("model", config.model),
        "loss": pick("loss", config.loss or "ce"),
        "optimizer": pick("optimizer", config.optim),
        "scheduler": pick("scheduler", config.sched),
        "transforms": pick("transform", config.aug or "none", parse_choices),
        "callbacks": pick("callback", config.callback, parse_choices) if config.callback else (),
        "data": None,
        "head": pick("head", config.head) if config.head is not None else None,
    }
    try:
        picked["metrics"] = choose_metrics(config.metric, registry)
    except UsageError as error:
        problems.append(error)
    try:
        picked["monitor"], monitored = choose_monitor(config.monitor, registry)
        if monitored is not None:
            picked["metrics"] = {picked["monitor"]: monitored, **picked.get("metrics", {})}
    except UsageError as error:
        problems.append(error)
    try:
        if not names_a_path(config.data, registry):
            picked["data"] = parse_choice(registry, "dataset", config.data)
    except UsageError as error:  # an ambiguous name
        if isinstance(error, UnknownName):
            error.found = f"no file or folder of that name here either; {error.found}"
        problems.append(error)
    if config.phases is not None:
        try:
            parse_phases(config.phases, config)
        except UsageError as error:
            problems.append(error)
    problems += check_options(config)
    problems += check_callbacks(picked["callbacks"] or ())
    if problems:
        raise UsageError.together(problems)
    return Choices(**picked)


def check_callbacks(choices: Sequence[Choice]) -> list[ZooError]:
    """Returns what is wrong with the chosen callbacks before anything is trained.

    A package that is missing, a module that cannot be imported, a callback that is named twice.
    """
    problems: list[ZooError] = []
    for choice in choices:
        try:
            load_target(choice.entry)
        except ZooError as error:
            problems.append(error)
    for name, times in Counter(choice.entry.id for choice in choices).items():
        if times > 1:
            problems.append(UsageError(f"the callback {name} is named {times} times"))
    return problems


def names_a_path(text: str, registry: Registry) -> bool:
    """Whether ``--data`` means a path. A name wins over a folder of the same name in sight."""
    name = text.partition(":")[0]
    if registry.get("dataset", name) is not None:
        return False
    return "/" in text or "\\" in text or text in (".", "..") or Path(text).exists()


def offered_weights(choice: Choice) -> Sequence[Weights]:
    """Returns the pretrained weights that a model knows of, the default first."""
    return _asked(choice, "weights") or ()


def preprocessing_of(choice: Choice, weights: Weights | None) -> Preprocessing:
    """Returns what the weights were trained with, or what fits the architecture."""
    if weights is not None:
        return weights.preprocessing
    return _asked(choice, "preprocessing") or Preprocessing()


def _asked(choice: Choice, method: str) -> Any:
    """Calls an optional method of a model factory with those arguments that it names."""
    function = getattr(load_target(choice.entry), method, None)
    if function is None:
        return None
    return call(choice.entry, function, {}, {**choice.entry.component.preset, **choice.arguments})
