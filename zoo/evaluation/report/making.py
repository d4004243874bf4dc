"""``zoo report``: asks a run about a split, and writes page, plots and card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from zoo.disk import atomic_file, machine_errors, make_folder, refuse_folder
from zoo.errors import DataError, RefusedError, ZooError, printable
from zoo.evaluation.examined import Examined, examine
from zoo.evaluation.interpretation.heatmaps import heatmaps, overlay
from zoo.evaluation.optimism import why_optimistic
from zoo.evaluation.report.card import card_of
from zoo.evaluation.report.content import images_per_class
from zoo.evaluation.report.facts import RunFacts, read_facts
from zoo.evaluation.report.findings import Findings, find
from zoo.evaluation.report.mistakes import sample_to_explain
from zoo.evaluation.report.page import Heat, page_of
from zoo.evaluation.report.pictures import SIDE, thumbnail
from zoo.evaluation.report.plots import Series, bars, calibration, curves, drawing, matrix
from zoo.evaluation.report.training import curve_figures
from zoo.evaluation.subjects import ALL
from zoo.registry import Registry, parse_choice

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ["Report", "make_report"]

_HEAT = 12
_NAMED_BARS = 30
_DPI = 150
_OF_IMAGES = {"calibration", "confusion", "images-per-class"}
_PLOTS = {"accuracy", "learning-rate", "loss", "metrics"} | _OF_IMAGES

_Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was written, and the numbers that the page opens with.

    Args:
        page: The HTML file.
        card: The model card, Markdown.
        plots: The PNG files.
        split: Which split it is about; None where the run could not be asked.
        scores: Value, lower and upper end of the 95 % interval of each headline metric; None where
            a metric has no interval.
        notes: What the user should know, a line each.
    """

    page: Path
    card: Path
    plots: tuple[Path, ...]
    split: str | None
    scores: Mapping[str, tuple[float, float | None, float | None]]
    notes: tuple[str, ...]


def make_report(
    path: Path,
    *,
    data: str | None = None,
    split: str | None = None,
    output: Path | None = None,
    explainer: str | None = "gradcam",
    engine: str = "auto",
    registry: Registry,
    progress: _Progress = lambda what, done, total: None,
) -> Report:
    """Writes report.html, plots/*.png and model-card.md of a run, and returns what they say.

    A run that was cut short has a report of what there is. So has one whose data is gone: its
    curves and how it was made. An earlier report that has looked at images stays instead.

    Args:
        path: The run folder.
        data: As ``--data``; by default what the run was trained on.
        split: By default test where there is one, else val.
        output: Where the page goes; plots and card always go into the run folder.
        explainer: Spec of an explainer for heat maps; None for no heat maps.
        engine: How the network is computed.
        registry: The components to choose from.
        progress: Told what is being done, how much of it is done, of how much.

    Raises:
        UnknownName: There is no such explainer.
        UsageError: It is not a run folder, has no such split, or the output is a folder.
        DataError: The data cannot be used, and an earlier report has looked at it.
        CheckpointError: A file of it is damaged, or a newer zoo wrote it.
        RefusedError: ``plots`` of the run folder leads elsewhere.
        MachineError: A file cannot be written.
    """
    facts = read_facts(path)
    if explainer is not None:
        parse_choice(registry, "explainer", explainer)
    target = output or path / "report.html"
    refuse_folder(target)

    def ask(wanted: str | None, of: str | None) -> Examined:
        return examine(
            path, data=of, split=wanted, registry=registry, engine=engine, progress=progress
        )

    examined, notes = _asked(facts, lambda: ask(split, data))
    findings = None
    if examined is not None and examined.predictions.labelled:
        apart = examined.own_split not in ("val", ALL)
        findings = find(
            examined.predictions, registry=registry, progress=partial(progress, "intervals"),
            validation=(lambda: ask("val", None)) if apart else None,
        )  # fmt: skip
    elif examined is not None:
        notes.append(f"The images of the split {examined.split} have no labels to compare with.")
    figures = {**curve_figures(facts), **_figures(examined, findings)}
    heat, heat_note = _heat(examined, explainer=explainer, registry=registry)
    progress("writing", 0, 1)
    saved = {**figures, **_matrix(examined, findings)}
    page = page_of(
        facts, examined, findings, figures, heat=heat, heat_name=explainer or "",
        heat_note=heat_note, notes=notes,
    )  # fmt: skip
    _write(target, page)
    card = path / "model-card.md"
    _write(
        card,
        card_of(facts, examined, findings, plots=[f"{name}.png" for name in saved], notes=notes),
    )
    return Report(
        page=target, card=card, plots=_write_plots(path / "plots", saved),
        split=None if examined is None else examined.split,
        scores={} if findings is None
        else {one.name: (one.value, one.low, one.high) for one in findings.scores},
        notes=tuple(notes),
    )  # fmt: skip


def _asked(facts: RunFacts, ask: Callable[[], Examined]) -> tuple[Examined | None, list[str]]:
    """Returns what the run says about the split, None if it cannot be asked; and what to know."""
    notes = []
    if facts.summary is None:
        notes.append("The run has not ended: this is what there is so far.")
    if facts.best is None:
        return None, [*notes, "It has no weights yet, so that no image could be looked at."]
    try:
        examined = ask()
    except DataError as error:
        plots = facts.folder.path / "plots"
        if any((plots / f"{name}.png").exists() for name in _OF_IMAGES):
            error.kept = f"the report in {printable(facts.folder.path)}, which has looked at images"
            error.hint = "; ".join(filter(None, (
                error.hint, f"to have one without images remove {printable(plots)}",
            )))  # fmt: skip
            raise
        return None, [*notes, f"No image could be looked at: {error.brief}."]
    if why := why_optimistic(examined.own_split):
        untested = examined.split == "val" and "test" not in examined.data.splits
        before = "There is no test split. " if untested else ""
        notes.append(f"{before}{why[0].upper()}{why[1:]}.")
    return examined, [*notes, *examined.notes]


def _figures(examined: Examined | None, findings: Findings | None) -> dict[str, Figure]:
    """Returns the figures about data and predictions."""
    figures: dict[str, Figure] = {}
    if examined is None:
        return figures
    sizes = images_per_class(examined.data)
    title, classes = "Training images of each class", examined.data.classes
    if len(set(sizes)) > 1 and len(classes) <= _NAMED_BARS:  # equal ones need no picture
        figures["images-per-class"] = bars(classes, sizes, title=title)
    elif len(set(sizes)) > 1:
        falling = sorted(sizes, reverse=True)
        figures["images-per-class"] = curves(
            [Series(label="images", xs=range(1, len(sizes) + 1), ys=falling)], title=title,
            x_label="classes, the largest first", from_zero=True,
        )  # fmt: skip
    if findings is not None and findings.before:
        figures["calibration"] = calibration(
            findings.before, findings.after, title="Reliability",
            multi_label=examined.predictions.multi_label,
        )  # fmt: skip
    return figures


def _matrix(examined: Examined | None, findings: Findings | None) -> dict[str, Figure]:
    """Returns the confusion matrix as a figure: the page has it as a table."""
    if examined is None or findings is None or findings.counts_KK is None:
        return {}
    classes = examined.predictions.classes
    return {"confusion": matrix(findings.counts_KK, classes, title="Confusion matrix")}


def _heat(
    examined: Examined | None, *, explainer: str | None, registry: Registry
) -> tuple[list[Heat], str]:
    """Returns heat maps of a sample, and why there are none."""
    if examined is None or explainer is None:
        return [], ""
    indices = sample_to_explain(examined.predictions, _HEAT)
    try:
        found = heatmaps(examined, indices, explainer=explainer, registry=registry)
    except ZooError as error:
        return [], ". ".join(filter(None, (f"No heat maps: {error.what}", error.found, error.hint)))
    return [
        Heat(index=index, picture=thumbnail(_grown(image)), warm=thumbnail(_warm(image, heat_SS)))
        for index, (image, heat_SS) in zip(indices, found, strict=True)
    ], ""


def _warm(image: Image.Image, heat_SS: NDArray[np.float32]) -> Image.Image:
    grown = _grown(image)
    heat = Image.fromarray(heat_SS).resize(grown.size, Image.Resampling.BICUBIC)
    return overlay(grown, np.clip(np.asarray(heat), 0, 1))


def _grown(image: Image.Image) -> Image.Image:
    """Returns what the network sees, no smaller than it is shown: heat has no pixels to show."""
    if min(image.size) >= SIDE:
        return image
    return image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def _write(target: Path, text: str) -> None:
    with machine_errors("writing", target):
        make_folder(target.parent)
        atomic_file(target, lambda file: file.write_text(text, encoding="utf-8", newline="\n"))


def _write_plots(folder: Path, figures: Mapping[str, Figure]) -> tuple[Path, ...]:
    if folder.is_symlink():
        raise RefusedError(
            f"{printable(folder)} is a link to another folder", hint="remove the link"
        )
    files = []
    for name, figure in figures.items():
        target = folder / f"{name}.png"
        with machine_errors("writing", target), drawing():
            make_folder(folder)
            atomic_file(
                target,
                lambda file, figure=figure: figure.savefig(  # type: ignore[misc]  # bound at once
                    file, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None}
                ),
            )
        files.append(target)
    for name in _PLOTS - figures.keys():  # of an earlier report
        (folder / f"{name}.png").unlink(missing_ok=True)
    return tuple(files)
