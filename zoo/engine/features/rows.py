"""Features by sample: in memory, or mapped from files.

Shapes: N samples, B batch, M rows of a file.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from zoo.engine.transfer import to_device

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ChosenRows", "HeldRows", "Layout", "MappedRows", "Rows", "as_numpy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How one sample's features are stored.

    Args:
        shape: Of the activation, without the batch.
        channels_last: Stored with the channels last, as convolutions computed it and want it back.
        dtype: ``float32``, or ``bfloat16`` for half the bytes and 8 bits of precision.
    """

    shape: tuple[int, ...]
    channels_last: bool
    dtype: torch.dtype

    @classmethod
    def of(cls, activation: Tensor, dtype: torch.dtype) -> Layout:
        """Returns the layout for activations like this one, (B, ...)."""
        last = (
            activation.ndim == 4
            and not activation.is_contiguous()
            and activation.is_contiguous(memory_format=torch.channels_last)
        )
        return cls(shape=tuple(activation.shape[1:]), channels_last=last, dtype=dtype)

    @property
    def row_bytes(self) -> int:
        """Bytes a sample."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape of a row as it is stored."""
        return (*self.shape[1:], self.shape[0]) if self.channels_last else self.shape

    def store(self, activation: Tensor) -> Tensor:
        """Returns an activation (B, ...) as rows, contiguous on the CPU."""
        plain = activation.permute(0, 2, 3, 1) if self.channels_last else activation
        return plain.to(self.dtype).cpu().contiguous()

    def restore(self, rows: Tensor) -> Tensor:
        """Returns rows as the activation in float32, in the memory format it was computed in."""
        full = rows.to(torch.float32)
        return full.permute(0, 3, 1, 2) if self.channels_last else full


class Rows(Protocol):
    """Features of the samples of a split."""

    def __len__(self) -> int: ...

    def take(self, samples_B: NDArray[np.int64]) -> Tensor | ChosenRows:
        """Returns the features of these samples, float32 on the device, or where they stand."""
        ...

    @property
    def checksum(self) -> int:
        """32 bits that are others when any bit of the rows is."""
        ...

    @property
    def ready(self) -> bool:
        """Whether taking some reads no file."""
        ...

    @property
    def layout(self) -> Layout:
        """How they are stored."""
        ...


@dataclass(frozen=True, slots=True)
class ChosenRows:
    """Features in memory that were asked for.

    Args:
        rows_N: All of them, as stored.
        index_B: Which.
        layout: How they are stored.
    """

    rows_N: Tensor
    index_B: Tensor
    layout: Layout

    @property
    def is_plain(self) -> bool:
        """Whether rows are stored as vectors of float32 on the CPU, one behind the other."""
        rows = self.rows_N
        return (
            rows.ndim == 2
            and rows.dtype == torch.float32
            and rows.device.type == "cpu"
            and rows.is_contiguous()
        )

    def copied(self) -> Tensor:
        """Returns them, float32 in a fresh tensor."""
        return self.layout.restore(self.rows_N.index_select(0, self.index_B))


@dataclass(frozen=True)
class HeldRows:
    """Features in memory.

    Args:
        rows_N: All of them, as stored.
        layout: How.
    """

    rows_N: Tensor
    layout: Layout

    ready = True

    def __len__(self) -> int:
        return len(self.rows_N)

    def take(self, samples_B: NDArray[np.int64]) -> ChosenRows:
        """Returns where the features of these samples stand."""
        index_B = to_device(torch.from_numpy(samples_B), self.rows_N.device)
        return ChosenRows(self.rows_N, index_B, self.layout)

    @cached_property
    def checksum(self) -> int:
        """The CRC-32 of all bytes."""
        return zlib.crc32(as_numpy(self.rows_N.cpu()).data.cast("B"))


@dataclass(frozen=True, slots=True)
class MappedRows:
    """Features in files that are mapped into memory.

    Args:
        files: Rows_M of each file.
        places_N: Where each sample's row is, counted through all files.
        layout: How it is stored.
        device: Where batches go.
    """

    files: Sequence[NDArray[np.generic]]
    places_N: NDArray[np.int64]
    layout: Layout
    device: torch.device

    ready = False

    def __len__(self) -> int:
        return len(self.places_N)

    def take(self, samples_B: NDArray[np.int64]) -> Tensor:
        """Returns the features of these samples, float32 on the device."""
        rows_B = torch.empty((len(samples_B), *self.layout.stored_shape), dtype=self.layout.dtype)
        gather(self.files, self.places_N[samples_B], as_numpy(rows_B))
        return self.layout.restore(to_device(rows_B, self.device))

    @property
    def checksum(self) -> int:
        """The CRC-32 of all rows in the order of the samples."""
        found = 0
        shape, dtype = self.layout.stored_shape, as_numpy(torch.empty(0, dtype=self.layout.dtype))
        for places_B in np.array_split(self.places_N, max(1, len(self.places_N) // 256)):
            some_B = np.empty((len(places_B), *shape), dtype=dtype.dtype)
            gather(self.files, places_B, some_B)
            found = zlib.crc32(some_B.data.cast("B"), found)
        return found


def gather(
    files: Sequence[NDArray[np.generic]], places_B: NDArray[np.int64], into_B: NDArray[np.generic]
) -> None:
    """Copies rows out of several files; places count through all of them."""
    first = 0
    for rows_M in files:
        here_B = (places_B >= first) & (places_B < first + len(rows_M))
        if here_B.all():
            into_B[:] = rows_M[places_B - first]
            return
        if here_B.any():
            into_B[here_B] = rows_M[places_B[here_B] - first]
        first += len(rows_M)


def as_numpy(rows: Tensor) -> NDArray[np.generic]:
    """Returns the same memory as an array; numpy has no bfloat16, so its bits come as uint16."""
    plain = rows.view(torch.uint16) if rows.dtype == torch.bfloat16 else rows
    array: NDArray[np.generic] = plain.numpy()
    return array
