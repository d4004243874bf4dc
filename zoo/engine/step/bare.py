"""Backward pass and optimizer step as torch makes them, without what it puts around them.

torch asks its profiler, its hooks, its compiler and its log, and sorts tensors by device and type,
each time: nothing beside a step of a network, 0.2 of the 0.8 ms of a step on kept features. Here it
is left out where nobody listens and a processor computes. The numbers are torch's, bit by bit.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Variable
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

__all__ = ["bare_backward", "bare_step", "is_plain_adam"]

_log = logging.getLogger("torch.autograd.graph")  # asked for each node that is computed


def bare_backward(loss: Tensor) -> None:
    """Adds the gradient of a loss, a single number on the CPU, to its leaves.

    Raises:
        RuntimeError: It is not a single number, or nothing that it hangs on trains.
    """
    if type(loss) is not Tensor or loss.numel() != 1 or _log.isEnabledFor(logging.DEBUG):
        torch.autograd.backward(loss)
        return
    keep_graph = create_graph = False
    Variable._execution_engine.run_backward(
        (loss,), (torch.ones_like(loss),), keep_graph, create_graph, (),
        allow_unreachable=True, accumulate_grad=True,
    )  # fmt: skip


def bare_step(optimizer: torch.optim.Optimizer) -> None:
    """Makes a step of an optimizer."""
    step: Any = type(optimizer).step
    if _is_watched(optimizer):
        optimizer.step()
    elif not (type(optimizer) in _ADAMS and _fused_step(optimizer)):
        _whole_step(optimizer, step.__wrapped__)


def is_plain_adam(optimizer: torch.optim.Optimizer) -> bool:
    """Returns whether an optimizer is torch's Adam or AdamW, without rarer options or listeners."""
    return (
        type(optimizer) in _ADAMS
        and not _is_watched(optimizer)
        and all(map(_is_plain, optimizer.param_groups))
    )


def _is_watched(optimizer: torch.optim.Optimizer) -> bool:
    """Whether somebody listens to its steps, or they are not what torch makes of its class."""
    wrapped = getattr(type(optimizer).step, "hooked", False) and "step" not in vars(optimizer)
    return not wrapped or bool(
        torch._C._autograd._profiler_enabled()
        or optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or _global_optimizer_pre_hooks
        or _global_optimizer_post_hooks
    )


def _is_plain(group: dict[str, Any]) -> bool:
    """Whether a group of Adam is fused, with numbers for rate and betas, and no rarer option."""
    options = group["amsgrad"] or group["maximize"] or group["differentiable"]
    numbers = (group["lr"], *group["betas"])
    return bool(group["fused"] and not options and all(isinstance(one, float) for one in numbers))


def _whole_step(optimizer: torch.optim.Optimizer, step: Any) -> None:
    """Makes a step by the method of the optimizer's class, without its wrapper for hooks.

    Most of torch's have another one, which imports the compiler to tell it where to stop.
    """
    if getattr(getattr(step, "__code__", None), "co_name", "") != "_use_grad":
        step(optimizer)
        return
    with torch.set_grad_enabled(optimizer.defaults["differentiable"]):
        step.__wrapped__(optimizer)


_ADAMS = (torch.optim.Adam, torch.optim.AdamW)
_SLOTS = ("exp_avg", "exp_avg_sq", "step")


@torch.no_grad()
def _fused_step(optimizer: torch.optim.Optimizer) -> bool:
    """Makes the step of a fused Adam or AdamW on the CPU. Returns whether it could.

    It cannot make the first one, which lays out the state, and none of rarer options.
    """
    calls: list[tuple[dict[str, Any], list[list[Tensor]]]] = []
    for group in optimizer.param_groups:
        if not _is_plain(group):
            return False
        parameters = [p for p in group["params"] if p.grad is not None]
        gradients = [p.grad for p in parameters]
        states = [state for p in parameters if (state := optimizer.state.get(p))]
        if len(states) < len(parameters) or not all(
            t.device.type == "cpu" and t.dtype is torch.float32 and t.layout is torch.strided
            for t in (*parameters, *gradients)
        ):
            return False
        if parameters:
            slots = [[state[name] for state in states] for name in _SLOTS]
            calls.append((group, [parameters, gradients, *slots]))
    if calls:
        torch._foreach_add_([step for _, tensors in calls for step in tensors[-1]], 1)
    for group, (parameters, gradients, means, squares, steps) in calls:
        update = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
        beta1, beta2 = group["betas"]
        update(
            parameters, gradients, means, squares, [], steps, lr=group["lr"], beta1=beta1,
            beta2=beta2, weight_decay=group["weight_decay"], eps=group["eps"], amsgrad=False,
            maximize=False,
        )  # fmt: skip
    return True
