"""Images whose label may be wrong, the most suspicious first, for a person to look at.

Nothing is changed or removed: a reviewer is right about some of its candidates and a rare kind of
image looks like a wrong label to every one of them.

Shapes: N images, K classes.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo.disk import atomic_file, machine_errors
from zoo.errors import DataError, PluginError, UsageError, printable
from zoo.evaluation.predict.cells import safe_cell
from zoo.evaluation.subjects import ALL
from zoo.registry import Registry, build, parse_choice
from zoo.registry.loading import blamed

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    from zoo.evaluation.examined import Examined
    from zoo.protocols import Reviewer

__all__ = ["Candidate", "Review", "review", "write_review"]

_HEADER = ("rank", "image_id", "split", "label", "suggested", "suspicion", "probability_label",
           "probability_suggested")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An image whose label may be wrong.

    Args:
        place: Which of the examined splits it is in, and its index there.
        name: What a person calls it.
        split: Its split.
        label: What the data says it is.
        suggested: The most probable other class.
        suspicion: Above 0 to 1, greater for one to look at sooner.
        probability_label: What the classifier gives the label, 0..1.
        probability_suggested: What it gives the suggestion, 0..1.
    """

    place: tuple[int, int]
    name: str
    split: str
    label: str
    suggested: str
    suspicion: float
    probability_label: float
    probability_suggested: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What a reviewer found.

    Args:
        candidates: The most suspicious first.
        num_images: How many images with a label it looked at.
        reviewer: Its id.
        examined: What was reviewed.
        notes: What the user should know, a line each.
    """

    candidates: Sequence[Candidate]
    num_images: int
    reviewer: str
    examined: Sequence[Examined] = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def data(self) -> str:
        """What was reviewed, in a few words."""
        runs = f" of {len(self.examined)} runs" if len(self.examined) > 1 else ""
        return f"{self.examined[0].data.name}, {self.examined[0].split}{runs}"

    def picture(self, candidate: Candidate) -> Image:
        """Returns the image of a candidate."""
        which, index = candidate.place
        return self.examined[which].picture(index)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Judged:
    """Images with a label, each once, and what classifiers say about them."""

    places: list[tuple[int, int]]
    names: list[str]
    splits: list[str]
    labels_N: NDArray[np.int64]
    probabilities_NK: NDArray[np.float32]


def review(
    examined: Sequence[Examined],
    *,
    reviewer: str = "confident-learning",
    registry: Registry | None = None,
) -> Review:
    """Returns the images of examined splits whose labels may be wrong.

    Args:
        examined: A run and a split; or several, such as the folds of a cross-validation, each with
            the images that it did not train on. What several say of one image is averaged.
        reviewer: Spec of a reviewer.
        registry: The components to choose from; by default all that are installed.

    Raises:
        UsageError: An image can have several labels, or runs have different classes.
        DataError: No image has a label, or there is one class only.
        PluginError: The reviewer returns no suspicions.
    """
    choice = parse_choice(registry or Registry.installed(), "reviewer", reviewer)
    classes = _classes(examined)
    judged = _judged(examined)
    reviewing: Reviewer = build(choice)
    labels_N, probabilities_NK = judged.labels_N, judged.probabilities_NK
    with blamed([choice]):
        suspicion_N = np.asarray(reviewing(probabilities_NK, labels_N), dtype=np.float32)
    if suspicion_N.shape != labels_N.shape or not np.isfinite(suspicion_N).all():
        raise PluginError(
            f"the reviewer {choice.entry.id} did not return a suspicion for each image",
            found=f"shape {suspicion_N.shape} for {len(labels_N)} images, or no finite numbers",
        )
    others_NK = probabilities_NK.copy()
    others_NK[np.arange(len(labels_N)), labels_N] = -1
    suggested_N = others_NK.argmax(axis=1)
    ranked = np.argsort(-suspicion_N, kind="stable")
    notes = dict.fromkeys(note for one in examined for note in one.notes)
    return Review(
        candidates=[
            Candidate(
                place=judged.places[row], name=judged.names[row], split=judged.splits[row],
                label=classes[labels_N[row]], suggested=classes[suggested_N[row]],
                suspicion=float(suspicion_N[row]),
                probability_label=float(probabilities_NK[row, labels_N[row]]),
                probability_suggested=float(probabilities_NK[row, suggested_N[row]]),
            )
            for row in ranked[suspicion_N[ranked] > 0].tolist()
        ],
        num_images=len(labels_N), reviewer=choice.entry.id, examined=tuple(examined),
        notes=(*notes, *_optimism(examined)),
    )  # fmt: skip


def _classes(examined: Sequence[Examined]) -> tuple[str, ...]:
    """Returns the classes of all runs, made sure that labels can be reviewed."""
    first = examined[0]
    classes, data = first.predictions.classes, printable(first.data.name)
    if any(one.predictions.multi_label for one in examined):
        raise UsageError(
            f"{data} gives an image several labels, and reviewers look at one label an image",
            hint="zoo report shows the images with the greatest loss",
        )
    other = next((one for one in examined if one.predictions.classes != classes), None)
    if other is not None:
        raise UsageError(
            "runs can only be reviewed together when they have the same classes",
            found=f"{printable(first.folder.path.name)} has {len(classes)}, "
            f"{printable(other.folder.path.name)} {len(other.predictions.classes)}, or others",
        )
    if len(classes) < 2:
        raise DataError(f"{data} has one class: no other label could be right")
    return classes


def _judged(examined: Sequence[Examined]) -> _Judged:
    """Returns the images that have a label; one that several runs looked at comes once."""
    rows: dict[tuple[str, str, int], int] = {}
    places, names, splits, sums, counts = [], list[str](), list[str](), [], list[int]()
    for which, one in enumerate(examined):
        split_of = _splits(one)
        labels = one.predictions.labels_N.tolist()
        probabilities_NK = one.predictions.probabilities_NK.numpy()
        for index, (name, label) in enumerate(zip(one.predictions.names, labels, strict=True)):
            if label < 0:
                continue
            # By name among runs. Within one, an image that is there twice is there twice.
            key = (name, "" if len(examined) > 1 else str(index), label)
            row = rows.setdefault(key, len(names))
            if row == len(names):
                places.append((which, index))
                names.append(name)
                splits.append(split_of[index])
                sums.append(probabilities_NK[index].astype(np.float64))
                counts.append(1)
            else:
                sums[row] = sums[row] + probabilities_NK[index]
                counts[row] += 1
    if not names:
        raise DataError(
            f"the split {examined[0].split} of {printable(examined[0].data.name)} has no labels "
            "to review",
            hint="choose another --split",
        )
    return _Judged(
        places=places, names=names, splits=splits,
        labels_N=np.asarray([label for _, _, label in rows], dtype=np.int64),
        probabilities_NK=(np.stack(sums) / np.asarray(counts)[:, None]).astype(np.float32),
    )  # fmt: skip


def _splits(examined: Examined) -> list[str]:
    """Returns the split of each image."""
    if examined.split != ALL or ALL in examined.data.splits:
        return [examined.split] * len(examined.predictions)
    return [name for name, part in examined.data.splits.items() for _ in range(len(part.images))]


def _optimism(examined: Sequence[Examined]) -> tuple[str, ...]:
    """Returns a warning where a classifier is asked about what it was taught."""
    taught = sum(_splits(one).count("train") for one in examined if one.own and one.as_trained)
    if not taught and all(one.as_trained or one.own_split != ALL for one in examined):
        return ()
    number = f"{taught:,}" if taught else "some"
    return (
        f"{number} of these images were trained on: the run has learned their labels, wrong ones "
        "too, so many do not show. Out-of-fold is better: zoo kfold, then zoo review of its folder",
    )


def write_review(path: Path, found: Review) -> None:
    """Writes candidates as CSV, whole or not at all. No cell is a formula to a spreadsheet.

    Raises:
        MachineError: The file cannot be written.
    """

    def write(beside: Path) -> None:
        with beside.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_HEADER)
            for rank, one in enumerate(found.candidates, start=1):
                texts = map(safe_cell, (one.name, one.split, one.label, one.suggested))
                numbers = one.suspicion, one.probability_label, one.probability_suggested
                writer.writerow([rank, *texts, *(f"{number:.6g}" for number in numbers)])

    with machine_errors("writing", path):
        atomic_file(path, write)
