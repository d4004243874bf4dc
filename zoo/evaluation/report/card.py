"""The model card: Markdown with the front matter that model hubs read.

Names come from data. In the front matter they are JSON strings, which YAML reads as they are; in
the text every character that Markdown could take for a sign is escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from zoo.errors import printable
from zoo.evaluation.report import content
from zoo.evaluation.report.rendering import count, percent

if TYPE_CHECKING:
    from zoo.evaluation.examined import Examined
    from zoo.evaluation.report.facts import RunFacts
    from zoo.evaluation.report.findings import Findings

__all__ = ["card_of", "plain"]

_SIGNS = re.compile(r"([\\`*_{}\[\]<>()#+!|&~$:@=^\"])")
_CLASSES = 60


def plain(text: object) -> str:
    r"""Returns a name as Markdown that shows it and does nothing else, in one line.

    >>> plain("a|b <i> [x](y)")
    'a\\|b \\<i\\> \\[x\\]\\(y\\)'
    """
    escaped = _SIGNS.sub(r"\\\1", printable(text))
    return re.sub(r"(?i)(www)\.", r"\1\\.", escaped)  # it would become a link


def card_of(
    facts: RunFacts,
    examined: Examined | None,
    findings: Findings | None,
    *,
    plots: Sequence[str],
    notes: Sequence[str] = (),
) -> str:
    """Returns the model card of a run.

    Args:
        facts: What the run folder says.
        examined: What the run says about a split; None where it could not be asked.
        findings: Numbers of that.
        plots: File names of the plots that lie in ``plots/`` beside the card.
        notes: What the reader should know first.
    """
    blocks = [
        _front_matter(facts, examined, findings),
        f"# {plain(facts.name)}",
        f"An image classifier: {plain(content.lead_of(facts))}, "
        f"{count(len(_classes(facts, examined)))} classes, trained with zoo.",
        *(f"> {plain(note)}" for note in notes),
        *_results(examined, findings, plots),
        "## Use",
        *(_command(one["what"], one["words"]) for one in content.commands_of(facts)),
        *_training(facts, plots),
        "## Data",
        _table(("", ""), content.data_rows(facts, examined)),
        "## Environment",
        _table(("", ""), [*content.input_rows(facts, examined), *content.environment_rows(facts)]),
        _table(
            ("Kind", "Component", "Package"),
            [(one["kind"], one["spec"], one["package"]) for one in content.component_rows(facts)],
        ),
    ]  # fmt: skip
    return "\n\n".join(blocks) + "\n"


def _classes(facts: RunFacts, examined: Examined | None) -> Sequence[str]:
    if examined is not None:
        return examined.predictions.classes
    known = facts.part("data").get("classes")
    return known if isinstance(known, list) else []


def _front_matter(
    facts: RunFacts, examined: Examined | None, findings: Findings | None
) -> str:  # fmt: skip
    lines = [
        "---", "pipeline_tag: image-classification", "library_name: classifier-zoo",
        "tags:", "- image-classification", "- classifier-zoo",
    ]  # fmt: skip
    if examined is not None and findings is not None:
        lines += [
            "metrics:", *(f"- {_quoted(one.name)}" for one in findings.scores),
            "model-index:", f"- name: {_quoted(facts.name)}", "  results:",
            "  - task:", "      type: image-classification", "    dataset:",
            f"      name: {_quoted(examined.data.name)}",
            f"      type: {_quoted(examined.data.name)}",
            f"      split: {_quoted(examined.split)}", "    metrics:",
        ]  # fmt: skip
        for one in findings.scores:
            if one.value == one.value:
                lines += [f"    - type: {_quoted(one.name)}", f"      name: {_quoted(one.label)}",
                          f"      value: {one.value:.6f}"]  # fmt: skip
    return "\n".join([*lines, "---"])


def _quoted(text: str) -> str:
    return json.dumps(printable(text))


def _results(
    examined: Examined | None, findings: Findings | None, plots: Sequence[str]
) -> Iterable[str]:
    if examined is None or findings is None:
        return
    table = content.score_rows(examined, findings)
    yield "## Results"
    yield str(table["metrics_lead"])
    yield _table(
        ("Metric", "Value", "95% interval"),
        [(row["label"], row["shown"], row["interval"]) for row in table["scores"]],
    )
    name, share = findings.common
    yield f"Always answering {plain(name)} would be right for {percent(share)}."
    classes = content.class_rows(examined, findings)
    yield "### Classes"
    by_need = sorted(classes["class_rows"], key=lambda row: (not row["images"], row["f1"]))
    rows = by_need[:_CLASSES]
    if len(classes["class_rows"]) > _CLASSES:
        yield f"The {_CLASSES} hardest of {count(len(classes['class_rows']))}."
    yield _table(
        ("Class", *classes["class_columns"]),
        [(row["name"], *(cell["shown"] for cell in row["cells"])) for row in rows],
    )
    for file in ("confusion.png", "calibration.png"):
        if file in plots:
            yield f"![{file.partition('.')[0]}](plots/{file})"


def _training(facts: RunFacts, plots: Sequence[str]) -> Iterable[str]:
    if not facts.rows:
        return
    yield "## Training"
    yield plain(content.training_words(facts)["lead"])
    shown = [file for file in ("loss.png", "accuracy.png", "learning-rate.png") if file in plots]
    if shown:
        yield "\n".join(f"![{file.partition('.')[0]}](plots/{file})" for file in shown)


def _command(what: str, words: Sequence[str]) -> str:
    """Returns a command in a fence that is longer than any row of backticks in it."""
    text = printable(" ".join(words))
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    before = f"{plain(what)}:\n\n" if what else ""
    return f"{before}{fence}sh\n{text}\n{fence}"


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(header)} |", "|" + " --- |" * len(header)]
    lines += [f"| {' | '.join(plain(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)
