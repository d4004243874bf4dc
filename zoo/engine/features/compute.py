"""One pass of the frozen part over images.

Images are computed in groups of one size, the last one filled up. A kernel that is chosen by the
size of a batch is then the same for every image, so an image's features have the same bits
whichever others are computed with it: what was found on disk changes nothing about the rest.

Shapes: M images that are computed, B batch, C channels, S side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zoo.data.batches import cut
from zoo.errors import PluginError
from zoo.network.inference.forwards import filled, images_at_once

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from zoo.engine.feeds import ImageFeed

__all__ = ["computed"]


def computed(
    forward: Callable[[Tensor], Tensor],
    feed: ImageFeed,
    samples_M: NDArray[np.int64],
    *,
    epoch: int | None,
    progress: Callable[[int, int], None],
    groups: int = 1,
) -> Iterator[Tensor]:
    """Yields what the frozen part makes of some images, batch by batch, in their order.

    Args:
        forward: The frozen part.
        feed: The images.
        samples_M: Which.
        epoch: Augmented as of this epoch, or not.
        progress: Told how many are computed.
        groups: How many groups ``forward`` is given at once, at most. An inference engine on the
            CPU computes parts of one size whatever it is given, and its threads wait for each other
            at the end of the last part only. More than one is for such an engine alone.

    Raises:
        PluginError: The frozen part does not return a row for each image.
    """
    example = feed.example(count=1)
    group = images_at_once(example, example.device)
    size = groups * group
    plan = [samples_M[first : first + size] for first in range(0, len(samples_M), size)]
    done = 0
    parts = [cut(samples_B, num_parts=1)[0] for samples_B in plan]
    for batch in feed.batches(parts, epoch=epoch):
        inputs = filled(batch.inputs, -(-len(batch.inputs) // group) * group)
        with torch.inference_mode():
            activation = forward(inputs)
        if len(activation) != len(inputs):
            raise PluginError(
                f"the frozen part of the network makes {len(activation)} rows of {len(inputs)} "
                "images",
                hint="--no-cache",
            )
        done += len(batch.inputs)
        progress(done, len(samples_M))
        yield activation[: len(batch.inputs)]
