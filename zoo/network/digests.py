"""Digests of a network's tensors, and those of the next network where they are the same."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from zoo.network.freeze import digest

__all__ = ["LastDigest"]

_KEPT_BYTES = 2**26
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class LastDigest:
    """Returns digests, and remembers the tensors of the last one.

    Runs of an experiment ask three times each for the digest of the same frozen tensors. To compare
    them bit by bit takes a third of the time of a SHA-256. No more than 64 MiB are remembered.
    """

    def __init__(self) -> None:
        self._tensors: dict[str, Tensor] = {}
        self._digest = ""

    def __call__(self, tensors: Mapping[str, Tensor]) -> str:
        """Returns the digest of tensors, see :func:`zoo.network.freeze.digest`."""
        if not self._tensors or not _same(self._tensors, tensors):
            self._digest = digest(tensors)
            small = sum(tensor.nbytes for tensor in tensors.values()) <= _KEPT_BYTES
            self._tensors = {name: t.detach().clone() for name, t in tensors.items() if small}
        return self._digest


@torch.no_grad()
def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether tensors have the same names, types, shapes and bits, in any order in memory."""
    return one.keys() == other.keys() and all(
        ours.dtype == theirs.dtype and ours.shape == theirs.shape and ours.device == theirs.device
        and torch.equal(_bits(ours), _bits(theirs))
        for ours, theirs in ((one[name], other[name]) for name in one)
    )  # fmt: skip


def _bits(tensor: Tensor) -> Tensor:
    """Returns a tensor's bits as numbers: 0 and -0 differ, and NaN is equal to itself."""
    if tensor.dtype.is_complex:
        tensor = torch.view_as_real(tensor)
    return tensor.view(_BITS[tensor.itemsize])
