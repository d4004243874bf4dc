"""Heads: what turns a network's features into logits.

B batch, F features, D units of a hidden layer, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["CosineHead", "MLPHead", "NormLinear", "cosine_logits", "linear"]


def linear(*, num_features: int, num_classes: int) -> nn.Module:
    """Builds a linear layer with bias."""
    return nn.Linear(num_features, num_classes)


class NormLinear(nn.Module):
    """Features normalised without an affine map of their own, then a linear layer.

    How large the features of a backbone are does not matter then, neither to the learning rate nor
    to weight decay. Batch norm is what linear probes of self-supervised networks use: Doersch et
    al. 2015, "Context Prediction", section 3; He et al. 2022, "Masked Autoencoders", appendix A.1.

    Args:
        num_features: F.
        num_classes: K.
        norm: ``batch`` normalises each feature over images, ``layer`` each image over features.
    """

    def __init__(self, *, num_features: int, num_classes: int, norm: str = "batch") -> None:
        super().__init__()
        self.norm: nn.Module = (
            nn.BatchNorm1d(num_features, affine=False)
            if norm == "batch"
            else nn.LayerNorm(num_features, elementwise_affine=False)
        )
        self.linear = nn.Linear(num_features, num_classes)

    def forward(self, features_BF: Tensor) -> Tensor:
        """Returns logits_BK."""
        logits_BK: Tensor = self.linear(self.norm(features_BF))
        return logits_BK


class MLPHead(nn.Module):
    """Hidden layers with ReLU, norms between them, dropout before each linear map.

    With ``norm="batch"`` it is the head of fastai behind its pooling: norm, dropout of half the
    rate, linear without bias, ReLU, norm, dropout, linear (Howard and Gugger 2020, "fastai: A
    Layered API for Deep Learning", section 2.1; fastai's last layer has no bias, this one has).

    Args:
        num_features: F.
        num_classes: K.
        hidden: Units of each hidden layer; none makes it a linear layer behind norm and dropout.
        dropout: Share that is dropped before the last layer, 0 <= p < 1; half before the others.
        norm: ``batch``, ``layer`` or ``off``.
    """

    def __init__(
        self,
        *,
        num_features: int,
        num_classes: int,
        hidden: Sequence[int] = (512,),
        dropout: float = 0.5,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        widths = (num_features, *hidden)
        layers: list[nn.Module] = [*_normed(norm, num_features)]
        for inputs, outputs in pairwise(widths):
            layers += [
                *_dropped(dropout / 2),
                nn.Linear(inputs, outputs, bias=norm == "off"),  # a norm has a shift of its own
                nn.ReLU(inplace=True),
                *_normed(norm, outputs),
            ]
        self.hidden = nn.Sequential(*layers, *_dropped(dropout))
        self.linear = nn.Linear(widths[-1], num_classes)

    def forward(self, features_BF: Tensor) -> Tensor:
        """Returns logits_BK."""
        logits_BK: Tensor = self.linear(self.hidden(features_BF))
        return logits_BK


def _normed(norm: str, num_features: int) -> tuple[nn.Module, ...]:
    if norm == "off":
        return ()
    return (nn.BatchNorm1d(num_features) if norm == "batch" else nn.LayerNorm(num_features),)


def _dropped(rate: float) -> tuple[nn.Module, ...]:
    return (nn.Dropout(rate),) if rate else ()


def cosine_logits(features_BF: Tensor, weight_KF: Tensor, scale: Tensor | float) -> Tensor:
    """Returns logits_BK, ``scale * cos(features_b, weight_k)``; 0 for features that are all 0.

    Source: Gidaris and Komodakis 2018, "Dynamic Few-Shot Visual Learning without Forgetting",
    section 3.2.

    >>> cosine_logits(torch.tensor([[3.0, 4.0]]), torch.tensor([[2.0, 0.0], [0.0, 1.0]]), 10.0)
    tensor([[6., 8.]])
    """
    wide = torch.promote_types(features_BF.dtype, torch.float32)  # squares of fp16 overflow
    directions_BF = F.normalize(features_BF.to(wide), dim=1)
    return scale * F.linear(directions_BF, F.normalize(weight_KF.to(wide), dim=1))


class CosineHead(nn.Module):
    """The cosine of features and class weights, times a scale: sizes say nothing, directions all.

    The scale is learned as its logarithm, so that it stays positive and a step changes it by a
    share. A fixed one is that of Chen et al. 2019, "A Closer Look at Few-shot Classification".

    Args:
        num_features: F.
        num_classes: K.
        scale: Of the cosine, above 0.
        learned: Whether the scale is a parameter.
    """

    zoo_last = None
    """It does not end with a linear layer, and weights of zero have no direction."""

    def __init__(
        self, *, num_features: int, num_classes: int, scale: float = 10.0, learned: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, num_features))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # as nn.Linear does
        log_scale = torch.tensor(math.log(scale))
        if learned:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)

    def forward(self, features_BF: Tensor) -> Tensor:
        """Returns logits_BK."""
        return cosine_logits(features_BF, self.weight, self.log_scale.exp())
