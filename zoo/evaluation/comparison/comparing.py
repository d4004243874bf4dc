"""Runs brought together: how good each one is, how the first one stands against each other one.

    run folders -> Examined -> paired with the first? -> replicates of each metric -> Verdicts

Suffixes: N images, K classes, M runs, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo.engine.assembly.measures import build_measure, choose_metrics
from zoo.errors import DataError, UsageError, printable
from zoo.evaluation.comparison.differences import differences_of
from zoo.evaluation.comparison.judging import judged, more_replicates, verdict_of
from zoo.evaluation.comparison.paired import Replicates, holm, replicates_of, replicates_of_means
from zoo.evaluation.comparison.pairing import in_order_of, why_not_paired
from zoo.evaluation.comparison.records import Comparison, Standing, Value, Verdict
from zoo.evaluation.examined import Examined, examine
from zoo.evaluation.intervals import interval_of, num_resamples
from zoo.evaluation.optimism import why_optimistic
from zoo.evaluation.report.facts import read_facts
from zoo.registry import Registry

if TYPE_CHECKING:
    from zoo.engine.scores import Measure
    from zoo.evaluation.predictions import Predictions

__all__ = ["compare_runs", "label_of", "labels_of"]

_BY_DEFAULT = "f1"


def compare_runs(
    paths: Sequence[Path],
    *,
    registry: Registry,
    data: str | None = None,
    split: str | None = None,
    metrics: str | None = None,
    alpha: float = 0.05,
    seed: int = 0,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Comparison:
    """Returns how the first run stands against each other one.

    Args:
        paths: Run folders, two or more.
        registry: The components to choose from.
        data: As ``--data``: what to compare them on; by default what each was trained on.
        split: By default test where all of them have one, else val.
        metrics: Names joined by ``,`` or ``+``, besides loss and accuracy; f1 by default.
        alpha: Below this corrected p-value a difference is no noise.
        seed: Of the resamples.
        progress: Told what is being done.

    Raises:
        UsageError: There are fewer than two runs, or a metric or a split is unknown.
        DataError: The data cannot be used, or has no labels.
        CheckpointError: A run has no weights that can be used.
    """
    if len(paths) < 2:
        raise UsageError("one run alone cannot be compared", hint="zoo compare runs/a runs/b")
    if metrics is not None:  # a name that is none is told before anything is computed
        choose_metrics(metrics, registry)
    facts = [read_facts(path) for path in paths]
    examined = _examined(paths, data=data, split=split, registry=registry, progress=progress)
    predictions = [one.predictions for one in examined]
    for label, one in zip(labels_of(paths), predictions, strict=True):
        if not one.labelled:
            raise DataError(
                f"the split {examined[0].split} has no labels to compare with",
                found=f"{printable(label)} was examined on {printable(one.facts.get('data', ''))}",
            )
    measures = _measures(metrics, registry, predictions[0])
    reasons = [None, *(why_not_paired(examined[0], other) for other in examined[1:])]
    together = [at for at, reason in enumerate(reasons) if reason is None]
    tables: list[dict[str, Replicates]] = []
    groups = [together, *([at] for at, reason in enumerate(reasons) if reason is not None)]
    for group in groups:
        same = [in_order_of(predictions[at], predictions[group[0]].classes) for at in group]
        # Other data may have other classes, or several labels an image: its metrics are its own.
        own = measures if group is groups[0] else _measures(metrics, registry, same[0])
        tables.append(_replicates(same, own, seed=seed, progress=progress))
    tests = tables[0] | more_replicates(
        tables[0], [in_order_of(predictions[at], predictions[0].classes) for at in together],
        measures, alpha=alpha, seed=seed, progress=progress,
    )  # fmt: skip
    where = {at: (table, place) for table, group in zip(tables, groups, strict=True)
             for place, at in enumerate(group)}  # fmt: skip
    names = labels_of(paths)
    runs = tuple(
        Standing(
            label=names[at], facts=facts[at], examined=examined[at], not_paired=reasons[at],
            values={
                label: _value(replicates, where[at][1])
                for label, replicates in where[at][0].items()
            },
        )
        for at in range(len(paths))
    )  # fmt: skip
    directions = {"accuracy": True, "loss": False}
    directions |= {measure.label: measure.metric.greater_is_better for measure in measures}
    verdicts: list[Verdict] = []
    for label, upwards in directions.items():
        found = [
            verdict_of(label, runs[0], runs[at], tests, place=where[at][1])
            for at in range(1, len(runs))
        ]
        corrected = holm([verdict.p_value for verdict in found])
        num_tests = sum(p == p for p in corrected)
        verdicts += [
            judged(replace(verdict, corrected=p), upwards=upwards, alpha=alpha, tests=num_tests)
            for verdict, p in zip(found, corrected, strict=True)
        ]
    order = {run.label: at for at, run in enumerate(runs)}
    return Comparison(
        runs=runs, verdicts=tuple(sorted(verdicts, key=lambda v: order[v.other])),
        greater_is_better=directions, alpha=alpha, split=examined[0].split,
        differences=tuple(differences_of(facts)), notes=tuple(_notes(runs)), data=data,
        asked=metrics,
    )  # fmt: skip


def label_of(metric: str, registry: Registry) -> str:
    """Returns the label under which one metric is compared: ``f1:average=micro`` has one too.

    Raises:
        UsageError: It is unknown, or several.
    """
    if metric.strip().lower() in ("accuracy", "loss"):
        return metric.strip().lower()
    labels = list(choose_metrics(metric, registry))
    if len(labels) != 1:
        raise UsageError(f"{printable(metric)} is not one metric", hint="--assert-better accuracy")
    return labels[0]


def labels_of(paths: Sequence[Path]) -> list[str]:
    """Returns what each run is called: its folder's name, longer where two are the same.

    >>> labels_of([Path("runs/a"), Path("runs/b")])
    ['a', 'b']
    >>> labels_of([Path("/x/a"), Path("/y/a"), Path("/y/a")])
    ['x/a', 'y/a', 'y/a (2)']
    """
    parts = [path.resolve().parts for path in paths]
    names = [part[-1] for part in parts]
    longest = max(map(len, parts))
    length = 1
    while len(set(names)) < len(set(parts)) and length < longest:
        length += 1
        names = ["/".join(part[-length:]) for part in parts]
    seen: dict[str, int] = {}
    for at, name in enumerate(names):
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            names[at] = f"{name} ({seen[name]})"
    return names


def _examined(
    paths: Sequence[Path],
    *,
    data: str | None,
    split: str | None,
    registry: Registry,
    progress: Callable[[str, int, int], None],
) -> list[Examined]:
    """Returns each run on the same kind of split: val for all where one has no test split."""

    def at(path: Path, wanted: str | None) -> Examined:
        return examine(path, data=data, split=wanted, registry=registry, progress=progress)

    found = [at(path, split) for path in paths]
    names = {one.split for one in found}
    if split is None and len(names) > 1:
        found = [
            one if one.split == "val" else at(path, "val")
            for path, one in zip(paths, found, strict=True)
        ]
    return found


def _measures(metrics: str | None, registry: Registry, predictions: Predictions) -> list[Measure]:
    """Returns the metrics besides loss and accuracy."""
    if metrics is None and registry.get("metric", _BY_DEFAULT) is None:
        return []
    choices = choose_metrics(_BY_DEFAULT if metrics is None else metrics, registry)
    return [
        build_measure(
            choice, label=label, num_classes=len(predictions.classes),
            multi_label=predictions.multi_label,
        )
        for label, choice in choices.items()
    ]  # fmt: skip


def _replicates(
    predictions: Sequence[Predictions],
    measures: Sequence[Measure],
    *,
    seed: int,
    progress: Callable[[str, int, int], None],
) -> dict[str, Replicates]:
    """Returns each metric of several runs on the same images."""
    right_MN = np.stack([one.right_N.numpy().astype(np.float64) for one in predictions])
    losses_MN = np.stack([one.losses_N.numpy().astype(np.float64) for one in predictions])
    resamples = num_resamples(len(predictions[0]), len(predictions[0].classes))
    found = {
        "accuracy": replicates_of_means(right_MN, resamples=resamples, seed=seed),
        "loss": replicates_of_means(losses_MN, resamples=resamples, seed=seed),
    }
    return found | replicates_of(
        measures, [one.probabilities_NK for one in predictions], predictions[0].target,
        resamples=resamples, seed=seed,
        progress=lambda done, total: progress("resampling", done, total),
    )  # fmt: skip


def _value(replicates: Replicates, place: int) -> Value:
    found = interval_of(replicates.resampled_MR[place])
    return Value(value=float(replicates.values_M[place]), low=found.low, high=found.high)


def _notes(runs: Sequence[Standing]) -> list[str]:
    """Returns what the numbers do not say by themselves."""
    notes = [f"{run.label}: {note}" for run in runs for note in run.examined.notes]
    notes += [f"{run.label} was cut short: these are its best weights so far"
              for run in runs if run.facts.summary is None]  # fmt: skip
    reasons = [why_optimistic(run.examined.own_split) for run in runs]
    if len(set(reasons)) == 1:
        return [*notes, *filter(None, reasons[:1])]
    return [*notes, *(f"{run.label}: {reason}" for run, reason in zip(runs, reasons, strict=True)
                      if reason)]  # fmt: skip
