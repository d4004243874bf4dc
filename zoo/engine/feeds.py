"""Batches for the loop: images that are augmented and normalised on the device.

Shapes: N samples, B batch, C channels, S side, K classes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from zoo.data.batches import Part, cut, split_evenly
from zoo.data.pixels.normalise import as_floats, as_normalised, normalise_
from zoo.data.pixels.store import Store
from zoo.data.randomness import Stream, uniform
from zoo.engine.transfer import to_device

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.protocols import BatchTransform, MixTransform, Preprocessing, Split

__all__ = [
    "IMAGES_AT_ONCE",
    "Batch",
    "Chosen",
    "CyclingFeed",
    "Feed",
    "ImageFeed",
    "Labels",
    "OpenStore",
    "Teach",
    "in_order",
    "total_weight",
]

_SLICE_BYTES = 4 * 2**20
IMAGES_AT_ONCE = 128
"""How many images are evaluated at once."""
_BELOW_ONE = np.float32(1 - 2**-24)

Teach: TypeAlias = Callable[[Tensor], Tensor]
"""A teacher: normalised images_BCSS to logits_BK."""

OpenStore: TypeAlias = Callable[[bool], Store]
"""Opens images, told whether to hold them in memory."""


class Chosen(Protocol):
    """Rows of a table that were chosen and not yet copied."""

    def copied(self) -> Tensor:
        """Returns them, float32 in a fresh tensor."""
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs with what they should become, on the device.

    Args:
        source: Images (B, C, S, S), or features (B, ...), or where those are to be found.
        target: Class indices_B, or targets_BK where images are mixed or have several labels.
        weights_B: How much each sample counts in the training loss; None: 1 each.
        teacher_BK: A teacher's logits; None without one.
    """

    source: Tensor | Chosen
    target: Tensor
    weights_B: Tensor | None = None
    teacher_BK: Tensor | None = None

    @property
    def inputs(self) -> Tensor:
        """Images (B, C, S, S), or features (B, ...): copied each time where they are chosen."""
        return self.source if isinstance(self.source, Tensor) else self.source.copied()


def total_weight(target: Tensor, weights_B: Tensor | None) -> Tensor:
    """Returns the sum of a batch's sample weights, a scalar: the number of samples without any."""
    if weights_B is not None:
        return weights_B.sum()
    return torch.full((), float(len(target)), device=target.device)


class Labels:
    """What the samples of a split are, on the device.

    Args:
        split: The split.
        num_classes: Of the data set.
        device: Where the tensors live.
    """

    def __init__(self, split: Split, *, num_classes: int, device: torch.device) -> None:
        def on_device(values: NDArray[np.generic] | None) -> Tensor | None:
            return None if values is None else torch.from_numpy(np.array(values)).to(device)

        self.num_classes, self.device = num_classes, device
        self._labels_N = torch.from_numpy(split.labels_N).to(device)
        self._targets_NK, self._weights_N = on_device(split.targets_NK), on_device(split.weights_N)

    def __len__(self) -> int:
        return len(self._labels_N)

    def target(self, draws: NDArray[np.int64], *, soft: bool) -> Tensor:
        """Returns indices_B, or targets_BK where the data has them or ``soft`` asks for them."""
        index_B = self.index(draws)
        if self._targets_NK is not None:
            return self._targets_NK.index_select(0, index_B)
        labels_B = self._labels_N.index_select(0, index_B)
        return functional.one_hot(labels_B, self.num_classes).float() if soft else labels_B

    def weights(self, draws: NDArray[np.int64]) -> Tensor | None:
        """Returns the samples' weights in the loss, None where all are equal."""
        if self._weights_N is None:
            return None
        return self._weights_N.index_select(0, self.index(draws))

    def index(self, draws: NDArray[np.int64]) -> Tensor:
        """Returns which sample each draw is of."""
        return to_device(torch.from_numpy(draws % len(self)), self.device)


class Feed(Protocol):
    """The samples of one split, part by part."""

    @property
    def at_once(self) -> int:
        """How many samples are evaluated at once."""
        ...

    def __len__(self) -> int: ...

    def batches(self, plan: Sequence[Part], *, epoch: int | None) -> Iterator[Batch]:
        """Yields a batch for each part, augmented and mixed as of ``epoch`` unless None."""
        ...


class ImageFeed:
    """Images from a store.

    Args:
        store: Where the images come from, uint8 (B, C, S, S), or what opens them when the first is
            asked for, told whether to hold them in memory.
        labels: What they are.
        preprocessing: Mean and standard deviation.
        transforms: Augmentations in order, used when an epoch is given.
        mixers: What mixes images with their partners after that, likewise.
        seed: Of both.
        channels_last: Memory format of the batches.
        teach: A teacher of the same classes, given the images as the network sees them.
        hold: Whether the images will be asked for again and again.
    """

    def __init__(
        self,
        store: Store | OpenStore,
        *,
        labels: Labels,
        preprocessing: Preprocessing,
        transforms: Sequence[BatchTransform] = (),
        mixers: Sequence[MixTransform] = (),
        seed: int = 0,
        channels_last: bool = True,
        teach: Teach | None = None,
        hold: bool = True,
    ) -> None:
        self._source = _Source(store, hold=hold)
        self._labels, self._seed, self._teach = labels, seed, teach
        self._transforms, self._mixers = tuple(transforms), tuple(mixers)
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._preprocessing = preprocessing

    at_once = IMAGES_AT_ONCE

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def is_taught(self) -> bool:
        """Whether a teacher answers, too."""
        return self._teach is not None

    def hold(self) -> None:
        """Opens the images to stay: they will be asked for again and again."""
        self._source.hold()

    def unmixed(self) -> ImageFeed:
        """Returns the same images, never mixed."""
        twin = copy.copy(self)
        twin._mixers = ()
        return twin

    def plain(self) -> ImageFeed:
        """Returns the same images, never mixed and without a teacher."""
        twin = self.unmixed()
        twin._teach = None
        return twin

    def example(self, *, count: int = 128) -> Tensor:
        """Returns the first images as the network is given them, without augmentation."""
        first = np.arange(min(count, len(self)))
        (batch,) = self.plain().batches([cut(first, num_parts=1)[0]], epoch=None)
        return batch.inputs

    def answers(
        self, draws: NDArray[np.int64], *, epoch: int | None
    ) -> tuple[Tensor, Tensor | None]:
        """Returns target and weights of draws before any mixing."""
        soft = epoch is not None and bool(self._mixers)
        return self._labels.target(draws, soft=soft), self._labels.weights(draws)

    def batches(self, plan: Sequence[Part], *, epoch: int | None) -> Iterator[Batch]:
        """Yields a batch for each part; the next one is decoded while the current one is used."""
        for part, inputs, target in self._images(plan, epoch=epoch, normal=True):
            teacher_BK = None if self._teach is None else self._teach(inputs)
            yield Batch(inputs, target, self._labels.weights(part.draws_B), teacher_BK)

    def pictures(
        self, plan: Sequence[Part], *, epoch: int | None
    ) -> Iterator[tuple[Part, Tensor, Tensor]]:
        """Yields (part, images_BCSS in 0..1, target): what the network sees, not yet normalised."""
        return self._images(plan, epoch=epoch, normal=False)

    def _images(
        self, plan: Sequence[Part], *, epoch: int | None, normal: bool
    ) -> Iterator[tuple[Part, Tensor, Tensor]]:
        """Yields (part, images_BCSS, target), the images in 0..1 or normalised."""
        mixing = epoch is not None and bool(self._mixers)

        def samples_of(part: Part) -> NDArray[np.int64]:
            return _wanted(part, mixing) % len(self)

        for part, bytes_BCSS in self._source.store.stream(plan, samples_of):
            target, _ = self.answers(part.draws_B, epoch=epoch)
            wanted = _wanted(part, mixing)
            images_BCSS = self._augmented(bytes_BCSS, wanted, epoch, normal=normal and not mixing)
            if mixing and epoch is not None:
                own, partners = (
                    to_device(torch.from_numpy(np.searchsorted(wanted, draws)), self._labels.device)
                    for draws in (part.draws_B, part.partners_B)
                )
                images_BCSS, target = self._mixed(
                    images_BCSS[own], images_BCSS[partners], target, part, epoch
                )
            images_BCSS = images_BCSS.contiguous(memory_format=self._format)
            if mixing and normal:
                self._normalise_(images_BCSS)
            yield part, images_BCSS, target

    def _augmented(
        self, bytes_BCSS: Tensor, draws: NDArray[np.int64], epoch: int | None, *, normal: bool
    ) -> Tensor:
        """Returns images, float32 and owned by the caller, augmented unless epoch is None.

        In 0..1, or ``normal``.

        A few at a time: what a sample becomes does not depend on its batch, and work that stays in
        the cache took a fifth of the time (flip, 64 images of 224 pixels).
        """
        device = self._labels.device
        if epoch is None or not self._transforms:
            bytes_BCSS = to_device(bytes_BCSS, device)
            if normal:
                return as_normalised(bytes_BCSS, self._preprocessing.mean, self._preprocessing.std)
            return as_floats(bytes_BCSS)
        numbers = self._numbers(Stream.AUGMENT, self._transforms, draws, epoch)
        images_BCSS = torch.empty(bytes_BCSS.shape, device=device, memory_format=self._format)
        step = max(1, _SLICE_BYTES // images_BCSS[0].nbytes)
        if device.type != "cpu":
            step = len(images_BCSS)
        for first in range(0, len(images_BCSS), step):
            some = slice(first, first + step)
            part_BCSS = as_floats(to_device(bytes_BCSS[some], device))
            for transform, random_BN in zip(self._transforms, numbers, strict=True):
                part_BCSS = transform(part_BCSS, random_BN[some])
            images_BCSS[some] = part_BCSS
            if normal:
                self._normalise_(images_BCSS[some])
        return images_BCSS

    def _normalise_(self, images_BCSS: Tensor) -> None:
        normalise_(images_BCSS, self._preprocessing.mean, self._preprocessing.std)

    def _mixed(
        self, images_BCSS: Tensor, partners_BCSS: Tensor, target_BK: Tensor, part: Part, epoch: int
    ) -> tuple[Tensor, Tensor]:
        """Returns images and targets, mixed with their partners' in the same share."""
        partner_target_BK = self._labels.target(part.partners_B, soft=True)
        numbers = self._numbers(Stream.MIX, self._mixers, part.draws_B, epoch)
        for mixer, random_BN in zip(self._mixers, numbers, strict=True):
            images_BCSS, share_B = mixer.mix(images_BCSS, partners_BCSS, random_BN)
            share_B1 = share_B.to(target_BK)[:, None]
            target_BK = share_B1 * target_BK + (1 - share_B1) * partner_target_BK
        return images_BCSS, target_BK

    def _numbers(
        self,
        stream: Stream,
        users: Sequence[BatchTransform | MixTransform],
        draws: NDArray[np.int64],
        epoch: int,
    ) -> list[Tensor]:
        """Returns the uniform numbers of each user, (B, its num_random)."""
        counts = [user.num_random for user in users]
        random_BN = uniform(stream, self._seed, epoch, draws, count=sum(counts))
        # A number just below 1 would be rounded up to it.
        single_BN = np.minimum(random_BN.astype(np.float32), _BELOW_ONE)
        numbers_BN = to_device(torch.from_numpy(single_BN), self._labels.device)
        return list(torch.split(numbers_BN, counts, dim=1))


class _Source:
    """A store that is opened when it is needed. Copies of a feed share it."""

    def __init__(self, store: Store | OpenStore, *, hold: bool) -> None:
        self._open, self._hold = store, hold
        self._store = store if isinstance(store, Store) else None

    @property
    def store(self) -> Store:
        if self._store is None:
            assert not isinstance(self._open, Store)
            self._store = self._open(self._hold)
        return self._store

    def hold(self) -> None:
        if not self._hold:
            self._hold = True
            if not isinstance(self._open, Store):
                self._store = None
        _ = self.store


class CyclingFeed:
    """Images in a few augmented views, which the epochs go through in turn.

    View v of a sample is the augmentation that epoch v would give it.

    Args:
        images: The images, never mixed.
        views: How many views there are.
    """

    def __init__(self, images: ImageFeed, views: int) -> None:
        self._images, self._views = images.unmixed(), views

    at_once = IMAGES_AT_ONCE

    def __len__(self) -> int:
        return len(self._images)

    def batches(self, plan: Sequence[Part], *, epoch: int | None) -> Iterator[Batch]:
        """Yields a batch for each part, of the epoch's view."""
        total = len(self)
        same = [Part(part.draws_B % total, part.partners_B % total) for part in plan]
        return self._images.batches(same, epoch=None if epoch is None else epoch % self._views)


def _wanted(part: Part, mixing: bool) -> NDArray[np.int64]:
    """Returns the draws whose images a part needs: its own, and with mixing their partners."""
    if not mixing:
        return part.draws_B
    return np.unique(np.concatenate((part.draws_B, part.partners_B)))


def in_order(num_samples: int, batch_size: int, *, rank: int = 0, world: int = 1) -> list[Part]:
    """Returns the parts in which one process visits its share of the samples, each once."""
    mine = np.arange(num_samples)[rank::world]
    return [cut(b, num_parts=1)[0] for b in split_evenly(mine, batch_size) if len(b)]
