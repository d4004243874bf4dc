"""``zoo compare -o``: the comparison as one HTML file that needs nothing else."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from zoo.disk import atomic_file, machine_errors, make_folder
from zoo.errors import ZooError, printable
from zoo.evaluation.comparison import words
from zoo.evaluation.comparison.charts import curve_figures, forest
from zoo.evaluation.comparison.pairing import in_order_of
from zoo.evaluation.report.mistakes import Shot, shots
from zoo.evaluation.report.pictures import Picture, thumbnail
from zoo.evaluation.report.rendering import count, duration, percent, render
from zoo.evaluation.report.svg import inlined

if TYPE_CHECKING:
    from markupsafe import Markup

    from zoo.evaluation.comparison.records import Comparison, Standing, Verdict

__all__ = ["page_of", "write_page"]

_MINUS = "\N{MINUS SIGN}"
_DASH = "\N{EN DASH}"
_SHOTS = 12
_USUAL_ALPHA = 0.05
_PAIRS_WITH_PICTURES = 3
_GROUPS = {
    "option": "Options", "component": "Components and their packages", "data": "Data and input",
    "package": "Packages", "machine": "Machine",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Disagreement:
    """Images on which the first run and another one differ, the surest mistakes first."""

    right: str
    wrong: str
    number: int
    shots: list[tuple[Shot, Picture | None]]


def write_page(path: Path, comparison: Comparison) -> None:
    """Writes the page whole or not at all; one that is there is replaced.

    Raises:
        MachineError: It cannot be written.
    """
    text = page_of(comparison)
    with machine_errors("writing", path):
        make_folder(path.parent)
        atomic_file(path, lambda file: file.write_text(text, encoding="utf-8", newline="\n"))


def page_of(comparison: Comparison) -> str:
    """Returns the page, a whole HTML file."""
    first, others = comparison.runs[0], comparison.runs[1:]
    drawn = forest(comparison)
    figure = None if drawn is None else inlined(
        drawn, title="Difference in accuracy",
        description="; ".join(
            words.sentence(verdict, comparison)
            for verdict in comparison.verdicts
            if verdict.metric == "accuracy" and verdict.outcome != "untested"
        ),
    )  # fmt: skip
    disagreements = [
        pair
        for other in others[:_PAIRS_WITH_PICTURES]
        if other.not_paired is None
        for pair in _disagreements(first, other, most=_SHOTS if len(others) == 1 else _SHOTS // 2)
    ]
    curves = _curves(comparison)
    sections = [
        ("summary", "Summary", True), ("numbers", "Numbers", True), ("tests", "Tests", True),
        ("images", "Images", bool(disagreements)), ("curves", "Training", bool(curves)),
        ("differences", "What differs", True), ("how", "How it was tested", True),
    ]  # fmt: skip
    return render(
        "compare.html.j2", sections=[(key, text) for key, text, there in sections if there],
        title=_title(comparison), lead=_lead(comparison), verdict=_verdict(comparison),
        notes=comparison.notes, metrics=comparison.metrics, runs=_run_rows(comparison),
        tests=[_test(comparison, other) for other in others], figure=figure,
        disagreements=disagreements, curves=curves, labels=[run.label for run in comparison.runs],
        groups=_groups(comparison), alpha=f"{comparison.alpha:g}",
        num_tests=sum(run.not_paired is None for run in others),
        command=_command(comparison), version=version("classifier-zoo"),
    )  # fmt: skip


def _title(comparison: Comparison) -> str:
    first, *others = comparison.runs
    against = others[0].label if len(others) == 1 else f"{len(others)} other runs"
    return f"{first.label} against {against}"


def _lead(comparison: Comparison) -> str:
    first = comparison.runs[0].examined
    number = count(len(first.predictions))
    if all(run.not_paired is None for run in comparison.runs):
        return f"On the same {number} images of the {comparison.split} split of {first.data.name}."
    return f"On the {comparison.split} split; not all runs were examined on the same images."


def _verdict(comparison: Comparison) -> dict[str, Any]:
    """Returns what the page opens with: the difference in accuracy, and what it means."""
    found = [verdict for verdict in comparison.verdicts if verdict.metric == "accuracy"]
    lines = [_opening(verdict) for verdict in found[:6]]
    if len(found) > 1:
        value = comparison.runs[0].values["accuracy"]
        return {"figure": percent(value.value), "unit": "", "lines": lines, "facts": ()}
    (verdict,) = found
    first, other = (run.values["accuracy"] for run in comparison.runs)
    facts = [
        {"label": f"Accuracy of {verdict.first}", "value": percent(first.value),
         "more": f"{percent(first.low)} to {percent(first.high)}"},
        {"label": f"Accuracy of {verdict.other}", "value": percent(other.value),
         "more": f"{percent(other.low)} to {percent(other.high)}"},
    ]  # fmt: skip
    if verdict.outcome == "untested":
        return {"figure": _DASH, "unit": "", "lines": lines, "facts": facts}
    facts += [
        {"label": f"Only {verdict.first} is right", "value": count(verdict.first_only or 0),
         "more": "images"},
        {"label": f"Only {verdict.other} is right", "value": count(verdict.other_only or 0),
         "more": "images"},
        {"label": words.p_text(verdict.corrected).partition(" ")[0] + "-value",
         "value": words.p_text(verdict.corrected).partition(" ")[2].removeprefix("= "),
         "more": verdict.method},
    ]  # fmt: skip
    return {"figure": _signed(f"{100 * verdict.difference:+.1f}"), "unit": "points", "lines": lines,
            "facts": facts}  # fmt: skip


def _opening(verdict: Verdict) -> str:
    """Returns an outcome with what stands behind it, as the page opens."""
    clause = words.headline(verdict)
    if verdict.outcome == "noise":
        clause = clause[0].upper() + clause[1:]
    if verdict.outcome == "untested":
        return f"{clause}: {verdict.why}."
    moved = _signed(
        f"{words.change('accuracy', verdict.difference)} in accuracy {words.span(verdict)}"
    )
    if verdict.outcome != "noise":
        return f"{clause}: {moved}, {words.p_text(verdict.corrected)}."
    if not verdict.first_only and not verdict.other_only:  # then the interval has no width
        return f"{clause}: both have the same images right."
    reach = 50 * (verdict.high - verdict.low)
    return (
        f"{clause}: {moved}, {words.p_text(verdict.corrected)}. This many images cannot tell "
        f"differences below about {reach:.1f} points."
    )


def _signed(text: str) -> str:
    """Returns numbers with the sign that is as wide as a plus."""
    return text.replace("-", _MINUS)


def _run_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Returns each run with its numbers; the best value of each metric is marked."""
    best: dict[str, float] = {}
    for metric, upwards in comparison.greater_is_better.items():
        values = [run.values[metric].value for run in comparison.runs]
        known = [value for value in values if value == value]
        if known:
            best[metric] = max(known) if upwards else min(known)
    rows = []
    for run in comparison.runs:
        row = run.facts.best_row
        rows.append({
            "label": run.label, "model": run.facts.config.model,
            "epoch": _DASH if row is None else f"{row['epoch']} of {len(run.facts.rows)}",
            "time": duration(run.facts.seconds),
            "cells": [
                {
                    "value": words.amount(metric, run.values[metric].value),
                    "more": words.with_interval(metric, run.values[metric]).partition(" [")[2]
                    .removesuffix("]").replace(", ", " to "),
                    "best": run.values[metric].value == best.get(metric),
                }
                for metric in comparison.metrics
            ],
        })  # fmt: skip
    return rows


def _test(comparison: Comparison, other: Standing) -> dict[str, Any]:
    """Returns the tests of the first run against another one."""
    return {
        "title": f"{comparison.runs[0].label} against {other.label}",
        "why": other.not_paired,
        "rows": [_test_row(verdict) for verdict in comparison.against(other)],
    }  # fmt: skip


def _test_row(verdict: Verdict) -> dict[str, str]:
    row = {"metric": verdict.metric, "outcome": verdict.outcome, "words": words.outcome(verdict),
           "method": verdict.method}  # fmt: skip
    if verdict.p_value != verdict.p_value:
        return {**row, "difference": _DASH, "span": _DASH, "p": _DASH}
    return {
        **row, "difference": _signed(words.change(verdict.metric, verdict.difference)),
        "span": _signed(words.span(verdict)).strip("[]").replace(", ", " to "),
        "p": words.p_text(verdict.corrected).removeprefix("p = ").removeprefix("p "),
    }  # fmt: skip


def _disagreements(first: Standing, other: Standing, *, most: int) -> list[_Disagreement]:
    """Returns the images that one of the two has right and the other wrong."""
    one = first.examined.predictions
    two = in_order_of(other.examined.predictions, one.classes)
    found = []
    for right, wrong, names in (
        (one, two, (first.label, other.label)), (two, one, (other.label, first.label)),
    ):  # fmt: skip
        only_N = right.right_N & ~wrong.right_N
        indices = torch.nonzero(only_N).flatten()
        if not len(indices) or one.multi_label:
            continue
        surest = wrong.probabilities_NK.amax(1)[indices].argsort(descending=True, stable=True)
        chosen = indices[surest[:most]].tolist()
        pictures = [_picture(first, index) for index in chosen]
        found.append(_Disagreement(
            right=names[0], wrong=names[1], number=len(indices),
            shots=list(zip(shots(wrong, chosen), pictures, strict=True)),
        ))  # fmt: skip
    return found


def _picture(run: Standing, index: int) -> Picture | None:
    try:
        return thumbnail(run.examined.picture(index))
    except (ZooError, OSError):
        return None


def _curves(comparison: Comparison) -> list[Markup]:
    """Returns the curves of all runs, one over the other."""
    return [
        inlined(figure, title=title, description=(
            f"{title} over epochs of " + ", ".join(run.label for run in comparison.runs) + "."
        ))
        for title, figure in curve_figures(comparison.runs).items()
    ]  # fmt: skip


def _groups(comparison: Comparison) -> list[tuple[str, list[tuple[str, tuple[str, ...]]]]]:
    """Returns the differences under their headings."""
    groups = []
    for group, heading in _GROUPS.items():
        rows = [(d.key, d.values) for d in comparison.differences if d.group == group]
        if rows:
            groups.append((heading, rows))
    return groups


def _command(comparison: Comparison) -> str:
    """Returns the command that compares them again."""
    paths = [str(run.facts.folder.path) for run in comparison.runs]
    parts = ["zoo", "compare", *paths]
    if comparison.data is not None:
        parts += ["--data", comparison.data]
    parts += ["--split", comparison.split]
    if comparison.asked is not None:
        parts += ["--metric", comparison.asked]
    if comparison.alpha != _USUAL_ALPHA:
        parts += ["--alpha", str(comparison.alpha)]
    return printable(shlex.join(parts))
