"""Calls of the library for a linear layer under a loss of the softmax, with tensors.

Shapes: N rows of a table, B batch, F features, K classes.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from zoo.network.fast.native.compiler import Code, loaded
from zoo.protocols import SoftmaxCost

__all__ = ["LINEAR", "AdamSteps", "LinearGradient", "LinearKernels", "Tuned"]


class LinearGradient(NamedTuple):
    """What a step is made of.

    Args:
        loss: The mean, a scalar.
        logits_BK: Scores.
        weight_KF: The gradient of the weight.
        bias_K: That of the bias; None without one.
    """

    loss: Tensor
    logits_BK: Tensor
    weight_KF: Tensor
    bias_K: Tensor | None


class Tuned(NamedTuple):
    """A tensor that Adam moves, all of float32 on the CPU, contiguous and of one shape.

    Args:
        value: It.
        gradient: Where its gradient goes.
        mean: The running mean of gradients.
        square: That of their squares.
        decay: Its weight decay.
    """

    value: Tensor
    gradient: Tensor
    mean: Tensor
    square: Tensor
    decay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamSteps:
    """Steps of Adam that are made one after the other.

    Args:
        weight: Of the layer, (K, F).
        bias: The like, (K,); None without one.
        betas: Of the running means.
        epsilon: Added to the root of the mean square.
        decoupled: Whether weight decay is apart from the gradient (AdamW).
        before: How many steps were made before.
        counts: Samples of each step.
        rates: Learning rates of weight and bias at each step.
    """

    weight: Tuned
    bias: Tuned | None
    betas: tuple[float, float]
    epsilon: float
    decoupled: bool
    before: int
    counts: Sequence[int]
    rates: Sequence[tuple[float, float]]


_FUNCTIONS = (
    ("zoo_linear_scores", (ctypes.c_void_p,) * 6, ctypes.c_int64),
    ("zoo_linear_gradient", (ctypes.c_void_p,) * 11, ctypes.c_int64),
    (
        "zoo_linear_adam",
        (*(ctypes.c_void_p,) * 7, ctypes.c_int64, *(ctypes.c_void_p,) * 5),
        ctypes.c_int64,
    ),
)


class _Problem(ctypes.Structure):
    """Sizes and cost, as ``linear.c`` declares them."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("rows", "samples", "features", "classes")),
        *((name, ctypes.c_float) for name in ("smoothing", "gamma", "alpha", "epsilon")),
    )


class _Adam(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_double) for name in ("beta1", "beta2", "epsilon")),
        *((name, ctypes.c_int64) for name in ("decoupled", "before")),
    )


class _Tuned(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("value", "gradient", "mean", "square")),
        ("decay", ctypes.c_double),
    )

    @classmethod
    def of(cls, tuned: Tuned | None) -> _Tuned:
        return cls() if tuned is None else cls(*(t.data_ptr() for t in tuned[:4]), tuned.decay)


@dataclass(frozen=True, slots=True)
class LinearKernels:
    """A compiled library, by its path, so that it can be copied and pickled."""

    path: Path

    @property
    def usable(self) -> bool:
        """Whether the library can be loaded here."""
        return loaded(self.path, _FUNCTIONS) is not None

    def computes_right(self) -> bool:
        """Returns whether the library gives what torch gives, for one batch."""
        return _computes_right(self)

    def scores(
        self, table_NF: Tensor, places_B: Tensor, weight_KF: Tensor, bias_K: Tensor | None
    ) -> Tensor:
        """Returns what a linear layer makes of some rows, (B, K). Arguments as of :meth:`gradient`.

        Raises:
            IndexError: A place is not in its range.
        """
        library = loaded(self.path, _FUNCTIONS)
        assert library is not None
        logits_BK = weight_KF.new_empty(len(places_B), len(weight_KF))
        tensors = (table_NF, places_B, weight_KF, bias_K, logits_BK)
        if not library.zoo_linear_scores(
            ctypes.byref(_problem(SoftmaxCost(), table_NF, weight_KF, num_samples=len(places_B))),
            *[None if one is None else one.data_ptr() for one in tensors],
        ):
            raise IndexError(_NO_SUCH)
        return logits_BK

    def gradient(
        self, cost: SoftmaxCost, table_NF: Tensor, places_B: Tensor, target_B: Tensor,
        weight_KF: Tensor, bias_K: Tensor | None,
    ) -> LinearGradient:  # fmt: skip
        """Returns loss, scores and gradients of a linear layer, the mean of a batch.

        All float tensors are float32 on the CPU and contiguous, and the indices are int64.

        Args:
            cost: Of a sample.
            table_NF: Rows, the samples' among them.
            places_B: Which of them are the batch's, in 0..N-1, at least one.
            target_B: Their classes, in 0..K-1.
            weight_KF: Of the layer.
            bias_K: The like.

        Raises:
            IndexError: A place or a class is not in its range.
        """
        library = loaded(self.path, _FUNCTIONS)
        assert library is not None  # whoever calls has asked whether it is usable
        logits_BK = weight_KF.new_empty(len(places_B), len(weight_KF))
        made = LinearGradient(
            weight_KF.new_empty(()), logits_BK, torch.empty_like(weight_KF),
            None if bias_K is None else torch.empty_like(bias_K),
        )  # fmt: skip
        tensors = (
            table_NF, places_B, target_B, weight_KF, bias_K, logits_BK, made.loss,
            torch.empty_like(logits_BK), made.weight_KF, made.bias_K,
        )  # fmt: skip
        if not library.zoo_linear_gradient(
            ctypes.byref(_problem(cost, table_NF, weight_KF, num_samples=len(places_B))),
            *[None if one is None else one.data_ptr() for one in tensors],
        ):
            raise IndexError(_NO_SUCH)
        return made

    def make(
        self, cost: SoftmaxCost, steps: AdamSteps, table_NF: Tensor, places_S: Tensor,
        target_S: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Makes steps of Adam, and returns the mean loss of each and logits_SK of all samples.

        It ends before a step whose loss is not finite; the losses are fewer then.

        Args:
            cost: Of a sample.
            steps: They.
            table_NF: As for :meth:`gradient`.
            places_S: Which rows the samples of all steps are, one step behind the other.
            target_S: Their classes.

        Raises:
            IndexError: A place or a class is not in its range. No step was made.
        """
        library = loaded(self.path, _FUNCTIONS)
        assert library is not None
        weight_KF, num_steps = steps.weight.value, len(steps.counts)
        logits_SK = weight_KF.new_empty(len(places_S), len(weight_KF))
        losses = weight_KF.new_empty(num_steps)
        slopes_BK = weight_KF.new_empty(max(steps.counts), len(weight_KF))
        adam = _Adam(*steps.betas, steps.epsilon, steps.decoupled, steps.before)
        num_made = library.zoo_linear_adam(
            ctypes.byref(_problem(cost, table_NF, weight_KF, num_samples=len(places_S))),
            ctypes.byref(adam),
            ctypes.byref(_Tuned.of(steps.weight)), ctypes.byref(_Tuned.of(steps.bias)),
            *(one.data_ptr() for one in (table_NF, places_S, target_S)), num_steps,
            (ctypes.c_int64 * num_steps)(*steps.counts),
            (ctypes.c_double * (2 * num_steps))(*(rate for pair in steps.rates for rate in pair)),
            *(one.data_ptr() for one in (logits_SK, losses, slopes_BK)),
        )  # fmt: skip
        if num_made < 0:
            raise IndexError(_NO_SUCH)
        return losses[:num_made], logits_SK


_NO_SUCH = "a sample is of no row of the features, or of no class of the head"


def _problem(
    cost: SoftmaxCost, table_NF: Tensor, weight_KF: Tensor, *, num_samples: int
) -> _Problem:
    num_classes, num_features = weight_KF.shape
    return _Problem(
        len(table_NF), num_samples, num_features, num_classes,
        cost.smoothing, cost.gamma, cost.alpha, cost.epsilon,
    )  # fmt: skip


@functools.cache
def _computes_right(kernels: LinearKernels) -> bool:
    numbers = torch.Generator().manual_seed(0)
    table_NF, weight_KF, bias_K = (
        torch.randn(*shape, generator=numbers, dtype=torch.float32)
        for shape in ((20, 85), (11, 85), (11,))
    )
    places_B = torch.randperm(20, generator=numbers)[:13]
    target_B = torch.arange(13) % 11
    made = kernels.gradient(SoftmaxCost(), table_NF, places_B, target_B, weight_KF, bias_K)
    scores_BK = kernels.scores(table_NF, places_B, weight_KF, bias_K)
    weight, bias = (
        Tuned(one.clone(), torch.empty_like(one), torch.zeros_like(one), torch.zeros_like(one), 0.1)
        for one in (weight_KF, bias_K)
    )
    steps = AdamSteps(
        weight=weight, bias=bias, betas=(0.9, 0.99), epsilon=1e-3, decoupled=True, before=0,
        counts=[13], rates=[(0.1, 0.1)],
    )  # fmt: skip
    kernels.make(SoftmaxCost(), steps, table_NF, places_B, target_B)
    with torch.inference_mode(mode=False), torch.enable_grad():
        leaves = [one.clone().requires_grad_() for one in (weight_KF, bias_K)]
        logits_BK = functional.linear(table_NF[places_B], *leaves)
        loss = functional.cross_entropy(logits_BK, target_B)
        slopes = torch.autograd.grad(loss, leaves)
    # A first step of Adam goes by the gradient over its size.
    moved = (
        one.detach() * (1 - 0.1 * 0.1) - 0.1 * slope / (slope.abs() + 1e-3)
        for one, slope in zip(leaves, slopes, strict=True)
    )
    return all(
        one is not None and torch.allclose(one, other, rtol=1e-4, atol=1e-4)
        for one, other in zip(
            (*made, scores_BK, weight.value, bias.value),
            (loss.detach(), logits_BK.detach(), *slopes, logits_BK.detach(), *moved), strict=True,
        )
    )  # fmt: skip


LINEAR = Code(what="steps of a linear head", library=LinearKernels, sources=("lanes.h", "linear.c"))
"""The code of :class:`LinearKernels`."""
