"""One call of ``zoo predict``: which runs, which images, what is wanted of each answer."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, cast

from zoo.config import RunConfig, load_config
from zoo.errors import UsageError, printable
from zoo.evaluation.predict.answers import OnBadImage, Tally, ask, open_predictor
from zoo.evaluation.predict.inputs import Inputs, collect, true_labels
from zoo.evaluation.predict.predictor import Predictor
from zoo.evaluation.predict.records import Columns, Prediction
from zoo.evaluation.subjects import other_data, own_data, split_of

if TYPE_CHECKING:
    from zoo.protocols import DataSet, Images, OnBad, Split
    from zoo.registry import Registry

__all__ = ["Session", "runs_first"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Session:
    """Runs, images, and what is wanted. Opened, nothing has been predicted yet.

    Args:
        predictor: The networks.
        images: What they are asked about.
        columns: What is wanted of each answer.
        truths: What images are, by position, as far as that is known.
        notes: What was left out, a line each.
    """

    predictor: Predictor
    images: Images
    columns: Columns
    truths: Mapping[int, str]
    notes: Sequence[str] = ()

    @classmethod
    def open(
        cls,
        runs: Sequence[str | PathLike[str]],
        paths: Iterable[str | PathLike[str]],
        *,
        registry: Registry,
        manifest: str | PathLike[str] | None = None,
        data: str | None = None,
        split: str | None = None,
        stdin: Callable[[], Iterable[str]] | None = None,
        top_k: int = 0,
        probabilities: bool = False,
        threshold: float | None = None,
        tta: str | None = None,
        tta_views: int | None = None,
        engine: str = "auto",
        on_bad: OnBadImage = "row",
        noted: Callable[[str], None] = lambda line: None,
    ) -> Session:
        """Returns a session.

        Args:
            runs: Run folders; the probabilities of several are averaged.
            paths: Files, folders, patterns, tables; ``-`` where ``stdin`` is given.
            registry: The components to choose from.
            manifest: A table of paths, besides.
            data: A data set instead of paths, as ``--data`` takes it.
            split: Of that data set, or without one of the data that the first run was trained on.
            stdin: Returns the names on standard input.
            top_k: How many of the most probable classes are wanted.
            probabilities: Whether those of all classes are.
            threshold: Probability above which an image has a label, where it can have several; 0.5.
            tta: Test-time augmentation.
            tta_views: How many views, where that is a transform.
            engine: How networks are computed.
            on_bad: With ``skip`` a data set is read without what cannot be used. Images of a folder
                that cannot be read are for :meth:`ask`.
            noted: Told which engine was chosen, and why.

        Raises:
            ZooError: Whatever is wrong with runs, images or options.
        """
        folders, given = [Path(run) for run in runs], list(paths)
        by_data = data is not None or split is not None
        if by_data and (given or manifest is not None):
            raise UsageError(
                "--data and --split name the images, and so do paths", hint="give one of the two"
            )
        inputs, labels = Inputs(), dict[int, str]()
        if not by_data:
            inputs = collect(given, manifest=manifest, stdin=stdin)
        images: Images = inputs
        notes: Sequence[str] = inputs.notes
        predictor = open_predictor(
            folders, registry=registry, num_images=len(images), tta=tta, tta_views=tta_views,
            engine=engine, noted=noted,
        )  # fmt: skip
        if threshold is not None and not predictor.multi_label:
            raise UsageError(
                "--threshold has no effect where an image has one label",
                hint="--probabilities writes the probability of every class",
            )
        if by_data:
            part, found = _split_images(
                folders[0], data, split, classes=predictor.classes, registry=registry,
                skip=on_bad == "skip",
            )  # fmt: skip
            images, labels, notes = part.images, _labels(part, found), found.notes
            predictor.num_images = len(images)
        truths = labels if by_data else true_labels(inputs, predictor.classes)
        columns = Columns(
            classes=predictor.classes, top_k=min(top_k, len(predictor.classes)),
            probabilities=probabilities, multi_label=predictor.multi_label,
            threshold=0.5 if threshold is None else threshold,
        )  # fmt: skip
        return cls(predictor=predictor, images=images, columns=columns, truths=truths, notes=notes)

    def ask(
        self,
        *,
        on_bad: OnBadImage = "row",
        num_threads: int | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
        tally: Tally | None = None,
    ) -> Generator[list[Prediction]]:
        """Yields a prediction for every image, in their order, some at a time."""
        return ask(
            self.predictor, self.images, self.columns, on_bad=on_bad, num_threads=num_threads,
            progress=progress, tally=tally,
        )  # fmt: skip


def runs_first(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the run folders that arguments begin with, and the rest.

    Raises:
        UsageError: The first argument is no run folder.
    """
    count = 0
    while count < len(arguments) and (Path(arguments[count]) / "config.toml").is_file():
        count += 1
    if not count:
        raise UsageError(
            f"{printable(arguments[0])} is not a run folder" if arguments else "no run is given",
            found="no config.toml there" if arguments else "",
            hint="zoo predict runs/NAME photos/",
        )
    return list(arguments[:count]), list(arguments[count:])


def _split_images(
    run: Path,
    data: str | None,
    split: str | None,
    *,
    classes: Sequence[str],
    registry: Registry,
    skip: bool,
) -> tuple[Split, DataSet]:
    """Returns a split, and the data set that it is of."""
    path = run / "config.toml"
    config = RunConfig.from_mapping(load_config(path), source=printable(path))
    on_bad = "skip" if skip else cast("OnBad", config.on_bad)
    found = own_data(config, registry, run=run) if data is None else other_data(
        data, classes=classes, seed=config.seed, on_bad=on_bad, registry=registry, keep_bad=True
    )  # fmt: skip
    return split_of(found, split, own=data is None)[1], found


def _labels(part: Split, data: DataSet) -> dict[int, str]:
    """Returns what images are, by position; nothing where one can have several labels."""
    if data.multi_label:
        return {}
    labels = part.labels_N.tolist()
    return {i: data.classes[label] for i, label in enumerate(labels) if label >= 0}
