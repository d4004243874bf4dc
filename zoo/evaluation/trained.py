"""The best weights of a run as a classifier that takes pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from zoo.data.pixels.decode import open_image
from zoo.data.pixels.resize import needed_sides, to_bytes
from zoo.errors import CheckpointError, UnknownName
from zoo.protocols import Preprocessing
from zoo.registry import Registry, build, parse_choice
from zoo.runs.folder import RunFolder

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Trained", "load_trained"]


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
    """

    path: Path
    model: nn.Module
    classes: tuple[str, ...]
    channels: int
    preprocessing: Preprocessing
    multi_label: bool = False

    def probabilities(self, images: Sequence[Image | Path | str]) -> torch.Tensor:
        """Returns the probability of each class for each picture, float32 of shape (N, K).

        Rows sum to one, unless a picture can have several labels.

        Raises:
            DataError: A file is not a readable image. The message names it.
        """
        sides = needed_sides(self.preprocessing)
        opened = [
            open_image(Path(i), name=str(i), at_least=sides) if isinstance(i, str | Path) else i
            for i in images
        ]
        bytes_NCSS = torch.stack(
            [to_bytes(image, self.preprocessing, self.channels) for image in opened]
        )
        mean, std = (
            torch.tensor(values if len(values) == self.channels else [sum(values) / len(values)])
            for values in (self.preprocessing.mean, self.preprocessing.std)
        )
        images_NCSS = (bytes_NCSS.float() / 255 - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1)
        with torch.inference_mode():
            logits_NK: torch.Tensor = self.model(images_NCSS)
            return logits_NK.float().sigmoid() if self.multi_label else logits_NK.float().softmax(1)

    def predict(self, images: Sequence[Image | Path | str]) -> list[str]:
        """Returns the most probable class of each picture, even where several may hold."""
        return [self.classes[int(index)] for index in self.probabilities(images).argmax(1)]


def load_trained(path: Path, *, registry: Registry) -> Trained:
    """Returns the best weights of a run as a classifier.

    Raises:
        CheckpointError: There are none, they do not belong together, or the plugin is missing.
    """
    folder = RunFolder.open(path)
    weights, description = folder.read_best()
    component: dict[str, Any] = description["components"]["model"]
    try:
        choice = parse_choice(registry, "model", component["spec"])
    except UnknownName as error:
        raise CheckpointError(
            f"the run {path} was made with {component['spec']}, which is not installed",
            found=error.found,
            hint=f"pip install '{component['package'].replace(' ', '==')}'",
        ) from None
    preprocessing = Preprocessing.from_mapping(description["preprocessing"])
    model: nn.Module = build(
        choice, num_classes=len(description["classes"]), channels=description["channels"],
        image_size=preprocessing.image_size,
    )  # fmt: skip
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(
            f"the weights of {path} do not fit {component['spec']} as it is now",
            found=" ".join(str(error).split())[:200],
            hint=f"they were made with {component['package']}",
        ) from None
    return Trained(
        path=path, model=model.eval(), classes=tuple(description["classes"]),
        channels=description["channels"], preprocessing=preprocessing,
        multi_label=description.get("multi_label", False),
    )  # fmt: skip
