"""Images from anywhere, each with the heat of the places that speak for a class.

Shapes: B batch, C channels, S side of the network's input in pixels, K classes.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from zoo.cores import num_cores
from zoo.data.subset import SomeImages
from zoo.errors import DataError, UsageError, printable
from zoo.evaluation.interpretation.heatmaps import explainer_for, normalised, pictures
from zoo.evaluation.predict.pictures import Geometry, pictures_of
from zoo.evaluation.predict.predictor import probabilities_of, refuse_non_finite

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image
    from torch import Tensor

    from zoo.evaluation.interpretation.subjects import Subjects
    from zoo.evaluation.trained import Trained
    from zoo.registry import Registry

__all__ = ["Explained", "Explanations", "explained"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explained:
    """An image with its heat.

    Args:
        name: What a person calls it.
        image: As the network sees it, RGB of S x S pixels.
        heat_SS: How much each place speaks for the class, float32 in 0..1.
        class_name: The class that is explained.
        probability: What the network gives it, 0..1.
        label: What the image is, empty where that is not known.
    """

    name: str
    image: Image.Image
    heat_SS: NDArray[np.float32]
    class_name: str
    probability: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanations:
    """Images with their heat, and those that could not be read.

    Args:
        explained: In their order.
        bad: Name to reason.
        left_out: How many more images there are.
    """

    explained: Sequence[Explained]
    bad: Mapping[str, str] = field(default_factory=dict)
    left_out: int = 0


def explained(
    subjects: Subjects,
    *,
    explainer: str = "gradcam",
    class_name: str | None = None,
    count: int | None = None,
    registry: Registry | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Explanations:
    """Returns images with heat for a class.

    Args:
        subjects: The network and the images.
        explainer: Spec of an explainer.
        class_name: The class to explain; by default the most probable one of each image.
        count: At most so many images, evenly spread over them all; None for all.
        registry: The components to choose from; by default all that are installed.
        progress: Told how many images are done, of how many.

    Raises:
        UsageError: There is no such class, or the network has no layer with height and width.
        PluginError: The explainer's package is not installed.
        DataError: None of the images can be read.
        NonFiniteError: The network gives NaN for an image.
    """
    trained, images = subjects.trained, subjects.images
    wanted = None if class_name is None else _index(trained.classes, class_name)
    total = len(images) if count is None else min(count, len(images))
    found, bad = list[Explained](), dict[str, str]()
    rows_M = np.linspace(0, len(images), total, endpoint=False).astype(np.int64)
    chosen = SomeImages(images, rows_M)
    geometry = Geometry.of(trained.preprocessing, trained.channels)
    heat_of = explainer_for(trained, explainer, registry)
    for part in pictures_of(chosen, [geometry], num_threads=num_cores()):
        bad |= {chosen.name(row): why for row, why in part.bad.items()}
        if len(part.good_B):
            logits_BK = _logits(trained, part.squares[0])
            probabilities_BK = probabilities_of(logits_BK, multi_label=trained.multi_label)
            names = [chosen.name(row) for row in part.good_B.tolist()]
            refuse_non_finite(probabilities_BK, names.__getitem__)
            classes_B = logits_BK.argmax(1)
            if wanted is not None:
                classes_B = torch.full_like(classes_B, wanted)
            heat_BSS = heat_of(part.squares[0], classes_B).numpy()
            found += [
                Explained(
                    name=name, image=image, heat_SS=heat_SS,
                    class_name=trained.classes[index], label=subjects.labels[rows_M[row]],
                    probability=float(probabilities_K[index]),
                )
                for row, name, image, heat_SS, index, probabilities_K in zip(
                    part.good_B.tolist(), names, pictures(part.squares[0]), heat_BSS,
                    classes_B.tolist(), probabilities_BK, strict=True,
                )
            ]  # fmt: skip
        progress(part.rows.stop, total)
    if not found:
        name, why = next(iter(bad.items()), ("", "there are no images"))
        raise DataError(f"none of {total} images can be read", found=f"{printable(name)}: {why}")
    return Explanations(explained=found, bad=bad, left_out=len(images) - total)


def _logits(trained: Trained, bytes_BCSS: Tensor) -> Tensor:
    with torch.inference_mode():
        logits_BK: Tensor = trained.model(normalised(trained, bytes_BCSS)).float()
        return logits_BK


def _index(classes: Sequence[str], name: str) -> int:
    """Returns the place of a class."""
    if name in classes:
        return classes.index(name)
    close = difflib.get_close_matches(name, classes, n=3, cutoff=0.4)
    raise UsageError(
        f"the run knows no class {printable(name)!r}",
        found=f"{len(classes)} classes, such as {', '.join(map(printable, close or classes[:5]))}",
        hint="leave --class away to explain the predicted one",
    )
