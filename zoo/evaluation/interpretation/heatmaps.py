"""Which parts of an image speak for a class, as heat over the picture.

Shapes: N images, C channels, S side of the network's input in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from zoo.data.pixels.normalise import as_normalised
from zoo.data.pixels.store import Store
from zoo.network.head import find_head
from zoo.registry import Registry, build, parse_choice
from zoo.registry.loading import blamed

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from zoo.evaluation.examined import Examined
    from zoo.evaluation.trained import Trained
    from zoo.protocols import Explainer

__all__ = ["explain", "explainer_for", "heatmaps", "normalised", "overlay", "pictures"]

_PLACES = (0.0, 0.25, 0.5, 0.75, 1.0)
_VIRIDIS = ((68, 59, 33, 94, 253), (1, 82, 145, 201, 231), (84, 139, 140, 98, 37))
# Red, green and blue of viridis at its quarters: it rises evenly in lightness, so heat is read in
# print and by the colour-blind, too.


def heatmaps(
    examined: Examined,
    indices: Sequence[int],
    *,
    explainer: str = "gradcam",
    classes: Sequence[int] | None = None,
    registry: Registry | None = None,
) -> list[tuple[Image.Image, NDArray[np.float32]]]:
    """Returns images of an examined split as the network sees them, each with its heat.

    Args:
        examined: The run and the split.
        indices: Which images of the split.
        explainer: Spec of an explainer.
        classes: The class to explain for each image; by default the predicted one.
        registry: The components to choose from; by default all that are installed.

    Returns:
        Pairs of an RGB image of S x S pixels and heat_SS in 0..1 (:func:`overlay` draws both).

    Raises:
        UsageError: The network has no layer with height and width.
        PluginError: The explainer's package is not installed.
    """
    if not len(indices):
        return []
    trained = examined.trained
    store = Store.open(
        examined.part.images, preprocessing=trained.preprocessing,
        channels=trained.channels, budget_bytes=0, num_threads=0,
    )  # fmt: skip
    bytes_NCSS = store.fetch(np.asarray(indices, dtype=np.int64))
    wanted_N = (
        examined.predictions.predicted_N[torch.as_tensor(indices)]
        if classes is None
        else torch.as_tensor(classes)
    )
    heat_NSS = explain(trained, bytes_NCSS, wanted_N, explainer=explainer, registry=registry)
    return list(zip(pictures(bytes_NCSS), heat_NSS.numpy(), strict=True))


def explain(
    trained: Trained,
    bytes_NCSS: Tensor,
    classes_N: Tensor,
    *,
    explainer: str = "gradcam",
    registry: Registry | None = None,
) -> Tensor:
    """Returns heat_NSS in 0..1 for images and the class that each is explained for.

    Args:
        trained: The classifier; it is left as it was.
        bytes_NCSS: Images of the network's size, uint8.
        classes_N: Class indices, int64.
        explainer: Spec of an explainer.
        registry: The components to choose from; by default all that are installed.

    Raises:
        UsageError: The network has no layer with height and width.
        PluginError: The explainer's package is not installed.
    """
    return explainer_for(trained, explainer, registry)(bytes_NCSS, classes_N)


def explainer_for(
    trained: Trained, explainer: str, registry: Registry | None
) -> Callable[[Tensor, Tensor], Tensor]:
    """Returns what maps bytes_BCSS and classes_B to heat_BSS.

    Raises:
        UnknownName: There is no such explainer.
        PluginError: Its package is not installed.
    """
    choice = parse_choice(registry or Registry.installed(), "explainer", explainer)
    head = find_head(trained.model, num_classes=len(trained.classes))
    explaining: Explainer = build(choice, head=head[0])

    def heat(bytes_BCSS: Tensor, classes_B: Tensor) -> Tensor:
        with blamed([choice]):
            return explaining(trained.model, normalised(trained, bytes_BCSS), classes_B.long())

    return heat


def normalised(trained: Trained, bytes_BCSS: Tensor) -> Tensor:
    """Returns uint8 images as the network takes them."""
    return as_normalised(bytes_BCSS, trained.preprocessing.mean, trained.preprocessing.std)


def pictures(bytes_NCSS: Tensor) -> list[Image.Image]:
    """Returns images of the network's size as RGB pictures."""
    pixels_NSSC = bytes_NCSS.permute(0, 2, 3, 1).numpy()
    return [
        Image.fromarray(np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3))))
        for pixels in pixels_NSSC
    ]


def overlay(image: Image.Image, heat_SS: NDArray[np.float32], *, most: float = 0.7) -> Image.Image:
    """Returns the image in grey under its heat in colour, RGB.

    Args:
        image: The picture.
        heat_SS: In 0..1, of the picture's size.
        most: Opacity of the greatest heat; where there is none, the picture is all that is seen.
    """
    colour_SS3 = np.stack([np.interp(heat_SS, _PLACES, channel) for channel in _VIRIDIS], axis=-1)
    grey_SS1 = np.asarray(image.convert("L"), dtype=np.float32)[..., None]
    opacity_SS1 = most * np.clip(heat_SS, 0, 1)[..., None]
    mixed_SS3 = grey_SS1 * (1 - opacity_SS1) + colour_SS3 * opacity_SS1
    return Image.fromarray(mixed_SS3.round().astype(np.uint8))
