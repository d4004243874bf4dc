"""The HTML page of a run: what stands in each section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from zoo.errors import ZooError
from zoo.evaluation.report import content
from zoo.evaluation.report.matrix import view_of
from zoo.evaluation.report.mistakes import (
    Shot,
    confused_pairs,
    greatest_losses,
    shots,
    surest_mistakes,
)
from zoo.evaluation.report.pictures import Picture, thumbnail
from zoo.evaluation.report.rendering import percent, render
from zoo.evaluation.report.svg import inlined
from zoo.evaluation.report.training import boundaries, number

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

    from zoo.evaluation.examined import Examined
    from zoo.evaluation.report.facts import RunFacts
    from zoo.evaluation.report.findings import Findings

__all__ = ["Heat", "page_of"]

_PAIRS, _PAIR_IMAGES, _SHOTS = 6, 6, 12
_CURVES = ("loss", "accuracy", "learning-rate", "metrics")
_SECTIONS = (
    ("summary", "Summary"), ("use", "Use it"), ("training", "Training"), ("metrics", "Metrics"),
    ("classes", "Classes"), ("confusion", "Confusion matrix"), ("confused", "Confused pairs"),
    ("mistakes", "Mistakes"), ("calibration", "Calibration"), ("heat", "What it looks at"),
    ("data", "Data"), ("made", "How it was made"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """An image with what speaks for the answer.

    Args:
        index: Of the image in its split.
        picture: The image as the network sees it.
        warm: The same under its heat.
    """

    index: int
    picture: Picture
    warm: Picture


def page_of(
    facts: RunFacts,
    examined: Examined | None,
    findings: Findings | None,
    figures: Mapping[str, Figure],
    *,
    heat: Sequence[Heat] = (),
    heat_name: str = "gradcam",
    heat_note: str = "",
    notes: Sequence[str] = (),
) -> str:
    """Returns the page, a whole HTML file.

    Args:
        facts: What the run folder says.
        examined: What the run says about a split; None where it could not be asked.
        findings: Numbers of that; None where there is nothing to compare with.
        figures: Those of the run by name, as the PNGs have them.
        heat: Heat maps of some images.
        heat_name: The explainer that they are of.
        heat_note: Why there are none, or what there is to know.
        notes: What the reader should know first.
    """
    drawn = {name: _inlined(name, figure, facts, findings) for name, figure in figures.items()}
    shown = _Shown.of(examined, findings)
    page: dict[str, Any] = {
        "name": facts.name, "lead": content.lead_of(facts), "notes": notes,
        "verdict": content.verdict_without(facts) if examined is None or findings is None
        else content.verdict_of(facts, examined, findings),
        "commands": content.commands_of(facts), "training": content.training_words(facts),
        "curves": [drawn[name] for name in _CURVES if name in drawn],
        "phases": facts.phases, "rows": facts.rows, "losses": shown.losses,
        "mistakes": shown.mistakes, "pairs": shown.pairs, "heat_note": heat_note,
        "heat_name": "Grad-CAM" if heat_name == "gradcam" else heat_name,
        "heat": _heat_rows(examined, heat), "version": version("classifier-zoo"),
        "class_figure": drawn.get("images-per-class"),
        "calibration": content.calibration_of(findings, drawn.get("calibration")),
        "matrix": None if examined is None or findings is None or findings.counts_KK is None
        else view_of(findings.counts_KK, examined.predictions.classes),
        **content.score_rows(examined, findings), **content.class_rows(examined, findings),
        "data_rows": content.data_rows(facts, examined), "bad": _bad(facts, examined),
        "data_notes": () if examined is None else examined.data.notes,
        "components": content.component_rows(facts),
        "input_rows": content.input_rows(facts, examined),
        "environment_rows": content.environment_rows(facts),
        "option_rows": content.option_rows(facts),
    }  # fmt: skip
    there = {
        "training": page["curves"], "metrics": page["scores"], "classes": page["class_rows"],
        "confusion": page["matrix"], "confused": page["pairs"],
        "mistakes": page["losses"] or page["mistakes"], "calibration": page["calibration"],
        "heat": page["heat"] or heat_note,
    }  # fmt: skip
    sections = [(key, text) for key, text in _SECTIONS if there.get(key, True)]
    return render("report.html.j2", sections=sections, **page)


def _inlined(name: str, figure: Figure, facts: RunFacts, findings: Findings | None) -> Markup:
    """Returns a figure for the page, with the words for whoever cannot see it."""
    title, description = _described(name, facts, findings)
    return inlined(figure, title=title, description=description)


def _described(name: str, facts: RunFacts, findings: Findings | None) -> tuple[str, str]:
    first, last = (facts.rows[0], facts.rows[-1]) if facts.rows else ({}, {})
    phases = ", ".join(f"{phase} from epoch {start + 0.5:g}" for start, phase in boundaries(facts))
    over = f"over {len(facts.rows)} epochs; {phases}"
    if name == "loss":
        before, after = number(first["val_loss"]), number(last["val_loss"])
        return "Loss", (f"Training and validation loss {over}. Validation goes from "
                        f"{before:.3f} to {after:.3f}.")  # fmt: skip
    if name == "accuracy":
        return "Accuracy", (f"Training and validation accuracy {over}. Validation goes from "
                            f"{percent(first['val_accuracy'])} to "
                            f"{percent(last['val_accuracy'])}.")  # fmt: skip
    if name == "learning-rate":
        return "Learning rate", f"Learning rate of the head {over}."
    if name == "metrics":
        return "Metrics", f"Further metrics on the validation split {over}."
    if name == "calibration" and findings is not None:
        return "Reliability diagram", (
            "Share of answers that are right, by the probability that the network gives them. "
            + content.calibration_words(findings)
        )
    return "Images per class", "Number of training images of each class."


def _bad(facts: RunFacts, examined: Examined | None) -> list[tuple[str, str]]:
    """Returns images that were left out, and why."""
    bad = facts.part("data").get("bad") if examined is None else examined.data.bad
    return [(str(name), str(why)) for name, why in bad.items()] if isinstance(bad, Mapping) else []


def _heat_rows(examined: Examined | None, heat: Sequence[Heat]) -> list[tuple[Any, ...]]:
    if examined is None or not heat:
        return []
    found = shots(examined.predictions, [one.index for one in heat])
    return [(shot, one.picture, one.warm) for shot, one in zip(found, heat, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """The pictures of a page with their words."""

    pairs: list[dict[str, Any]]
    mistakes: list[tuple[Shot, Picture | None]]
    losses: list[tuple[Shot, Picture | None]]

    @classmethod
    def of(cls, examined: Examined | None, findings: Findings | None) -> _Shown:
        if examined is None or findings is None:
            return cls(pairs=[], mistakes=[], losses=[])
        predictions = examined.predictions
        made: dict[int, Picture | None] = {}

        def with_pictures(indices: Sequence[int]) -> list[tuple[Shot, Picture | None]]:
            for index in indices:
                if index not in made:
                    made[index] = _picture(examined, index)
            return [(shot, made[shot.index]) for shot in shots(predictions, indices)]

        pairs = [] if findings.counts_KK is None else confused_pairs(
            predictions, findings.counts_KK, limit=_PAIRS, each=_PAIR_IMAGES
        )  # fmt: skip
        surest = surest_mistakes(predictions, _SHOTS)
        hardest = greatest_losses(predictions, _SHOTS + len(surest))
        others = [index for index in hardest if index not in surest][:_SHOTS]
        return cls(
            pairs=[
                {
                    "true": predictions.classes[pair.true],
                    "said": predictions.classes[pair.predicted], "count": pair.count,
                    "share": pair.share, "shots": with_pictures(images),
                }
                for pair, images in pairs
            ],
            mistakes=with_pictures(surest), losses=with_pictures(others),
        )  # fmt: skip


def _picture(examined: Examined, index: int) -> Picture | None:
    """Returns an image of the split for the page; None if it cannot be read any more."""
    try:
        return thumbnail(examined.picture(index))
    except (ZooError, OSError):
        return None
