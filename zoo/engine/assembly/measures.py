"""From ``--metric`` and ``--monitor`` to metrics: which are computed, and which one decides."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from zoo.engine.scores import Measure, Monitor, check_measure
from zoo.errors import UnknownName, UsageError, ZooError, printable
from zoo.plugin import fold
from zoo.registry import Choice, Registry, build, parse_choice
from zoo.registry.specs import split_joined

if TYPE_CHECKING:
    from zoo.protocols import DataSet

__all__ = [
    "build_measure",
    "build_measures",
    "choose_metrics",
    "choose_monitor",
    "monitor_of",
    "split_metrics",
]

_OWN = ("loss", "accuracy")
"""What every row has: the training loss's function and the share of right answers."""

_COMMA = re.compile(r",(?![^\[]*\])")
_PLAIN = re.compile(r"[^a-z0-9.]+")


def split_metrics(text: str) -> list[str]:
    """Returns the specs that ``+`` or ``,`` joins; a comma inside arguments does not join.

    >>> split_metrics("f1,auroc+ece:bins=10,norm=l2,kappa")
    ['f1', 'auroc', 'ece:bins=10,norm=l2', 'kappa']
    """
    specs: list[str] = []
    for joined in split_joined(text):
        for number, part in enumerate(_COMMA.split(joined)):
            name, equals, _ = part.partition("=")
            if number and equals and ":" not in name and ":" in specs[-1]:
                specs[-1] += f",{part}"
            else:
                specs.append(part.strip())
    return specs


def choose_metrics(
    text: str | None, registry: Registry, *, own: Mapping[str, str] | None = None
) -> dict[str, Choice]:
    """Returns the components that ``--metric`` names, by label.

    A label is what was typed in lower case, everything but letters, digits and dots as a hyphen:
    ``f1:average=micro`` is ``f1-average-micro``.

    Args:
        text: The specs.
        registry: The components to choose from.
        own: The components that stand for ``loss`` and ``accuracy``; without them these two are
            left out, as every row of a run has them.

    Raises:
        UsageError: Names or arguments that do not resolve, all of them together.
    """
    chosen: dict[str, Choice] = {}
    problems: list[ZooError] = []
    for spec in split_metrics(text) if text is not None else ():
        name = spec
        if fold(spec) in _OWN:
            if own is None:
                continue
            name = own[fold(spec)]
        try:
            choice = parse_choice(registry, "metric", name)
        except UsageError as error:
            problems.append(error)
            continue
        label = _label(spec)
        if label in chosen and chosen[label] != choice:
            problems.append(UsageError(
                f"two metrics are named {label}: {chosen[label].spec} and {choice.spec}",
                hint="one of them under its full id",
            ))  # fmt: skip
        chosen[label] = choice
    if problems:
        raise UsageError.together(problems)
    return chosen


def choose_monitor(text: str, registry: Registry) -> tuple[str, Choice | None]:
    """Returns label and component that ``--monitor`` names; None for loss and accuracy.

    ``f1`` and ``val_f1`` are the same.

    Raises:
        UsageError: It does not resolve. The message has the close matches.
    """
    spec = text.strip()
    if fold(spec).startswith("val-") and registry.get("metric", spec) is None:
        spec = spec[len("val-") :]
    if fold(spec) in _OWN:
        return fold(spec), None
    if len(split_metrics(spec)) > 1:
        raise UsageError(
            f"--monitor {printable(text)} names several metrics, and one of them has to decide",
            hint=f"--monitor {printable(split_metrics(spec)[0])} --metric {printable(spec)}",
        )
    try:
        return _label(spec), parse_choice(registry, "metric", spec)
    except UnknownName as error:
        name = fold(spec.partition(":")[0])
        close = [f"val_{own}" for own in difflib.get_close_matches(name, _OWN, n=2, cutoff=0.6)]
        raise UnknownName(
            f"there is nothing to monitor named {printable(text)!r}",
            found="; ".join(filter(None, ("close: " + ", ".join(close) if close else "",
                                          error.found))),
            hint="val_loss, val_accuracy, or any of zoo list metrics",
        ) from None  # fmt: skip


def build_measures(
    choices: Mapping[str, Choice], data: DataSet
) -> tuple[tuple[Measure, ...], list[ZooError]]:
    """Returns the metrics of a run, built and tried, and what is wrong with the others."""
    measures, problems = [], []
    for label, choice in choices.items():
        try:
            measure = build_measure(
                choice, label=label, num_classes=len(data.classes), multi_label=data.multi_label
            )
            check_measure(measure, num_classes=len(data.classes), multi_label=data.multi_label)
        except ZooError as error:
            problems.append(error)
        else:
            measures.append(measure)
    return tuple(measures), problems


def build_measure(choice: Choice, *, label: str, num_classes: int, multi_label: bool) -> Measure:
    """Returns a metric for data of so many classes.

    Raises:
        UsageError: The metric is not for such data.
        PluginError: It cannot be built.
    """
    return Measure(
        label=label, owner=f"{choice.entry.id} ({choice.entry.origin})",
        metric=build(choice, num_classes=num_classes, multi_label=multi_label),
    )  # fmt: skip


def monitor_of(label: str, measures: Sequence[Measure]) -> Monitor:
    """Returns what decides which epoch is the best."""
    upwards = {m.label: m.metric.greater_is_better for m in measures}
    return Monitor(
        label=label, greater_is_better={**upwards, "loss": False, "accuracy": True}[label]
    )


def _label(spec: str) -> str:
    return _PLAIN.sub("-", fold(spec)).strip("-")
