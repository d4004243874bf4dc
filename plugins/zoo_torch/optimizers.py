"""Optimizers of torch and of pytorch_optimizer behind one manner of naming their arguments.

Each takes parameter groups that carry their own ``lr`` and, where it differs, ``weight_decay``.
Their state is tensors and numbers: a run continues from it bit for bit. All hyperparameters that
change a step are read from the groups, so whoever sets ``group["lr"]`` before each step steers.

pytorch_optimizer is imported for its own alone: it takes a second, and transformers along.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.optim import Optimizer

from zoo.errors import UsageError

__all__ = [
    "adabelief",
    "adam",
    "adamw",
    "lion",
    "nadam",
    "radam",
    "ranger",
    "rmsprop",
    "sgd",
]

Groups = Iterable[Mapping[str, object]]


def adam(
    params: Groups,
    *,
    lr: float,
    weight_decay: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    amsgrad: bool = False,
) -> Optimizer:
    """Builds Adam. Weight decay is an L2 penalty. Source: Kingma and Ba 2015, arXiv:1412.6980."""
    groups = _groups(params)
    return torch.optim.Adam(
        groups,
        lr=lr,
        weight_decay=weight_decay,
        betas=(beta1, beta2),
        eps=eps,
        amsgrad=amsgrad,
        fused=_fusible(groups),
    )


def adamw(
    params: Groups,
    *,
    lr: float,
    weight_decay: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    amsgrad: bool = False,
) -> Optimizer:
    """Builds AdamW. Source: Loshchilov and Hutter 2019, arXiv:1711.05101."""
    groups = _groups(params)
    return torch.optim.AdamW(
        groups,
        lr=lr,
        weight_decay=weight_decay,
        betas=(beta1, beta2),
        eps=eps,
        amsgrad=amsgrad,
        fused=_fusible(groups),
    )


def sgd(
    params: Groups,
    *,
    lr: float,
    weight_decay: float,
    momentum: float = 0.9,
    nesterov: bool = False,
) -> Optimizer:
    """Builds SGD with momentum. Source: Sutskever et al. 2013.

    Raises:
        UsageError: ``nesterov`` without momentum.
    """
    if nesterov and momentum == 0:
        raise UsageError(
            "sgd: nesterov needs a momentum",
            found="momentum=0, nesterov=true",
            hint="sgd:momentum=0.9,nesterov=true",
        )
    groups = _groups(params)
    return torch.optim.SGD(
        groups,
        lr=lr,
        weight_decay=weight_decay,
        momentum=momentum,
        nesterov=nesterov,
        fused=_fusible(groups),
    )


def nadam(
    params: Groups,
    *,
    lr: float,
    weight_decay: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    momentum_decay: float = 4e-3,
) -> Optimizer:
    """Builds NAdam. Weight decay is an L2 penalty. Source: Dozat 2016."""
    return torch.optim.NAdam(
        _groups(params),
        lr=lr,
        weight_decay=weight_decay,
        betas=(beta1, beta2),
        eps=eps,
        momentum_decay=momentum_decay,
    )


def radam(
    params: Groups,
    *,
    lr: float,
    weight_decay: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> Optimizer:
    """Builds RAdam. Weight decay is an L2 penalty. Source: Liu et al. 2020, arXiv:1908.03265."""
    return torch.optim.RAdam(
        _groups(params), lr=lr, weight_decay=weight_decay, betas=(beta1, beta2), eps=eps
    )


def rmsprop(
    params: Groups,
    *,
    lr: float,
    weight_decay: float,
    alpha: float = 0.99,
    momentum: float = 0.0,
    eps: float = 1e-8,
    centered: bool = False,
) -> Optimizer:
    """Builds RMSprop. Source: Hinton 2012, lecture 6 of "Neural Networks for Machine Learning"."""
    return torch.optim.RMSprop(
        _groups(params),
        lr=lr,
        weight_decay=weight_decay,
        alpha=alpha,
        momentum=momentum,
        eps=eps,
        centered=centered,
    )


def adabelief(
    params: Groups,
    *,
    lr: float,
    weight_decay: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-16,
    rectify: bool = False,
) -> Optimizer:
    """Builds AdaBelief with decoupled decay. Source: Zhuang et al. 2020, arXiv:2010.07468."""
    import pytorch_optimizer

    return _checked(
        pytorch_optimizer.AdaBelief(
            _groups(params),
            lr=lr,
            weight_decay=weight_decay,
            betas=(beta1, beta2),
            eps=eps,
            rectify=rectify,
            weight_decouple=True,
        )
    )


def ranger(
    params: Groups,
    *,
    lr: float,
    weight_decay: float,
    beta1: float = 0.95,
    beta2: float = 0.999,
    eps: float = 1e-5,
    k: int = 6,
    alpha: float = 0.5,
    centralize: bool = True,
) -> Optimizer:
    """Builds Ranger: RAdam, Lookahead every ``k`` steps and gradient centralisation in one.

    The slow weights of Lookahead are part of the state. Sources: Wright 2019 ("Ranger"), Liu et al.
    2020 (RAdam), Zhang et al. 2019 (Lookahead), Yong et al. 2020 (gradient centralisation).
    """
    import pytorch_optimizer

    return _checked(
        pytorch_optimizer.Ranger(
            _groups(params),
            lr=lr,
            weight_decay=weight_decay,
            betas=(beta1, beta2),
            eps=eps,
            k=k,
            alpha=alpha,
            use_gc=centralize,
            weight_decouple=True,
            # Ranger's first steps are momentum SGD. Without this flag the library gives them a
            # negative step size and climbs.
            degenerated_to_sgd=True,
        )
    )


def lion(
    params: Groups,
    *,
    lr: float,
    weight_decay: float,
    beta1: float = 0.9,
    beta2: float = 0.99,
) -> Optimizer:
    """Builds Lion with decoupled decay. Source: Chen et al. 2023, arXiv:2302.06675."""
    import pytorch_optimizer

    return _checked(
        pytorch_optimizer.Lion(
            _groups(params),
            lr=lr,
            weight_decay=weight_decay,
            betas=(beta1, beta2),
            weight_decouple=True,
        )
    )


def _groups(params: Groups) -> list[dict[str, Any]]:
    """Returns the groups as torch wants them; each is copied because optimizers write into it."""
    return [dict(group) for group in params]


def _fusible(groups: Iterable[Mapping[str, Any]]) -> bool | None:
    """Whether torch's one-kernel step can be used; None leaves the choice to torch.

    On a CPU it takes a third of the time of torch's own choice (benchmarks/optimizers.py).
    """
    parameters = [parameter for group in groups for parameter in group["params"]]
    fits = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters)
    return True if fits else None


def _checked(optimizer: object) -> Optimizer:
    """Returns the optimizer under its torch type, which the library's own types hide."""
    assert isinstance(optimizer, Optimizer)
    return optimizer
