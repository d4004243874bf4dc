"""Losses: the per-sample functions first, then the factories that the table names.

B batch, K classes. Targets are class indices_B (int64) or shares_BK (rows that sum to one).

Half precision is widened to float32 first, so a loss is finite with finite gradients for every
logit that fp16 can hold and for bf16 and fp32 up to 1e30 in size. float64 stays float64 inside,
which lets gradients be checked numerically; the loss that comes out is always float32.

The mean of a batch is ``sum(w l) / sum(w)``, with w the sample's weight times the weight of its
class (for soft targets the classes' weights in the proportions of the target). Cross-entropy treats
class weights as :func:`torch.nn.functional.cross_entropy` does, which differs in two cases: when
targets are smoothed the weights act inside the sum over classes, and with soft targets the divisor
is the number of samples. A batch whose weights are all zero has loss 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.protocols import SoftmaxCost

if TYPE_CHECKING:
    from collections.abc import Callable

    from zoo.protocols import Loss

__all__ = [
    "MeanLoss",
    "asymmetric",
    "asymmetric_per_sample",
    "binary_cross_entropy",
    "binary_cross_entropy_per_sample",
    "cross_entropy_per_sample",
    "focal",
    "focal_per_sample",
    "label_smoothing",
    "poly",
    "poly_per_sample",
    "target_shares",
    "weighted_mean",
]


def target_shares(target: Tensor, num_classes: int, *, smoothing: float = 0.0) -> Tensor:
    """Returns targets_BK in a float type: one-hot or as given, then smoothed over all K classes.

    >>> target_shares(torch.tensor([1]), 2, smoothing=0.2)
    tensor([[0.1000, 0.9000]])
    """
    shares_BK = F.one_hot(target, num_classes).float() if target.ndim == 1 else target
    return shares_BK * (1 - smoothing) + smoothing / num_classes if smoothing else shares_BK


def weighted_mean(
    loss_B: Tensor, counted_B: Tensor | None = None, sample_weight_B: Tensor | None = None
) -> Tensor:
    """Returns ``sum(sample_weight * loss) / sum(sample_weight * counted)`` as a float32 scalar.

    Args:
        loss_B: Loss of each sample, already times the weight of its class.
        counted_B: How much each sample counts, that is the weight of its class. None: 1 each.
        sample_weight_B: Weight of each sample. None: 1 each.
    """
    if counted_B is None and sample_weight_B is None:
        return loss_B.mean().float()
    counted_B = torch.ones_like(loss_B) if counted_B is None else counted_B
    if sample_weight_B is not None:
        sample_weight_B = sample_weight_B.to(loss_B)
        loss_B, counted_B = loss_B * sample_weight_B, counted_B * sample_weight_B
    total = counted_B.sum()
    # A batch in which nothing counts must become 0 and not NaN, and so must its gradient.
    return (loss_B.sum() / torch.where(total > 0, total, 1)).float()


def cross_entropy_per_sample(
    logits_BK: Tensor,
    target: Tensor,
    *,
    smoothing: float = 0.0,
    class_weight_K: Tensor | None = None,
) -> Tensor:
    """Returns loss_B, ``-sum_k w_k t_k log p_k`` with t smoothed over all K classes.

    Source: Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7.
    """
    return F.cross_entropy(
        logits_BK, _like(target, logits_BK), weight=class_weight_K, reduction="none",
        label_smoothing=smoothing,
    )  # fmt: skip


def focal_per_sample(
    logits_BK: Tensor, target: Tensor, *, gamma: float = 2.0, alpha: float | None = None
) -> Tensor:
    """Returns loss_B, ``-alpha sum_k t_k (1 - p_k)^gamma log p_k`` with p the softmax.

    For two classes it is the sigmoid form of Lin et al. 2017, "Focal Loss for Dense Object
    Detection", without that form's weight per class.
    """
    # expm1 keeps 1 - p exact near p = 1.
    if target.ndim == 1:  # one class counts
        cost_B = F.cross_entropy(logits_BK, target, reduction="none")
        loss_B = _power(-torch.expm1(-cost_B), gamma) * cost_B
    else:
        cost_BK = -F.log_softmax(logits_BK, dim=1)
        loss_BK = target.to(logits_BK) * _power(-torch.expm1(-cost_BK), gamma) * cost_BK
        loss_B = loss_BK.sum(dim=1)
    return loss_B if alpha is None else alpha * loss_B


def binary_cross_entropy_per_sample(
    logits_BK: Tensor, target: Tensor, *, smoothing: float = 0.0, sum_classes: bool = False
) -> Tensor:
    """Returns loss_B, the binary cross-entropy of each class against all others, their mean.

    Source: Wightman et al. 2021, "ResNet strikes back", section 2; smoothing as there.
    """
    shares_BK = target_shares(target, logits_BK.shape[1], smoothing=smoothing).to(logits_BK)
    loss_BK = F.binary_cross_entropy_with_logits(logits_BK, shares_BK, reduction="none")
    return loss_BK.sum(dim=1) if sum_classes else loss_BK.mean(dim=1)


def asymmetric_per_sample(
    logits_BK: Tensor,
    target: Tensor,
    *,
    gamma_neg: float = 4.0,
    gamma_pos: float = 1.0,
    clip: float = 0.05,
) -> Tensor:
    """Returns loss_B, the sum over classes of the asymmetric loss with one-hot targets.

    With p the sigmoid and ``p_m = max(p - clip, 0)`` a class costs
    ``-t (1 - p)^gamma_pos log p - (1 - t) p_m^gamma_neg log(1 - p_m)``. This is the multi-label
    form of Ridnik et al. 2021, "Asymmetric Loss For Multi-Label Classification", applied to the
    one-hot target; a soft target mixes both terms in its proportion.
    """
    shares_BK = target_shares(target, logits_BK.shape[1]).to(logits_BK)
    absent_BK = torch.sigmoid(-logits_BK)  # 1 - p, exact where p is near 1
    positive_BK = _power(absent_BK, gamma_pos) * F.logsigmoid(logits_BK)
    if clip > 0:
        absent_BK = (absent_BK + clip).clamp(max=1)
        log_absent_BK = absent_BK.log()
    else:
        log_absent_BK = F.logsigmoid(-logits_BK)
    negative_BK = _power(1 - absent_BK, gamma_neg) * log_absent_BK
    return -(shares_BK * positive_BK + (1 - shares_BK) * negative_BK).sum(dim=1)


def poly_per_sample(
    logits_BK: Tensor, target: Tensor, *, epsilon: float = 1.0, smoothing: float = 0.0
) -> Tensor:
    """Returns loss_B, cross-entropy plus ``epsilon (1 - sum_k t_k p_k)``.

    Source: Leng et al. 2022, "PolyLoss", section 4 (Poly-1).
    """
    if target.ndim == 1 and not smoothing:  # one class counts
        cost_B = F.cross_entropy(logits_BK, target, reduction="none")
        return cost_B - epsilon * torch.expm1(-cost_B)
    shares_BK = target_shares(target, logits_BK.shape[1], smoothing=smoothing).to(logits_BK)
    log_p_BK = F.log_softmax(logits_BK, dim=1)
    cross_entropy_B = -(shares_BK * log_p_BK).sum(dim=1)
    return cross_entropy_B + epsilon * (1 - (shares_BK * log_p_BK.exp()).sum(dim=1))


def _like(target: Tensor, logits_BK: Tensor) -> Tensor:
    return target.to(logits_BK) if target.is_floating_point() else target


def _power(base: Tensor, exponent: float) -> Tensor:
    """Returns ``base ** exponent``, with finite gradients at base 0."""
    if exponent >= 2:
        return base.pow(exponent)
    return base.clamp_min(torch.finfo(base.dtype).tiny).pow(exponent)


def _widened(logits_BK: Tensor) -> Tensor:
    return logits_BK if logits_BK.dtype == torch.float64 else logits_BK.float()


# ---- the factories that components name -------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanLoss:
    """The weighted mean of a loss per sample. What the factories below return.

    Args:
        per_sample: Maps logits_BK and target to loss_B, weights of classes included.
        counted: Maps a target to counted_B, what each sample adds to the divisor of the mean apart
            from its own weight. None: 1 each.
        mean: Maps logits_BK and target to the mean of ``per_sample`` in one call, where every
            sample counts 1: torch's own takes 0.05 ms less of a step on kept features.
        cost: What a sample of a class costs, where it is of that family and no class has a weight.
    """

    per_sample: Callable[[Tensor, Tensor], Tensor]
    counted: Callable[[Tensor], Tensor] | None = None
    mean: Callable[[Tensor, Tensor], Tensor] | None = None
    cost: SoftmaxCost | None = None

    def __call__(
        self, logits_BK: Tensor, target: Tensor, sample_weight_B: Tensor | None = None
    ) -> Tensor:
        """Returns the mean loss, float32."""
        if self.mean is not None and sample_weight_B is None:
            return self.mean(_widened(logits_BK), target).float()
        loss_B = self.per_sample(_widened(logits_BK), target)
        counted_B = None if self.counted is None else self.counted(target).to(loss_B)
        return weighted_mean(loss_B, counted_B, sample_weight_B)

    def mass(self, target: Tensor, sample_weight_B: Tensor | None = None) -> Tensor:
        """Returns the divisor of the mean."""
        if self.counted is None:
            counted_B = torch.ones(len(target), device=target.device)
        else:
            counted_B = self.counted(target)
        if sample_weight_B is not None:
            counted_B = counted_B.to(sample_weight_B) * sample_weight_B
        return counted_B.sum()


def label_smoothing(*, smoothing: float = 0.1, class_weight_K: Tensor | None = None) -> Loss:
    """Builds cross-entropy: hard or soft targets, smoothing, class weights, sample weights."""

    def per_sample(logits_BK: Tensor, target: Tensor) -> Tensor:
        weight_K = None if class_weight_K is None else class_weight_K.to(logits_BK)
        return cross_entropy_per_sample(
            logits_BK, target, smoothing=smoothing, class_weight_K=weight_K
        )

    def counted(target: Tensor) -> Tensor:
        if class_weight_K is None or target.ndim == 2:
            return torch.ones(len(target), device=target.device)
        return class_weight_K.to(target.device)[target]

    if class_weight_K is not None:
        return MeanLoss(per_sample=per_sample, counted=counted)
    return MeanLoss(
        per_sample=per_sample,
        mean=lambda logits_BK, target: F.cross_entropy(
            logits_BK, _like(target, logits_BK), label_smoothing=smoothing
        ),
        cost=SoftmaxCost(smoothing=smoothing),
    )


def focal(
    *, gamma: float = 2.0, alpha: float | None = None, class_weight_K: Tensor | None = None
) -> Loss:
    """Builds the focal loss of :func:`focal_per_sample`."""
    return _weighed(
        lambda logits_BK, target: focal_per_sample(logits_BK, target, gamma=gamma, alpha=alpha),
        class_weight_K,
        cost=SoftmaxCost(gamma=gamma, alpha=1.0 if alpha is None else alpha),
    )


def binary_cross_entropy(
    *, smoothing: float = 0.0, sum_classes: bool = False, class_weight_K: Tensor | None = None
) -> Loss:
    """Builds the loss of :func:`binary_cross_entropy_per_sample`."""
    return _weighed(
        lambda logits_BK, target: binary_cross_entropy_per_sample(
            logits_BK, target, smoothing=smoothing, sum_classes=sum_classes
        ),
        class_weight_K,
    )


def asymmetric(
    *,
    gamma_neg: float = 4.0,
    gamma_pos: float = 1.0,
    clip: float = 0.05,
    class_weight_K: Tensor | None = None,
) -> Loss:
    """Builds the loss of :func:`asymmetric_per_sample`."""
    return _weighed(
        lambda logits_BK, target: asymmetric_per_sample(
            logits_BK, target, gamma_neg=gamma_neg, gamma_pos=gamma_pos, clip=clip
        ),
        class_weight_K,
    )


def poly(
    *, epsilon: float = 1.0, smoothing: float = 0.0, class_weight_K: Tensor | None = None
) -> Loss:
    """Builds the loss of :func:`poly_per_sample`."""
    return _weighed(
        lambda logits_BK, target: poly_per_sample(
            logits_BK, target, epsilon=epsilon, smoothing=smoothing
        ),
        class_weight_K,
        cost=None if smoothing else SoftmaxCost(epsilon=epsilon),
    )


def _weighed(
    per_sample: Callable[[Tensor, Tensor], Tensor], class_weight_K: Tensor | None, *,
    cost: SoftmaxCost | None = None,
) -> Loss:  # fmt: skip
    """Returns the loss that weighs each sample by its class and takes the weighted mean."""
    if class_weight_K is None:
        return MeanLoss(per_sample=per_sample, cost=cost)

    def counted(target: Tensor) -> Tensor:
        weight_K = class_weight_K.to(target.device)
        return weight_K[target] if target.ndim == 1 else target.to(weight_K) @ weight_K

    return MeanLoss(
        per_sample=lambda logits_BK, target: (
            per_sample(logits_BK, target) * counted(target).to(logits_BK)
        ),
        counted=counted,
    )
