"""Schedules: factories of functions from the epoch, a fraction within one, to a share of the rate.

At whole epochs each equals the class of torch.optim.lr_scheduler that its docstring names; between
them it goes on smoothly, or holds where the class steps. Past the last epoch a schedule stays at
its end. Rates in arguments (``eta_min``, ``min_lr``) are those of a group at the base rate ``lr``;
groups with another rate are scaled alike.

Only plateau needs torch, which it imports when it is built: explaining a schedule stays fast.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import TYPE_CHECKING

from zoo.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch.optim import Optimizer

    from zoo.protocols import Schedule

__all__ = [
    "Plateau",
    "constant",
    "cosine",
    "exponential",
    "linear",
    "multistep",
    "one_cycle",
    "plateau",
    "polynomial",
    "sgdr",
    "step",
]


def constant() -> Schedule:
    """Builds the schedule that keeps the base rate.

    >>> constant()(7.5)
    1.0
    """
    return lambda epoch: 1.0


def step(*, step_size: int | None = None, gamma: float = 0.1, epochs: float) -> Schedule:
    """Builds ``gamma ** floor(epoch / step_size)``, as StepLR.

    Args:
        step_size: Epochs per step. None: a third of the epochs, at least 1.
        gamma: In (0, 1].
        epochs: Of the schedule's scope.

    >>> [step(step_size=4, gamma=0.5, epochs=12)(epoch) for epoch in (0, 3.9, 4, 8)]
    [1.0, 1.0, 0.5, 0.25]
    """
    size = max(1, round(epochs / 3)) if step_size is None else step_size
    return lambda epoch: gamma ** math.floor(epoch / size)


def multistep(
    *, milestones: Sequence[int] | None = None, gamma: float = 0.1, epochs: float
) -> Schedule:
    """Builds gamma to the number of milestones that are reached, as MultiStepLR.

    Args:
        milestones: Epochs, in any order. None: one half and three quarters of the epochs.
        gamma: In (0, 1].
        epochs: Of the schedule's scope.

    >>> [round(multistep(milestones=(3, 8), epochs=10)(epoch), 3) for epoch in (2.9, 3, 8)]
    [1.0, 0.1, 0.01]
    """
    reached: Sequence[float] = (
        (epochs * 0.5, epochs * 0.75) if milestones is None else sorted(milestones)
    )
    return lambda epoch: gamma ** bisect_right(reached, epoch)


def exponential(*, gamma: float = 0.9) -> Schedule:
    """Builds ``gamma ** epoch``, as ExponentialLR.

    >>> exponential(gamma=0.25)(1.5)
    0.125
    """
    return lambda epoch: gamma**epoch


def linear(*, end_factor: float = 0.0, epochs: float) -> Schedule:
    """Builds a straight line from 1 to ``end_factor``, as LinearLR from start factor 1.

    >>> linear(epochs=10)(2.5)
    0.75
    """
    return lambda epoch: 1 + (end_factor - 1) * _progress(epoch, epochs)


def polynomial(*, power: float = 0.9, epochs: float) -> Schedule:
    """Builds ``(1 - epoch / epochs) ** power``, as PolynomialLR.

    Source: Chen et al. 2017 (DeepLab), arXiv:1606.00915, who use power 0.9.

    >>> polynomial(power=2.0, epochs=10)(5)
    0.25
    """
    return lambda epoch: (1 - _progress(epoch, epochs)) ** power


def cosine(*, eta_min: float = 0.0, epochs: float, lr: float) -> Schedule:
    """Builds half a cosine from ``lr`` to ``eta_min``, as CosineAnnealingLR over all epochs.

    Source: Loshchilov and Hutter 2017, "SGDR", arXiv:1608.03983, without restarts.

    >>> round(cosine(epochs=10, lr=0.1)(5), 6)
    0.5
    """
    end = _lowest(eta_min, lr)
    return lambda epoch: _cosine(1.0, end, _progress(epoch, epochs))


def sgdr(*, t_0: int = 10, t_mult: int = 2, eta_min: float = 0.0, lr: float) -> Schedule:
    """Builds cosines with warm restarts, as CosineAnnealingWarmRestarts.

    Args:
        t_0: Epochs of the first cycle, at least 1.
        t_mult: Each cycle is so many times as long as the one before, at least 1.
        eta_min: Rate at the end of a cycle.
        lr: Base rate, to which each cycle returns.

    Source: Loshchilov and Hutter 2017, arXiv:1608.03983.

    >>> [round(sgdr(t_0=2, t_mult=2, lr=0.1)(epoch), 6) for epoch in (0, 1, 2, 4, 6)]
    [1.0, 0.5, 1.0, 0.5, 1.0]
    """
    end = _lowest(eta_min, lr)

    def factor(epoch: float) -> float:
        length = t_0
        if t_mult == 1:
            epoch %= length
        # Counted, because the closed form's logarithm is off by an ulp at some restarts.
        while epoch >= length:
            epoch -= length
            length *= t_mult
        return _cosine(1.0, end, epoch / length)

    return factor


def one_cycle(
    *,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    epochs: float,
) -> Schedule:
    """Builds a cosine up to the base rate and a longer one down, the curve of OneCycleLR.

    torch counts steps and peaks one step before ``pct_start`` of them; here the curve is a
    function of time, peaks at ``pct_start`` of the epochs and ends with the last.

    Source: Smith and Topin 2018, arXiv:1708.07120.

    >>> [round(one_cycle(epochs=10)(epoch), 6) for epoch in (0, 3, 10)]
    [0.04, 1.0, 4e-06]
    """
    first = 1 / div_factor
    last = first / final_div_factor

    def factor(epoch: float) -> float:
        done = _progress(epoch, epochs)
        if done <= pct_start:
            return _cosine(first, 1.0, done / pct_start)
        return _cosine(1.0, last, (done - pct_start) / (1 - pct_start))

    return factor


def _progress(epoch: float, epochs: float) -> float:
    """Returns the share of the epochs that has passed, in 0..1."""
    return min(max(epoch / epochs, 0.0), 1.0) if epochs > 0 else 1.0


def _lowest(eta_min: float, lr: float) -> float:
    """Returns the smallest rate as a share of the base rate, 0 when that is 0.

    Raises:
        UsageError: It is above the base rate, and the schedule would climb to it.
    """
    if eta_min > lr > 0:
        raise UsageError(
            f"eta_min is the smallest rate, and {eta_min:g} is above the base rate {lr:g}",
            hint=f"eta_min={lr / 100:g}, which is a hundredth of it, or a greater --lr",
        )
    return eta_min / lr if lr > 0 else 0.0


def _cosine(start: float, end: float, progress: float) -> float:
    """Returns the value between start and end at progress 0..1 along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


# ---- plateau ----------------------------------------------------------------------------------


class Plateau:
    """Lowers the rate when the score stops improving: torch's ReduceLROnPlateau, steered.

    torch decides about patience, cooldown and the smallest rate, on a private optimizer that holds
    one parameter and nothing but the rate. What counts as an improvement is decided here, because
    torch's relative threshold takes a *worse* negative score for a better one (its bound is
    ``best * 1.0001``), and a loss is a negative score. For positive scores both agree.

    Args:
        factor: What the rate is multiplied by, in (0, 1).
        patience: Epochs without improvement that are tolerated.
        min_lr: Smallest rate.
        threshold: Gain relative to the size of the best score that counts as an improvement.
        cooldown: Epochs after a reduction in which nothing is counted.
        lr: Base rate.
    """

    def __init__(
        self,
        *,
        factor: float,
        patience: int,
        min_lr: float,
        threshold: float,
        cooldown: int,
        lr: float,
    ) -> None:
        import torch
        from torch.optim.lr_scheduler import ReduceLROnPlateau

        self._base = lr
        self._threshold = threshold
        self._best: float | None = None
        self._num_improvements = 0
        self._optimizer: Optimizer = torch.optim.SGD([torch.zeros(())], lr=lr)
        # It watches the number of improvements, NaN where there is none: better is plainly greater.
        self._torch = ReduceLROnPlateau(
            self._optimizer,
            mode="max",
            factor=factor,
            patience=patience,
            threshold=0.0,
            cooldown=cooldown,
            min_lr=min_lr,
        )

    def __call__(self, epoch: float) -> float:
        """Returns the current rate as a share of the base rate, whatever the epoch."""
        return self._rate / self._base if self._base > 0 else 1.0

    def observe(self, score: float) -> None:
        """Takes note of the monitored metric. NaN and infinity are no improvement."""
        improved = math.isfinite(score) and (self._best is None or score > self._bound(self._best))
        if improved:
            self._best = score
            self._num_improvements += 1
        self._torch.step(self._num_improvements if improved else math.nan)

    def _bound(self, best: float) -> float:
        """Returns what a score must exceed to be an improvement on the best one."""
        return best * (1 + math.copysign(self._threshold, best))

    def state_dict(self) -> dict[str, object]:
        """Returns the state as numbers and None."""
        return {
            "best": self._best,
            "num_improvements": self._num_improvements,
            "num_epochs": self._torch.last_epoch,
            "num_bad_epochs": self._torch.num_bad_epochs,
            "cooldown_counter": self._torch.cooldown_counter,
            "lr": self._rate,
        }

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Continues from a state that :meth:`state_dict` returned."""
        best, num_improvements, lr = state["best"], state["num_improvements"], state["lr"]
        assert best is None or isinstance(best, int | float)
        assert isinstance(num_improvements, int)
        assert isinstance(lr, int | float)
        self._best, self._num_improvements = best, num_improvements
        for group in self._optimizer.param_groups:
            group["lr"] = float(lr)
        self._torch.load_state_dict(
            {
                # Before the first improvement torch's best is below everything.
                "best": float(num_improvements) if num_improvements else -math.inf,
                "last_epoch": state["num_epochs"],
                "num_bad_epochs": state["num_bad_epochs"],
                "cooldown_counter": state["cooldown_counter"],
            }
        )

    @property
    def _rate(self) -> float:
        return float(self._optimizer.param_groups[0]["lr"])


def plateau(
    *,
    factor: float = 0.1,
    patience: int = 3,
    min_lr: float = 1e-6,
    threshold: float = 1e-4,
    cooldown: int = 0,
    lr: float,
) -> Plateau:
    """Builds a :class:`Plateau`."""
    return Plateau(
        factor=factor,
        patience=patience,
        min_lr=min_lr,
        threshold=threshold,
        cooldown=cooldown,
        lr=lr,
    )
