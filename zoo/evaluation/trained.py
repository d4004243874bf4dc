"""The best weights of a run as a classifier that takes pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import nn

from zoo.data.pixels.decode import as_rgb, open_image
from zoo.engine.assembly.heads import build_network
from zoo.errors import CheckpointError, UsageError, in_words, printable
from zoo.network.loading import restore
from zoo.protocols import Preprocessing
from zoo.registry import Registry, parse_choice
from zoo.registry.absent import refuse_missing
from zoo.runs.folder import RunFolder

__all__ = ["FORMAT", "Trained", "load_trained", "rebuilt"]

FORMAT = 1
"""The newest form of ``best/model.json`` that is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A trained classifier.

    Args:
        path: The run folder it comes from.
        model: The network with the best weights, in evaluation mode, on the CPU.
        classes: Class names, position is index.
        channels: 3 for colour, 1 for grey.
        preprocessing: How pictures become its input.
        multi_label: Whether a picture can have any number of labels.
        digest: SHA-256 of the weights file; empty where they come from no run.
    """

    path: Path
    model: nn.Module
    classes: tuple[str, ...]
    channels: int
    preprocessing: Preprocessing
    multi_label: bool = False
    digest: str = ""

    def probabilities(
        self,
        images: Iterable[Image | Path | str],
        *,
        tta: str | None = None,
        engine: str = "auto",
    ) -> torch.Tensor:
        """Returns the probability of each class for each picture, float32 of shape (N, K).

        Rows sum to one, unless a picture can have several labels.

        Args:
            images: Files or Pillow's pictures, any number: a few are decoded at a time. A picture
                is read as its file would be: upright, transparency on white, 16 bits scaled to 8.
            tta: Test-time augmentation, as ``zoo predict --tta``.
            engine: ``auto``, ``torch``, ``folded``, ``onnx`` or ``openvino``.

        Raises:
            UsageError: One is neither a file nor a picture of Pillow's.
            DataError: A file is not a readable image. The message names it.
            NonFiniteError: The network gives NaN for one.
        """
        from zoo.cores import num_cores
        from zoo.evaluation.predict.pictures import pictures_of
        from zoo.evaluation.predict.predictor import (
            Predictor,
            probabilities_of,
            refuse_non_finite,
        )

        images = _several(images)
        predictor = Predictor.of([self], tta=tta, engine=engine, num_images=len(images))
        given, logits = _Given(images), [torch.zeros(0, len(self.classes))]
        for pictures in pictures_of(given, predictor.geometries, num_threads=num_cores()):
            for row in pictures.bad:
                given.read(row)  # says why not, by name
            logits.append(predictor.logits(pictures.squares))
        probabilities_NK = probabilities_of(torch.cat(logits), multi_label=self.multi_label)
        refuse_non_finite(probabilities_NK, given.name)
        return probabilities_NK

    def predict(self, images: Iterable[Image | Path | str]) -> list[str]:
        """Returns the most probable class of each picture, even where several may hold."""
        if not (images := _several(images)):
            return []
        return [self.classes[int(index)] for index in self.probabilities(images).argmax(1)]


def _several(
    images: Image | Path | str | Iterable[Image | Path | str],
) -> Sequence[Image | Path | str]:
    """Returns what was given as a sequence: one picture, or several."""
    if isinstance(images, str | Path | Image) or not isinstance(images, Iterable):
        return [images]
    return images if isinstance(images, Sequence) else list(images)


class _Given:
    """Pictures from a caller: files, and such as are decoded already."""

    def __init__(self, images: Sequence[Image | Path | str]) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def name(self, index: int) -> str:
        image = self._images[index]
        return str(image) if isinstance(image, str | Path) else f"picture {index + 1}"

    def source(self, index: int) -> Path | None:
        image = self._images[index]
        return Path(image) if isinstance(image, str | Path) else None

    def read(self, index: int) -> Image:
        image = self._images[index]
        if isinstance(image, str | Path):
            return open_image(Path(image), name=str(image))
        if not isinstance(image, Image):
            raise UsageError(
                f"{self.name(index)} is neither a path nor a picture of Pillow's",
                found=f"{type(image).__module__}.{type(image).__qualname__}",
                hint="PIL.Image.fromarray(pixels) makes a picture of an array of bytes",
            )
        return as_rgb(image, name=self.name(index))


def load_trained(path: Path, *, registry: Registry) -> Trained:
    """Returns the best weights of a run as a classifier.

    Raises:
        UsageError: It is no run folder.
        CheckpointError: There are no weights, they do not belong together, or they were written by
            a newer zoo.
        PluginError: The plugin of the model is missing.
    """
    folder = RunFolder.open(path)
    _refuse_newer(folder)
    weights, description = folder.read_best()
    try:
        components: dict[str, Any] = description["components"]
        spec, package = _said(components["model"])
        head = _said(components["head"]) if "head" in components else None
        classes = tuple(map(str, description["classes"]))
        channels = int(description["channels"])
        preprocessing = Preprocessing.from_mapping(description["preprocessing"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"the run {printable(path)} does not say what its weights are of",
            found=f"best/model.json: {type(error).__name__} {printable(error)}",
            hint="it was written by another version of zoo, or changed by hand",
        ) from None
    refuse_missing(components, registry, run=path, parts=("model", "head"))
    if head is not None:
        spec = f"{spec} with the head {head[0]}"
        package = " and ".join(dict.fromkeys((package, head[1])))
    model = rebuilt(
        components, registry, num_classes=len(classes), channels=channels,
        image_size=preprocessing.image_size,
    )  # fmt: skip
    try:
        restore(model, weights)
    except RuntimeError as error:
        raise CheckpointError(
            f"the weights of {printable(path)} do not fit {printable(spec)} as it is now",
            found=in_words(error, kind=False),
            hint=f"they were made with {printable(package)}",
        ) from None
    return Trained(
        path=path, model=model.eval(), classes=classes, channels=channels,
        preprocessing=preprocessing, multi_label=bool(description.get("multi_label", False)),
        digest=str(description["sha256"]),
    )  # fmt: skip


def rebuilt(
    components: Mapping[str, Any],
    registry: Registry,
    *,
    num_classes: int,
    channels: int,
    image_size: int,
) -> nn.Module:
    """Returns a run's network with random weights.

    Args:
        components: What the run stores: the spec of its model, and of its head where it has one.
        registry: The components there are.
        num_classes: Outputs.
        channels: 3 for colour, 1 for grey.
        image_size: Side of the input, pixels.
    """
    model = parse_choice(registry, "model", str(components["model"]["spec"]))
    head = None
    if "head" in components:
        head = parse_choice(registry, "head", str(components["head"]["spec"]))
    return build_network(
        model, head, num_classes=num_classes, channels=channels, image_size=image_size
    )


def _said(component: Mapping[str, Any]) -> tuple[str, str]:
    """Returns spec and package of a component as a run stores it."""
    return str(component["spec"]), str(component["package"])


def _refuse_newer(folder: RunFolder) -> None:
    """Refuses a run that a newer zoo wrote, before anything else in it is read."""
    if not (folder.path / "best" / "model.json").is_file():
        return
    description = folder.read_json("best/model.json")
    written = description.get("format", FORMAT) if isinstance(description, dict) else FORMAT
    if isinstance(written, int) and written > FORMAT:
        raise CheckpointError(
            f"the run {printable(folder.path)} was made by a newer zoo",
            found=f"made by format {written}, this zoo reads {FORMAT}",
            hint="pip install -U classifier-zoo",
        )
