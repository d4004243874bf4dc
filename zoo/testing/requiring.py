"""How a check says no, and what several kinds' checks compare."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

__all__ = [
    "Snapshot",
    "equal_bits",
    "generators_untouched",
    "require",
    "require_unseeded",
    "seeded",
]


def require(holds: bool, otherwise: str) -> None:
    """Ends the check unless it holds.

    Not the statement ``assert``: Python leaves those out when it is told to optimise.

    Raises:
        AssertionError: It does not hold.
    """
    if not holds:
        raise AssertionError(otherwise)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds torch's generator, as the engine does before each step, and puts it back."""
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: it would seed GPUs as well, which nobody puts back.
        torch.default_generator.manual_seed(seed)
        yield


def require_unseeded(build: Callable[[], object]) -> None:
    """Requires that building something draws from torch's generator at most, and does not seed it.

    Raises:
        AssertionError: It does. Then every seed makes the same weights.
    """
    left = []
    for seed in (1, 2):
        with seeded(seed):
            build()
            left.append(torch.get_rng_state())
    require(
        not torch.equal(*left),
        "building it seeds torch's generator, so that every seed makes the same weights",
    )


@contextmanager
def generators_untouched(
    what: str, *, among: Sequence[str] = ("torch", "NumPy", "random")
) -> Iterator[None]:
    """Requires that no global generator is drawn from or seeded within.

    Args:
        what: What is looked at, as the message calls it.
        among: The generators that count.

    Raises:
        AssertionError: torch's, NumPy's or Python's is not as it was. It is put back.
    """
    outside = torch.get_rng_state(), np.random.get_state(), random.getstate()
    # States of our own: who seeds with a constant may have left the others in that one before.
    torch.default_generator.manual_seed(20011)
    np.random.seed(20011)
    random.seed(20011)
    torchs, numpys, pythons = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
        changed = [
            name
            for name, same in (
                ("torch", torch.equal(torch.get_rng_state(), torchs)),
                ("NumPy", _same_state(np.random.get_state(), numpys)),
                ("random", random.getstate() == pythons),
            )
            if not same and name in among
        ]
    finally:
        torch.set_rng_state(outside[0])
        np.random.set_state(outside[1])
        random.setstate(outside[2])
    require(not changed, f"{what} used the global generator of {' and '.join(changed)}")


def _same_state(one: object, other: object) -> bool:
    """Compares NumPy's states, tuples that hold an array."""
    assert isinstance(one, tuple)
    assert isinstance(other, tuple)
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def equal_bits(one: Tensor, other: Tensor) -> bool:
    """Whether shape, type and values are the same; NaN equals NaN."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(((one == other) | ((one != one) & (other != other))).all())


class Snapshot:
    """What a network is like, to be compared with what it is like later.

    Args:
        network: The network.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._tensors = {k: v.detach().clone() for k, v in network.state_dict().items()}
        self._gradients = {
            name: None if p.grad is None else (p.grad, p.grad.clone())
            for name, p in network.named_parameters()
        }
        self._trains = {name: p.requires_grad for name, p in network.named_parameters()}
        self._modes = {name: module.training for name, module in network.named_modules()}
        self._hooks = _num_hooks(network)

    def differences(self) -> list[str]:
        """Returns what is no longer as it was, in words; empty when all is."""
        network, found = self._network, []
        if {name: m.training for name, m in network.named_modules()} != self._modes:
            found.append("its modules or which of them train")
        now = network.state_dict()
        if now.keys() != self._tensors.keys():
            found.append("the names of its tensors")
        else:
            found += [
                f"the tensor {name}"
                for name, before in self._tensors.items()
                if not equal_bits(now[name], before)
            ]
        for name, parameter in network.named_parameters():
            before = self._gradients.get(name)
            kept = (
                parameter.grad is None
                if before is None
                else parameter.grad is before[0] and torch.equal(before[0], before[1])
            )
            if not kept:
                found.append(f"the gradient of {name}")
            if parameter.requires_grad != self._trains.get(name):
                found.append(f"whether {name} takes a gradient")
        if _num_hooks(network) != self._hooks:
            found.append("its hooks")
        return found


def _num_hooks(network: nn.Module) -> int:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in network.modules() for kind in kinds)
