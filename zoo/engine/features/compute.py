"""One pass of the frozen part over images.

Images are computed in groups of one size, the last one filled up. A kernel that is chosen by the
size of a batch is then the same for every image, so an image's features have the same bits
whichever others are computed with it: what was found on disk changes nothing about the rest.

Shapes: M images that are computed, B batch, C channels, S side.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zoo.data.batches import cut
from zoo.errors import PluginError
from zoo.network.inference.forwards import InParts, filled, images_at_once, ordinary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from zoo.engine.feeds import ImageFeed
    from zoo.network.inference.workers import Begun

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
    parts = [cut(samples_B, num_parts=1)[0] for samples_B in plan]

    def inputs() -> Iterator[Tensor]:
        for batch in feed.batches(parts, epoch=epoch):
            yield filled(batch.inputs, -(-len(batch.inputs) // group) * group)

    done = 0
    with closing(_outputs(forward, inputs())) as outputs:  # also when ``progress`` raises
        for samples_B, activation in zip(plan, outputs, strict=True):
            number, right = len(activation), -(-len(samples_B) // group) * group
            if number != right:
                raise PluginError(
                    f"the frozen part of the network makes {number} rows of {right} images",
                    hint="--no-cache",
                )
            done += len(samples_B)
            progress(done, len(samples_M))
            yield activation[: len(samples_B)]


def _outputs(
    forward: Callable[[Tensor], Tensor], batches: Iterator[Tensor]
) -> Generator[Tensor, None, None]:
    """Yields the outputs for batches of images.

    While an engine's threads compute one batch, the next is made and given to them: they wait
    neither for it nor for each other at the end of the one before. So passes were 1.05 to 1.08
    times as fast (medians of three networks, folded and in OpenVINO, two threads, AMD EPYC;
    benchmarks/inference.py passes).
    """
    if not isinstance(forward, InParts):
        for images_BCSS in batches:
            with torch.inference_mode():
                outputs = forward(images_BCSS)
            yield outputs
        return
    under_way: deque[Begun[Tensor]] = deque()
    try:
        for images_BCSS in batches:
            under_way.append(forward.begin(images_BCSS))
            if len(under_way) > 1:
                yield ordinary(under_way.popleft().made())
        while under_way:
            yield ordinary(under_way.popleft().made())
    finally:
        for begun in under_way:
            begun.drop()
