"""The words and rows of a report, from a run's facts and what it says about a split."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.evaluation.calibration import calibration_error
from zoo.evaluation.report.facts import RunFacts, run_words
from zoo.evaluation.report.rendering import NOTHING, count, duration, percent
from zoo.evaluation.report.training import metric_names, number
from zoo.registry.specs import format_value

if TYPE_CHECKING:
    from markupsafe import Markup

    from zoo.evaluation.examined import Examined
    from zoo.evaluation.report.findings import Findings, Score
    from zoo.protocols import DataSet

__all__ = [
    "SPLITS",
    "calibration_of",
    "calibration_words",
    "class_rows",
    "commands_of",
    "component_rows",
    "data_rows",
    "environment_rows",
    "images_per_class",
    "input_rows",
    "lead_of",
    "option_rows",
    "score_rows",
    "training_words",
    "verdict_of",
    "verdict_without",
]

SPLITS = {"train": "training", "val": "validation", "test": "test"}
"""Splits as a sentence says them."""

_BESIDE = ("f1", "ece")
_KINDS = {"data": "data set"}


def lead_of(facts: RunFacts) -> str:
    """Returns what was trained on what, in a line."""
    model = _component(facts, "model", facts.config.model)
    data = facts.part("data").get("name", facts.config.data)
    return f"{model} on {data}"


def _component(facts: RunFacts, kind: str, otherwise: str) -> str:
    found = facts.part("components").get(kind)
    spec = found.get("spec", otherwise) if isinstance(found, Mapping) else otherwise
    return str(spec).partition(":")[0].rpartition("/")[2]


def verdict_of(facts: RunFacts, examined: Examined, findings: Findings) -> dict[str, Any]:
    """Returns the figure that a report opens with, the sentences beside it and the facts below."""
    scores, predictions = findings.scores, examined.predictions
    first = scores[0]
    split = SPLITS.get(examined.split, examined.split)
    num, right = len(predictions), int(predictions.right_N.sum())
    name, share = findings.common
    lines = [f"{count(right)} of {count(num)} {split} images are right."]
    if right == num:  # no resample can doubt it: the exact bound of a binomial share instead
        errors = percent(1 - 0.05 ** (1 / num))
        lines.append(f"Of images like these fewer than {errors} are wrong, with 95% confidence.")
    elif first.low is not None and first.high is not None:
        lines.append(f"95% interval {percent(first.low)} to {percent(first.high)}.")
    if predictions.multi_label:
        lines[0] = f"All labels are right for {count(right)} of {count(num)} {split} images."
    if first.low is not None and first.low <= share:
        lines.append(f"That is not clearly better than always answering {name}: {percent(share)}.")
    further = [
        {"label": one.label, "value": _shown(one), "more": _interval(one)}
        for one in scores
        if one.name in _BESIDE
    ]
    base = {"label": "Always the commonest", "value": percent(share), "more": name}
    return {
        "figure": _shown(first).rstrip("%"), "unit": "%" if first.is_share else "",
        "lines": lines, "facts": [base, *further, *_run_facts(facts)],
    }  # fmt: skip


def verdict_without(facts: RunFacts) -> dict[str, Any]:
    """Returns the opening of a report of a run that could not be asked anything."""
    best = facts.best_row
    if best is None:
        return {"figure": NOTHING, "unit": "", "lines": ["No epoch has ended yet."],
                "facts": _run_facts(facts)}  # fmt: skip
    accuracy = best["val_accuracy"]
    lines = [f"Validation accuracy of epoch {best['epoch']}, the best so far."]
    if facts.average:
        lines.append(_kept_words(facts).strip())
    return {
        "figure": percent(accuracy).rstrip("%"), "unit": "%", "lines": lines,
        "facts": _run_facts(facts),
    }  # fmt: skip


def _shown(score: Score) -> str:
    if score.value != score.value:
        return NOTHING
    return percent(score.value) if score.is_share else f"{score.value:.3f}"


def _interval(score: Score) -> str:
    if score.low is None or score.high is None:
        return ""
    if score.is_share:
        return f"{percent(score.low)} to {percent(score.high)}"
    return f"{score.low:.3f} to {score.high:.3f}"


def _run_facts(facts: RunFacts) -> list[dict[str, str]]:
    best = facts.best_row
    rows = []
    if best is not None:
        of = f"of {len(facts.rows)}, by {facts.config.monitor}"
        if facts.average:
            of += f"; the {facts.average} was better"
        rows.append({"label": "Best epoch", "value": str(best["epoch"]), "more": of})
    if facts.rows:
        ended = "" if facts.summary is not None else "so far"
        rows.append({"label": "Trained for", "value": duration(facts.seconds), "more": ended})
    return rows


def commands_of(facts: RunFacts) -> list[dict[str, Any]]:
    """Returns the commands to use the run and to repeat it, as quoted words."""
    path = str(facts.folder.path)
    threads = facts.environment.get("threads")
    again = ["zoo", "run", "--config", f"{path}/config.toml", "--name", f"{facts.name}-again"]
    return [
        {"what": "Name new images", "words": [*_quoted("zoo", "predict", path), "IMAGES..."],
         "note": ""},
        {"what": "Train the same again",
         "words": run_words(facts.config, threads=threads if isinstance(threads, int) else None),
         "note": "Equal to the bit with the same versions, number of threads and kind of machine. "
                 "The run's own file of options does the same:"},
        {"what": "", "words": _quoted(*again), "note": ""},
    ]  # fmt: skip


def _quoted(*words: str) -> list[str]:
    return [shlex.quote(word) for word in words]


def training_words(facts: RunFacts) -> dict[str, Any]:
    """Returns the sentence above the curves, and what the table of epochs needs."""
    phases, best = facts.phases, facts.best_row
    names = ", then ".join(
        f"{phase.name} for {phase.epochs} epoch{'s' if phase.epochs > 1 else ''}"
        for phase in phases
    )
    return {
        "lead": f"{names[:1].upper()}{names[1:]}.{_kept_words(facts)}",
        "metrics": metric_names(facts.rows),
        "best_epoch": None if best is None else best["epoch"],
    }  # fmt: skip


def _kept_words(facts: RunFacts) -> str:
    """Returns the sentence on which weights were kept, a space before it; empty without any."""
    if facts.average:
        return f" The {facts.average} was best{_kept_score(facts)} and is what was kept."
    best = facts.best_row
    return "" if best is None else f" Epoch {best['epoch']} was best and is what was kept."


def _kept_score(facts: RunFacts) -> str:
    """Returns the monitored metric of the weights that were kept, as far as the run says it."""
    summary = facts.summary or {}
    score = number(summary.get("best_score"))
    return f" ({summary.get('monitor')} {score:.4f})" if score == score else ""


def component_rows(facts: RunFacts) -> list[dict[str, str]]:
    """Returns kind, full spec and package of each component."""
    found = facts.part("components")
    return [
        {
            "kind": _KINDS.get(kind, kind.partition("-")[0]), "spec": str(one.get("spec", "")),
            "package": str(one.get("package", "")),
        }
        for kind, one in found.items() if isinstance(one, Mapping)
    ]  # fmt: skip


def input_rows(facts: RunFacts, examined: Examined | None) -> list[tuple[str, str]]:
    """Returns how images become the network's input, and where its weights come from."""
    rows = []
    found = facts.part("preprocessing")
    if found:
        kept = percent(number(found.get("crop_fraction")), 0)
        how = ", ".join(str(found.get(key)) for key in ("fit", "interpolation"))
        rows.append(("Input", f"{found.get('image_size')} pixels square, {how}, {kept} of a side"))
        mean, deviation = _listed(found.get("mean")), _listed(found.get("std"))
        rows.append(("Mean, deviation", f"{mean}; {deviation}"))
    rows.append(("Weights at the start", str(facts.environment.get("weights", ""))))
    if examined is not None:
        num = sum(parameter.numel() for parameter in examined.trained.model.parameters())
        rows.append(("Parameters", count(num)))
        rows.append(("Predicted with", examined.predictions.facts.get("engine", "torch")))
    if facts.best is not None:
        rows.append(("Weights kept", f"SHA-256 {facts.best.get('sha256', '')}"))
    return rows


def _listed(values: object) -> str:
    return ", ".join(map(str, values)) if isinstance(values, list) else str(values)


def environment_rows(facts: RunFacts) -> list[tuple[str, str]]:
    """Returns versions and machine that the run was trained with."""
    found = facts.environment
    packages = facts.part("packages")
    devices = _listed(found.get("cuda_devices", [])) or "none"
    return [
        ("Python", str(found.get("python", ""))),
        ("System", str(found.get("system", ""))),
        ("Processor", f"{found.get('processor_count')} cores, {found.get('cpu_capability')}, "
                      f"{_several(found.get('threads'), 'thread')} used"),
        ("CUDA devices", devices),
        *((name, str(version)) for name, version in packages.items() if version is not None),
    ]  # fmt: skip


def _several(number: object, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def option_rows(facts: RunFacts) -> list[tuple[str, str]]:
    """Returns every option of the run."""
    table = facts.config.as_mapping()
    return [(key, format_value(value).strip("[]")) for key, value in table.items()]  # type: ignore[arg-type]  # a configuration has Values


def data_rows(facts: RunFacts, examined: Examined | None) -> list[tuple[str, str]]:
    """Returns the name, the splits and the fingerprint of the data."""
    if examined is None:
        known = facts.part("data")
        classes = known.get("classes")
        return [("Name", str(known.get("name", facts.config.data))),
                ("Classes", count(len(classes)) if isinstance(classes, list) else NOTHING),
                ("Fingerprint", str(known.get("fingerprint", "")))]  # fmt: skip
    data = examined.data
    rows = [("Name", data.name), ("Classes", count(len(data.classes)))]
    rows += [
        (SPLITS.get(name, name).capitalize(), f"{count(len(part.images))} images")
        for name, part in data.splits.items()
    ]
    sizes = images_per_class(data)
    if sizes:
        least, most = min(sizes), max(sizes)
        each = f"{count(least)} to {count(most)}" if least < most else f"{count(most)} each"
        rows.append(("Training, by class", each))
    if data.typical_side is not None:
        rows.append(("Typical side", f"{data.typical_side} pixels"))
    rows.append(("Several labels an image", "yes" if data.multi_label else "no"))
    rows.append(("Fingerprint", data.fingerprint))
    return rows


def images_per_class(data: DataSet) -> list[int]:
    """Returns the number of training images of each class, empty where there is no such split."""
    train = data.splits.get("train")
    if train is None:
        return []
    if data.multi_label and train.targets_NK is not None:
        return [int(number) for number in (train.targets_NK > 0.5).sum(0)]
    return [int(n) for n in np.bincount(train.labels_N, minlength=len(data.classes))]


def score_rows(examined: Examined | None, findings: Findings | None) -> dict[str, Any]:
    """Returns the table of metrics and the sentence above it."""
    if examined is None or findings is None:
        return {"scores": [], "metrics_lead": ""}
    split = SPLITS.get(examined.split, examined.split)
    rows = [
        {
            "label": one.label, "shown": _shown(one), "interval": _interval(one),
            "on_scale": one.on_scale and one.value == one.value, "low": one.low, "high": one.high,
            "value": one.value,
        }
        for one in findings.scores
    ]  # fmt: skip
    lead = (
        f"On {count(len(examined.predictions))} {split} images. An interval says how well so many "
        "images can tell: 95 of 100 such intervals hold the value on endlessly many like them."
    )
    if any(one.low == one.high for one in findings.scores if one.low is not None):
        lead += " What is the same in every resample, as a perfect score is, has one of no width."
    return {"scores": rows, "metrics_lead": lead}


def class_rows(examined: Examined | None, findings: Findings | None) -> dict[str, Any]:
    """Returns the table of classes: what the answers are worth, what is found of each class."""
    if examined is None or findings is None:
        return {"class_rows": [], "class_columns": [], "classes_lead": ""}
    columns = ["Precision", "Recall", "F1", "AP", "Images"]
    rows = [
        {
            "name": one.name, "f1": one.f1, "images": one.support,
            "cells": [
                *(_cell(value) for value in (
                    one.precision, one.recall, one.f1, one.average_precision
                )),
                {"value": one.support, "shown": count(one.support)},
            ],
        }
        for one in findings.classes
    ]  # fmt: skip
    there = sorted((one for one in findings.classes if one.support), key=lambda one: one.f1)
    lead = (
        "Precision: the share of its answers that are right. Recall: the share of its images "
        "that are found. AP: average precision over all thresholds."
    )
    if there and there[0].f1 < there[-1].f1:
        lead += f" Best is {there[-1].name}, hardest is {there[0].name}."
    return {"class_rows": rows, "class_columns": columns, "classes_lead": lead}


def _cell(share: float) -> dict[str, Any]:
    """Returns a share with the number that a table is sorted by: what is not defined comes last."""
    return {"value": -1 if share != share else round(share, 6), "shown": percent(share)}


def calibration_of(findings: Findings | None, figure: Markup | None) -> dict[str, Any] | None:
    """Returns the reliability diagram and the sentence above it."""
    if findings is None or figure is None:
        return None
    return {"lead": calibration_words(findings), "figure": figure}


def calibration_words(findings: Findings) -> str:
    """Returns how far the probabilities are off, and what a temperature makes of it."""
    found = findings.calibration
    before = calibration_error(findings.before) if found is None else found.error_before
    lead = f"The probabilities are off by {percent(before)} on average"
    if found is not None:
        sure = "too sure" if found.temperature > 1 else "not sure enough"
        lead += (
            f". Dividing the scores by {found.temperature:.2f}, fitted on the validation split "
            f"(the network is {sure}), makes that {percent(found.error_after)}"
        )
    return f"{lead} (expected calibration error, 15 bins)."
