"""How good a run is on a split, in one record: what ``zoo evaluate`` prints and keeps."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.disk import make_folder
from zoo.errors import MachineError, ZooError, printable
from zoo.evaluation.calibration import Calibration, calibrate
from zoo.evaluation.examined import Examined, examine
from zoo.evaluation.intervals import intervals
from zoo.evaluation.metrics import (
    ClassRow,
    chosen_metrics,
    confusion,
    headline,
    measures_for,
    most_confused,
    per_class,
)
from zoo.evaluation.optimism import why_optimistic
from zoo.evaluation.subjects import ALL
from zoo.runs.plain_files import without_nan

if TYPE_CHECKING:
    from zoo.registry import Registry

__all__ = ["Confusion", "Evaluation", "Measured", "evaluate"]

_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One metric of the split with its interval.

    Args:
        label: Such as ``f1-micro``.
        value: NaN where it is not defined.
        low: Lower end of the 95 % bootstrap interval; NaN without one.
        high: Upper end.
        greater_is_better: Its direction.
    """

    label: str
    value: float
    low: float
    high: float
    greater_is_better: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """A class that is taken for another.

    Args:
        true: Its name.
        predicted: The other's.
        count: How many images.
        share: Of the images of the class, 0..1.
    """

    true: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """How good a run is on a split.

    Args:
        run: The run folder.
        data: Name of the data.
        split: Of the data, or ``all``.
        num_images: In the split.
        metrics: Headline metrics.
        classes: How good it is at each class.
        confused: The pairs that are confused most often; none where images have several labels.
        calibration: Whether its probabilities can be believed; None if there is no split to fit a
            temperature on.
        calibrated_on: The split of the run's own data that the temperature was fitted on.
        engine: How the network was computed.
        notes: What the user should know, a line each.
    """

    run: Path
    data: str
    split: str
    num_images: int
    metrics: tuple[Measured, ...]
    classes: tuple[ClassRow, ...]
    confused: tuple[Confusion, ...] = ()
    calibration: Calibration | None = None
    calibrated_on: str = ""
    engine: str = ""
    notes: tuple[str, ...] = ()

    def __getitem__(self, label: str) -> float:
        """Returns a metric by its label.

        Raises:
            KeyError: It was not asked for.
        """
        return {one.label: one.value for one in self.metrics}[label]

    def as_dict(self) -> dict[str, Any]:
        """Returns plain data for JSON: a number that is not defined is None."""
        table = {**asdict(self), "run": str(self.run), "format": _FORMAT, "interval": 0.95}
        plain: dict[str, Any] = without_nan(table)
        return plain


def evaluate(
    path: Path,
    *,
    data: str | None = None,
    split: str | None = None,
    metrics: str | Sequence[str] | None = None,
    registry: Registry,
    engine: str = "auto",
    fresh: bool = False,
    resamples: int | None = None,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
    noted: Callable[[str], None] = lambda line: None,
) -> Evaluation:
    """Returns how good a run is on a split, and keeps it in ``evaluation/`` of the run folder.

    Args:
        path: The run folder.
        data: As ``--data``; by default what the run was trained on.
        split: ``train``, ``val``, ``test`` or ``all``; see :func:`zoo.evaluation.examined.examine`.
        metrics: As ``--metric`` has them; by default a usual set.
        registry: The components to choose from.
        engine: How the network is computed.
        fresh: Compute predictions although they are kept.
        resamples: Of the bootstrap; by default as many as are worth their time. 0: no intervals.
        progress: Told what is being done, how much of it is done, of how much.
        noted: Told which engine was chosen, and why.

    Raises:
        ZooError: Whatever is wrong with run, data or metrics.
    """
    if metrics is not None:  # a name that is none is told before anything is computed
        metrics = [metrics] if isinstance(metrics, str) else list(metrics)
        chosen_metrics(metrics, registry)
    examined = examine(
        path, data=data, split=split, registry=registry, engine=engine, fresh=fresh,
        need_labels=True, progress=progress, noted=noted,
    )  # fmt: skip
    predictions = examined.predictions
    numbers = headline(predictions, registry, metrics)
    measures = measures_for(predictions, registry, metrics)
    found = {} if resamples == 0 else intervals(
        measures, predictions.probabilities_NK, predictions.target, resamples=resamples,
        progress=lambda done, total: progress("intervals", done, total),
    )  # fmt: skip
    calibration, fitted_on, notes = _calibration(
        examined, registry=registry, engine=engine, progress=progress, noted=noted
    )
    names = predictions.classes
    pairs = () if predictions.multi_label else most_confused(confusion(predictions))
    evaluation = Evaluation(
        run=path, data=examined.data.name, split=examined.split, num_images=len(predictions),
        metrics=tuple(
            Measured(
                label=one.label, value=one.value, greater_is_better=one.greater_is_better,
                low=found[one.label].low if one.label in found else math.nan,
                high=found[one.label].high if one.label in found else math.nan,
            )
            for one in numbers
        ),
        classes=per_class(predictions, registry),
        confused=tuple(
            Confusion(
                true=names[one.true], predicted=names[one.predicted], count=one.count,
                share=one.share,
            )
            for one in pairs
        ),
        calibration=calibration, calibrated_on=fitted_on,
        engine=predictions.facts.get("engine", ""),
        notes=(*examined.notes, *filter(None, [why_optimistic(examined.own_split)]), *notes),
    )  # fmt: skip
    return _keep(examined, evaluation)


def _calibration(
    examined: Examined,
    *,
    registry: Registry,
    engine: str,
    progress: Callable[[str, int, int], None],
    noted: Callable[[str], None],
) -> tuple[Calibration | None, str, list[str]]:
    """Returns what temperature scaling does, the split it was fitted on, and notes."""
    shown = examined.predictions
    if examined.own_split == "val":
        note = "the temperature was fitted on the images that it is tried on"
        return calibrate(shown, shown), "val", [note]
    try:
        validation = examine(
            examined.folder.path, split="val", registry=registry, engine=engine, need_labels=True,
            progress=progress, noted=noted,
        ).predictions  # fmt: skip
    except ZooError as error:  # the run's own data may be on another machine
        return None, "", [f"no temperature was fitted: {error.brief}"]
    notes = []
    if examined.own_split == ALL:
        notes.append("the temperature was fitted on some of the images that it is tried on")
    return calibrate(validation, shown), "val", notes


def _keep(examined: Examined, evaluation: Evaluation) -> Evaluation:
    """Writes an evaluation into the run folder, under the name of its predictions."""
    name = f"evaluation/{examined.stem}.json"
    # ASCII, since a class may be named after a folder whose name is no UTF-8.
    body = {
        **evaluation.as_dict(),
        "run": evaluation.run.name,
        "facts": dict(examined.predictions.facts),
    }
    try:
        make_folder(examined.folder.path / "evaluation")
        examined.folder.write_text(name, json.dumps(body, indent=1, ensure_ascii=True) + "\n")
    except (MachineError, OSError) as error:
        reason = error.what if isinstance(error, MachineError) else printable(error)
        return replace(
            evaluation, notes=(*evaluation.notes, f"the evaluation was not kept: {reason}")
        )
    return evaluation
