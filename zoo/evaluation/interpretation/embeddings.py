"""What a network makes of images just before its head: a row of numbers an image.

Images that are alike to the network have embeddings that are near each other.

Shapes: N images, B batch, D numbers an embedding, C channels, S side in pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from zoo.cores import num_cores
from zoo.data.pixels.normalise import as_normalised
from zoo.disk import atomic_file, machine_errors
from zoo.errors import DataError, PluginError, printable
from zoo.evaluation.predict.cells import unicode_text
from zoo.evaluation.predict.pictures import Geometry, pictures_of
from zoo.evaluation.predict.predictor import probabilities_of, refuse_non_finite
from zoo.network.head import find_head

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.evaluation.interpretation.subjects import Subjects
    from zoo.evaluation.trained import Trained

__all__ = ["SUFFIXES", "Embeddings", "embed", "write_embeddings"]

SUFFIXES = (".npz", ".parquet")
"""Endings of the files that are written."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Embeddings:
    """Embeddings of the images that could be read, in their order.

    Args:
        embeddings_ND: The head's input, float32.
        names: What a person calls each image.
        labels: What each is, empty where that is not known; several labels joined by ``|``.
        predicted: The most probable class of each.
        probability_N: How probable it is, float32 in 0..1.
        classes: Class names as the run has them.
        bad: Images that could not be read, name to reason.
    """

    embeddings_ND: NDArray[np.float32]
    names: tuple[str, ...]
    labels: tuple[str, ...]
    predicted: tuple[str, ...]
    probability_N: NDArray[np.float32]
    classes: tuple[str, ...]
    bad: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)


def embed(
    subjects: Subjects, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> Embeddings:
    """Returns the embeddings of images, from one pass over them.

    Where a head takes a map or tokens, these are averaged over their places.

    Args:
        subjects: The network and the images.
        progress: Told how many images are done, of how many.

    Raises:
        DataError: None of the images can be read.
        PluginError: The network does not call its head once, with one tensor.
        NonFiniteError: The network gives NaN for an image.
    """
    trained, images = subjects.trained, subjects.images
    geometry = Geometry.of(trained.preprocessing, trained.channels)
    features, probabilities, rows, bad = [], [], list[int](), dict[str, str]()
    for pictures in pictures_of(images, [geometry], num_threads=num_cores()):
        bad |= {images.name(row): why for row, why in pictures.bad.items()}
        rows += pictures.good_B.tolist()
        if len(pictures.good_B):
            features_BD, logits_BK = _features(trained, pictures.squares[0])
            features.append(features_BD)
            probabilities.append(probabilities_of(logits_BK, multi_label=trained.multi_label))
        progress(pictures.rows.stop, len(images))
    if not rows:
        name, why = next(iter(bad.items()))
        raise DataError(f"none of {len(bad)} images can be read", found=f"{printable(name)}: {why}")
    probabilities_NK = torch.cat(probabilities)
    refuse_non_finite(probabilities_NK, lambda row: images.name(rows[row]))
    best = probabilities_NK.max(1)
    return Embeddings(
        embeddings_ND=torch.cat(features).numpy(), classes=trained.classes, bad=bad,
        names=tuple(images.name(row) for row in rows),
        labels=tuple(subjects.labels[row] for row in rows),
        predicted=tuple(trained.classes[index] for index in best.indices.tolist()),
        probability_N=best.values.numpy(),
    )  # fmt: skip


def _features(trained: Trained, bytes_BCSS: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the head's input features_BD and logits_BK of one batch, float32."""
    given: list[object] = []

    def at_head(_: torch.nn.Module, args: tuple[object, ...]) -> None:
        # A copy: a head that works in place would change what it was given.
        given.append(args[0].clone() if len(args) == 1 and isinstance(args[0], Tensor) else None)

    preprocessing = trained.preprocessing
    images_BCSS = as_normalised(bytes_BCSS, preprocessing.mean, preprocessing.std)
    name = find_head(trained.model, num_classes=len(trained.classes))[0]
    handle = trained.model.get_submodule(name).register_forward_pre_hook(at_head)
    try:
        with torch.inference_mode():
            logits_BK: Tensor = trained.model(images_BCSS)
    finally:
        handle.remove()
    features = given[0] if len(given) == 1 else None
    if not isinstance(features, Tensor) or len(features) != len(images_BCSS):
        raise PluginError(
            f"{type(trained.model).__name__} has no embeddings: its head {name!r} is not called "
            "once, with one tensor",
            found=f"it is called {len(given)} times for a batch",
        )
    features = features.float()
    if features.ndim == 4:
        features = features.mean((2, 3))
    elif features.ndim > 2:
        features = features.flatten(1, -2).mean(1)
    return features, logits_BK.float()


def write_embeddings(path: Path, embeddings: Embeddings) -> None:
    r"""Writes embeddings as ``.npz`` or ``.parquet``, whole or not at all.

    The arrays of an ``.npz`` need no pickle: ``embeddings`` (N, D) float32; ``names``, ``labels``,
    ``predicted`` and ``classes`` are texts, ``probability`` is float32. A Parquet file has a row an
    image with columns of the same names, the embedding as a list of D numbers. A byte of a file
    name that is no UTF-8 is written as ``\xff``.

    Raises:
        MachineError: The file cannot be written.
    """
    kind = _write_parquet if path.suffix.lower() == ".parquet" else _write_npz
    with machine_errors("writing", path):
        atomic_file(path, lambda beside: kind(beside, embeddings))


def _texts(embeddings: Embeddings) -> dict[str, list[str]]:
    columns = ("names", embeddings.names), ("labels", embeddings.labels), (
        "predicted", embeddings.predicted,
    )  # fmt: skip
    return {name: [unicode_text(text) for text in texts] for name, texts in columns}


def _write_npz(path: Path, embeddings: Embeddings) -> None:
    texts = {name: np.array(values, dtype=np.str_) for name, values in _texts(embeddings).items()}
    with path.open("wb") as file:
        np.savez_compressed(
            file, allow_pickle=False, embeddings=embeddings.embeddings_ND, **texts,
            probability=embeddings.probability_N,
            classes=np.array([unicode_text(name) for name in embeddings.classes], dtype=np.str_),
        )  # fmt: skip


def _write_parquet(path: Path, embeddings: Embeddings) -> None:
    import pyarrow
    from pyarrow import parquet

    size = embeddings.embeddings_ND.shape[1]
    flat = pyarrow.array(embeddings.embeddings_ND.reshape(-1))
    parquet.write_table(
        pyarrow.table({
            **{name: pyarrow.array(values, pyarrow.string())
               for name, values in _texts(embeddings).items()},
            "probability": pyarrow.array(embeddings.probability_N),
            "embeddings": pyarrow.FixedSizeListArray.from_arrays(flat, size),
        }),
        path, compression="zstd",
    )  # fmt: skip
