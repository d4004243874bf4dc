"""Batches for the loop: images that are augmented and normalised on the device, or cached features.

Shapes: N samples, B batch, C channels, S side, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from zoo.data.batches import split_evenly
from zoo.data.randomness import Stream, uniform
from zoo.data.store import Store, ahead
from zoo.network.head import head_input

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.protocols import BatchTransform, Preprocessing

__all__ = ["Batch", "FeatureFeed", "Feed", "ImageFeed", "features_of"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs (B, C, S, S) or (B, D), and labels (B,), on the device."""

    inputs: Tensor
    labels_B: Tensor


class Feed(Protocol):
    """The samples of one split, batch by batch."""

    def __len__(self) -> int: ...

    def labels(self, samples: NDArray[np.int64]) -> Tensor:
        """Returns the labels of these samples, on the device."""
        ...

    def batches(self, plan: Sequence[NDArray[np.int64]], *, epoch: int | None) -> Iterator[Batch]:
        """Yields a batch for each array of samples, augmented as of ``epoch`` unless None."""
        ...


class ImageFeed:
    """Images from a store.

    Args:
        store: Where the images come from, uint8 (B, C, S, S).
        labels_N: Their classes.
        preprocessing: Mean and standard deviation.
        transforms: Augmentations in order, used when an epoch is given.
        seed: Of the augmentation.
        device: Where batches are put.
    """

    def __init__(
        self,
        store: Store,
        *,
        labels_N: NDArray[np.int64],
        preprocessing: Preprocessing,
        transforms: Sequence[BatchTransform],
        seed: int,
        device: torch.device,
    ) -> None:
        self._store, self._transforms, self._seed, self._device = store, transforms, seed, device
        self._labels_N = torch.from_numpy(labels_N).to(device)

        def per_channel(values: Sequence[float]) -> Tensor:
            values = values if store.channels == len(values) else [sum(values) / len(values)]
            return torch.tensor(values, device=device).view(1, -1, 1, 1)

        self._mean_1C11, self._std_1C11 = map(per_channel, (preprocessing.mean, preprocessing.std))

    def __len__(self) -> int:
        return len(self._store)

    def labels(self, samples: NDArray[np.int64]) -> Tensor:
        """Returns the labels of these samples, on the device."""
        return self._labels_N[torch.from_numpy(samples).to(self._device)]

    def batches(self, plan: Sequence[NDArray[np.int64]], *, epoch: int | None) -> Iterator[Batch]:
        """Yields batches; the next is decoded while the current one is used, where it has to be."""
        if self._store.decodes:
            raw = ahead(plan, self._store.fetch)
        else:
            raw = ((samples, self._store.fetch(samples)) for samples in plan)
        for samples, bytes_BCSS in raw:
            yield Batch(self._prepare(bytes_BCSS, samples, epoch), self.labels(samples))

    def _prepare(self, bytes_BCSS: Tensor, samples: NDArray[np.int64], epoch: int | None) -> Tensor:
        images_BCSS = bytes_BCSS.to(self._device, non_blocking=True).float().div_(255)
        if epoch is not None and self._transforms:
            count = sum(transform.num_random for transform in self._transforms)
            random_BN = torch.from_numpy(
                uniform(Stream.AUGMENT, self._seed, epoch, samples, count=count)
            ).to(self._device, torch.float32)
            first = 0
            for transform in self._transforms:
                last = first + transform.num_random
                images_BCSS = transform(images_BCSS, random_BN[:, first:last])
                first = last
        images_BCSS = (images_BCSS - self._mean_1C11) / self._std_1C11
        return images_BCSS.contiguous(memory_format=torch.channels_last)


class FeatureFeed:
    """What the frozen part of the network makes of the samples, computed once and kept.

    Args:
        features_ND: The head's input for each sample.
        labels_N: Their classes.
    """

    def __init__(self, features_ND: Tensor, labels_N: Tensor) -> None:
        self._features_ND, self._labels_N = features_ND, labels_N

    def __len__(self) -> int:
        return len(self._features_ND)

    def labels(self, samples: NDArray[np.int64]) -> Tensor:
        """Returns the labels of these samples, on the device."""
        return self._labels_N[torch.from_numpy(samples).to(self._labels_N.device)]

    def batches(self, plan: Sequence[NDArray[np.int64]], *, epoch: int | None) -> Iterator[Batch]:
        """Yields batches; features are not augmented, whatever the epoch."""
        for samples in plan:
            index_B = torch.from_numpy(samples).to(self._features_ND.device)
            yield Batch(self._features_ND[index_B], self._labels_N[index_B])


@torch.inference_mode()
def features_of(
    model: nn.Module,
    head: str,
    feed: Feed,
    *,
    batch_size: int,
    budget_bytes: int,
    progress: Callable[[int, int], None],
) -> FeatureFeed | None:
    """Returns a feed of the head's input for every sample, or None when it exceeds the budget.

    Leaves the model in evaluation mode.
    """
    model.eval()
    features: list[Tensor] = []
    labels: list[Tensor] = []
    total = len(feed)
    done = 0
    for batch in feed.batches(split_evenly(np.arange(total), batch_size), epoch=None):
        features.append(head_input(model, head, batch.inputs))
        labels.append(batch.labels_B)
        done += len(batch.labels_B)
        if features[0][0].nbytes * total > budget_bytes:
            return None
        progress(done, total)
    # What is made outside inference mode may take part in training.
    with torch.inference_mode(mode=False):
        return FeatureFeed(torch.cat(features), torch.cat(labels))
