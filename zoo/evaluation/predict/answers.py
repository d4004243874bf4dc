"""From run folders and images to predictions: the story of ``zoo predict``."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from zoo.cores import num_cores
from zoo.errors import DataError, UsageError, printable
from zoo.evaluation.predict.pictures import pictures_of
from zoo.evaluation.predict.predictor import Predictor, has_numbers, probabilities_of
from zoo.evaluation.predict.records import Columns, Prediction, predictions_of
from zoo.evaluation.trained import load_trained

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.protocols import Images
    from zoo.registry import Registry

__all__ = ["OnBadImage", "Tally", "ask", "open_predictor"]

OnBadImage: TypeAlias = Literal["row", "skip", "fail"]
"""What becomes of an image that cannot be read: a row with the error, no row, or the end."""


_NO_NUMBERS = "the network gives NaN for it"


@dataclass(slots=True, kw_only=True)
class Tally:
    """How it went.

    Args:
        num_images: How many images were asked about.
        num_bad: How many of them have no prediction.
        first_bad: The first of them with its reason.
        seconds: From the first image read to the last answer.
        engine: How the networks were computed.
    """

    num_images: int = 0
    num_bad: int = 0
    first_bad: str = ""
    seconds: float = 0.0
    engine: str = ""

    @property
    def images_per_second(self) -> float:
        """Decoding, choice of the engine and writing included."""
        return self.num_images / max(self.seconds, 1e-9)


def open_predictor(
    runs: Sequence[Path],
    *,
    registry: Registry,
    num_images: int,
    tta: str | None = None,
    tta_views: int | None = None,
    engine: str = "auto",
    noted: Callable[[str], None] = lambda line: None,
) -> Predictor:
    """Returns the networks of runs, to be asked together.

    Raises:
        UsageError: No run is given, one is none, or they do not know the same classes.
        CheckpointError: One has no weights that can be used.
        PluginError: The plugin of a model is missing.
    """
    if not runs:
        raise UsageError("no run is given", hint="zoo predict runs/NAME photos/")
    trained = [load_trained(path, registry=registry) for path in runs]
    return Predictor.of(
        trained, registry=registry, tta=tta, tta_views=tta_views, engine=engine,
        num_images=num_images, noted=noted,
    )  # fmt: skip


def ask(
    predictor: Predictor,
    images: Images,
    columns: Columns,
    *,
    on_bad: OnBadImage = "row",
    num_threads: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    tally: Tally | None = None,
) -> Generator[list[Prediction]]:
    """Yields what is said about all images, in their order, some at a time.

    A prediction for every image: one that cannot be read, or for which the network gives NaN, has
    its error, whoever leaves it out.

    Args:
        predictor: The networks.
        images: What to ask about.
        columns: What is wanted of each answer.
        on_bad: ``fail`` ends at the first image without a prediction.
        num_threads: How many threads decode; by default one for each core.
        progress: Told how many are done, of how many.
        tally: Counts on the way.

    Raises:
        DataError: With ``on_bad="fail"``, the first image without a prediction.
    """
    tally = Tally() if tally is None else tally
    began, total = time.perf_counter(), len(images)
    threads = num_cores() if num_threads is None else num_threads
    batches = pictures_of(images, predictor.geometries, num_threads=threads)
    with closing(predictor), closing(batches):
        for pictures in batches:
            bad = dict(pictures.bad)
            said: Iterator[Prediction] = iter(())
            if len(pictures.good_B):
                probabilities_BK = _probabilities(predictor, pictures.squares)
                good_B = has_numbers(probabilities_BK)
                bad |= dict.fromkeys(pictures.good_B[~good_B.numpy()].tolist(), _NO_NUMBERS)
                names = [images.name(row) for row in pictures.rows if row not in bad]
                said = predictions_of(probabilities_BK[good_B], names, columns)
            for row, reason in sorted(bad.items()):
                tally.first_bad = tally.first_bad or f"{printable(images.name(row))}: {reason}"
                if on_bad == "fail":
                    raise DataError(
                        f"there is no prediction for the image {printable(images.name(row))}",
                        found=reason,
                        hint="--on-bad row writes the error down, --on-bad skip leaves it out",
                    )
            predictions = [
                Prediction(image=images.name(row), error=bad[row]) if row in bad else next(said)
                for row in pictures.rows
            ]
            tally.num_images += len(pictures.rows)
            tally.num_bad += len(bad)
            tally.engine = predictor.engine_name
            yield predictions
            tally.seconds = time.perf_counter() - began
            progress(tally.num_images, total)


def _probabilities(predictor: Predictor, squares: Sequence[Tensor]) -> Tensor:
    return probabilities_of(predictor.logits(squares), multi_label=predictor.multi_label)
