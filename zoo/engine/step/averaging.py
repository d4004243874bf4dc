"""Averages of a network's weights: over steps (EMA), over epochs (SWA), over candidates (soups).

EMA: Polyak and Juditsky 1992, with TensorFlow's warm-up of the decay. SWA: Izmailov et al. 2018.
Soups: Wortsman et al. 2022, "Model soups".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from zoo.errors import CheckpointError

__all__ = ["WeightAverage", "ema_decay", "equal_decay", "greedy_soup", "uniform_soup"]


def ema_decay(num_updates: int, *, decay: float) -> float:
    """Returns the share of the old average in the next one, in [0, ``decay``].

    ``min(decay, (1 + n) / (10 + n))``, the warm-up of TensorFlow's ExponentialMovingAverage: early
    averages forget the first weights fast. 0.999 is reached after 8,990 updates.

    >>> [round(ema_decay(n, decay=0.9), 3) for n in (0, 1, 10, 1000)]
    [0.1, 0.182, 0.55, 0.9]
    """
    return min(decay, (1 + num_updates) / (10 + num_updates))


def equal_decay(num_updates: int) -> float:
    """Returns the share of the old average in the next one so that all weights count the same.

    >>> [equal_decay(n) for n in (0, 1, 3)]
    [0.0, 0.5, 0.75]
    """
    return num_updates / (num_updates + 1)


class WeightAverage:
    """A running average of the tensors that train.

    It holds a tensor for each parameter with a gradient and each floating-point buffer of a module
    in training mode (the statistics of batch norms, averaged like the weights, as timm's
    ModelEmaV3 does). Integer buffers are not averaged. What is frozen costs nothing: it does not
    move, so its average is itself. For the same reason :meth:`follow` may take up a tensor at any
    time, when a phase unfreezes it: the average of what stood still is where it stood.

    torch's AveragedModel would keep a second whole network, frozen parts, hooks and all; from
    torch comes the fused update.

    Args:
        decay: Share of the old average in the next one, as a function of the number of updates.
            ``partial(ema_decay, decay=0.999)`` at each step, or ``equal_decay`` at epoch ends.
    """

    def __init__(self, decay: Callable[[int], float]) -> None:
        self._decay = decay
        self._live: dict[str, Tensor] = {}
        self._averages: dict[str, Tensor] = {}
        self._moving: set[str] = set()
        self.num_updates = 0

    @classmethod
    def ema(cls, decay: float) -> WeightAverage:
        """Returns an exponential moving average, to be updated after each step."""
        return cls(partial(ema_decay, decay=decay))

    @classmethod
    def swa(cls) -> WeightAverage:
        """Returns an equal average, to be updated after each epoch that counts."""
        return cls(equal_decay)

    def follow(self, model: nn.Module) -> None:
        """Takes up what trains now, at its present value. What was taken up before stays.

        To be called at the start of each phase, with modes and gradients set and before its first
        step: a tensor that has moved already would count as if it had always been there.
        """
        present = dict(model.named_parameters())
        moving = {name for name, p in present.items() if p.requires_grad}
        for prefix, module in model.named_modules():
            for name, buffer in module.named_buffers(prefix, recurse=False):
                present[name] = buffer
                if module.training and buffer.is_floating_point():
                    moving.add(name)
        moving &= model.state_dict().keys()  # without buffers that are computed anew
        for name in sorted(moving - self._averages.keys()):
            self._averages[name] = present[name].detach().clone()
        self._moving = moving
        self._live = {name: present[name].detach() for name in self._averages}

    @torch.no_grad()
    def update(self) -> None:
        """Moves the average towards the weights as they are."""
        if self._live:
            move = get_ema_multi_avg_fn(self._decay(self.num_updates))  # type: ignore[no-untyped-call]  # torch
            move(list(self._averages.values()), list(self._live.values()), self.num_updates)
        self.num_updates += 1

    @contextmanager
    def swapped(self, *, still: bool = True) -> Iterator[None]:
        """Puts the average into the network inside the block, and the exact weights back after it.

        A checkpoint is written outside the block; the best weights are written inside.

        Args:
            still: Also of what does not move in the present phase, but did in one before. Without,
                that stays as what trains now sees it, on kept features too.
        """
        live = {n: tensor for n, tensor in self._live.items() if still or n in self._moving}
        kept = {name: tensor.clone() for name, tensor in live.items()}
        try:
            _write(live, self._averages)
            yield
        finally:
            _write(live, kept)

    def state_dict(self) -> dict[str, Any]:
        """Returns all that a checkpoint must hold: averages, number of updates, what moves."""
        return {
            "num_updates": self.num_updates, "averages": dict(self._averages),
            "moving": sorted(self._moving),
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any], model: nn.Module) -> None:
        """Takes a state back, to the bit: values, and the memory layout of the network's tensors.

        Args:
            state: What :meth:`state_dict` returned.
            model: The network, with its weights loaded. :meth:`follow` comes after this.

        Raises:
            CheckpointError: The averages are of another network.
        """
        tensors: dict[str, Tensor] = model.state_dict()
        averages: Mapping[str, Tensor] = state["averages"]
        wrong = [
            name
            for name, saved in averages.items()
            if name not in tensors or tensors[name].shape != saved.shape
        ]
        if wrong:
            raise CheckpointError(
                "the saved average of the weights is of another network",
                found=f"{wrong[0]} and {len(wrong) - 1} more do not fit",
                hint="start a new run",
            )
        # Elementwise kernels take other paths for other layouts, and may round differently there.
        self._averages = {
            name: torch.empty_like(tensors[name]).copy_(saved) for name, saved in averages.items()
        }
        self._live = {name: tensors[name] for name in averages}
        self._moving = set(state.get("moving", averages))
        self.num_updates = int(state["num_updates"])


@torch.no_grad()
def _write(targets: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, target in targets.items():
        target.copy_(values[name])


def uniform_soup(states: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Returns the mean of state dicts, summed in float64. Integers come from the first.

    Args:
        states: Of one network, at least one. A generator keeps one in memory at a time.

    Raises:
        ValueError: There are none, or their names differ.
    """
    total: dict[str, Tensor] = {}
    first: Mapping[str, Tensor] = {}
    number = 0
    for state in states:
        total = _added(total, state)
        first, number = first or state, number + 1
    if not number:
        raise ValueError("a soup of no weights")
    return _mean(total, number, first)


def greedy_soup(
    candidates: Iterable[Mapping[str, Tensor]],
    evaluate: Callable[[Mapping[str, Tensor]], float],
) -> tuple[dict[str, Tensor], tuple[int, ...], float]:
    """Returns the best soup that one pass over the candidates finds (Wortsman 2022, recipe 1).

    Each is stirred in, in order, and stays if the mean of all that are in is at least as good.

    Args:
        candidates: State dicts of one network, the best first. A generator keeps one in memory
            at a time.
        evaluate: Score of a state dict on held-out data, greater is better.

    Returns:
        The soup, the positions of the candidates that are in it, and its score. The first one is
        always in, so the soup is never worse than the best candidate.

    Raises:
        ValueError: There are none, or their names differ.
    """
    total: dict[str, Tensor] = {}
    first: Mapping[str, Tensor] = {}
    best: dict[str, Tensor] = {}
    best_score = float("nan")
    members: list[int] = []
    for position, state in enumerate(candidates):
        first = first or state
        tried = _added(total, state)
        soup = _mean(tried, len(members) + 1, first)
        score = evaluate(soup)
        if not members or score >= best_score:  # a score that is not a number is never better
            total, best, best_score = tried, soup, score
            members.append(position)
    if not members:
        raise ValueError("a soup of no weights")
    return best, tuple(members), best_score


def _added(total: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the sum of the floating-point tensors in float64."""
    floats = {name: t for name, t in state.items() if t.is_floating_point()}
    if total and total.keys() != floats.keys():
        raise ValueError("these weights are of different networks")
    return {
        name: total[name] + t.to(torch.float64) if total else t.detach().to(torch.float64)
        for name, t in floats.items()
    }


def _mean(
    total: Mapping[str, Tensor], number: int, first: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    return {
        name: (total[name] / number).to(t.dtype) if name in total else t.detach().clone()
        for name, t in first.items()
    }
