"""A network from which others are made that stand for themselves.

``copy.deepcopy`` goes through a network's thousands of Python objects in Python: 42 ms for
EfficientNet-Lite0. Pickled they are made again in C, and tensors are copied beside: 17 ms (AVX2).
What holds a function of its own (a lambda, a closure that remembers the network it was made in)
cannot be pickled, and would be no copy either.
"""

from __future__ import annotations

import copy
import io
import pickle

import torch
from torch import Tensor, nn

from zoo.network.modes import evaluation_mode

__all__ = ["Mould", "mould_of"]


class Mould:
    """A network's objects, and its tensors as they were.

    Args:
        model: The network, which may change afterwards.

    Raises:
        Exception: It cannot be pickled; the error is whatever a stranger's module raises.
    """

    def __init__(self, model: nn.Module) -> None:
        file = io.BytesIO()
        taking = _Taking(file, protocol=pickle.HIGHEST_PROTOCOL)
        taking.dump(model)
        self._objects = file.getvalue()
        self._tensors = copy.deepcopy(taking.tensors)

    def cast(self) -> nn.Module:
        """Returns a network of the caller's own, as the first one was."""
        giving = _Giving(io.BytesIO(self._objects))
        giving.tensors = copy.deepcopy(self._tensors)
        model: nn.Module = giving.load()
        return model

    @property
    def num_bytes(self) -> int:
        """What its tensors take."""
        return sum(tensor.nbytes for tensor in self._tensors)


class _Taking(pickle.Pickler):
    """Leaves tensors out, and lists them."""

    def __init__(self, file: io.BytesIO, *, protocol: int) -> None:
        super().__init__(file, protocol=protocol)
        self.tensors: list[Tensor] = []
        self._places: dict[int, int] = {}

    def persistent_id(self, value: object) -> int | None:
        if not isinstance(value, Tensor):
            return None
        place = self._places.setdefault(id(value), len(self.tensors))
        if place == len(self.tensors):
            self.tensors.append(value)
        return place


class _Giving(pickle.Unpickler):
    """Puts tensors where others were. It reads what this process has written, and no file."""

    tensors: list[Tensor]

    def persistent_load(self, place: int) -> Tensor:
        return self.tensors[place]


@torch.no_grad()
def mould_of(model: nn.Module, images_BCHW: Tensor) -> Mould | None:
    """Returns a mould whose networks compute the same and share nothing with this one, nor with it.

    None where that is not certain.

    Args:
        model: The network.
        images_BCHW: A few images for it.
    """
    try:
        mould = Mould(model)
        twin, other = mould.cast(), mould.cast()
        with evaluation_mode(model), evaluation_mode(twin):
            if not torch.equal(model(images_BCHW), twin(images_BCHW)):
                return None
    except Exception:  # whatever a stranger's module does when it is taken apart
        return None
    ours = [_places(network) for network in (model, twin, other)]
    apart = len(set[int]().union(*ours)) == sum(len(places) for places in ours)
    return mould if apart else None


def _places(model: nn.Module) -> set[int]:
    tensors = (*model.parameters(), *model.buffers())
    return {tensor.data_ptr() for tensor in tensors if tensor.nbytes}
