"""The running statistics of batch norms: kept still for a pass, or computed anew.

B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["recalibrate", "statistics_held"]

_BATCH_NORM = nn.modules.batchnorm._BatchNorm  # the base of every batch norm, timm's too


def _moving(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """Returns the batch norms whose statistics move with each batch."""
    return [
        m
        for m in model.modules()
        if isinstance(m, _BATCH_NORM) and m.training and m.running_mean is not None
        and m.track_running_stats
    ]  # fmt: skip


@contextmanager
def statistics_held(model: nn.Module) -> Iterator[None]:
    """Keeps running statistics still inside the block; norms still use those of the batch.

    For a second pass over a batch that was seen: SAM's, or one that looks for a fault.
    """
    norms = _moving(model)
    for norm in norms:
        norm.track_running_stats = False  # momentum 0 would still let a NaN through: 0 * NaN
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[Tensor]) -> int:
    """Computes the running statistics anew for the weights as they are, and counts the norms.

    Averaged weights (SWA, soups) have other activations than those that the statistics were taken
    of (Izmailov et al. 2018, section 3.2). Only norms that are in training mode are touched: the
    statistics of frozen and held ones stay. All else computes as in evaluation, so dropout does
    not disturb them; the mean is over batches, each counting the same.

    Args:
        model: The network, in the modes in which it trains. Left in them.
        batches: images_BCHW of training data, normalised. Not read when no norm moves.

    Returns:
        How many norms were computed anew.
    """
    norms = _moving(model)
    if not norms:
        return 0
    modes = [(module, module.training) for module in model.modules()]
    momenta = [norm.momentum for norm in norms]
    try:
        model.eval()
        for norm in norms:
            norm.training = True
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean of all batches
        for images_BCHW in batches:
            model(images_BCHW)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, mode in modes:
            module.training = mode
    return len(norms)
