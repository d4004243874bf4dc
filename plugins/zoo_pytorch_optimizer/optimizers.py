"""Builds pytorch_optimizer's optimizers on parameter groups.

As its constructors want them; with a state that is tensors, numbers and text, from which a run
continues to the bit; and with randomness that is a function of the step.
"""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any

import torch
from pytorch_optimizer.optimizer import OPTIMIZERS
from torch.optim import Optimizer

from zoo.errors import UsageError, in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["build"]

_ORTHOGONAL = frozenset({"adago", "adamuon", "muon", "normuon"})
"""They make matrices orthogonal, and take AdamW's steps in groups that say so."""

_SECOND_ORDER = frozenset({"adahessian", "sophiah"})

_TUPLES = ("ns_coeffs", "ns_reset_steps")
"""What these optimizers accept as tuples of tuples alone, and JSON makes lists of."""

Groups = list[dict[str, Any]]


def build(
    params: Iterable[Mapping[str, object]],
    *,
    name: str,
    lr: float,
    weight_decay: float,
    **arguments: Any,
) -> Optimizer:
    """Builds the optimizer of that name.

    Args:
        params: Groups, each with its own ``lr`` and, where it differs, ``weight_decay``.
        name: The library's, in lower case.
        lr: Base rate.
        weight_decay: For groups that do not say.
        arguments: Those that the component declares; ``beta1`` and its like are put together.

    Raises:
        UsageError: The optimizer refuses its arguments.
    """
    factory: Callable[..., Any] = OPTIMIZERS[name]
    accepted = inspect.signature(factory).parameters
    given: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay, **_joined(arguments, accepted)}
    groups: Groups = [{"weight_decay": weight_decay, **group} for group in params]
    if name in _ORTHOGONAL:
        groups = _by_rank(groups)
    try:
        optimizer = factory(groups, **{key: v for key, v in given.items() if key in accepted})
    except (AssertionError, NotImplementedError, TypeError, ValueError) as error:
        raise UsageError(
            f"the optimizer {name} cannot be built", found=in_words(error, kind=False)
        ) from error
    assert isinstance(optimizer, Optimizer)
    optimizer.register_state_dict_post_hook(_to_plain)
    optimizer.register_load_state_dict_pre_hook(_from_plain)
    if name in _SECOND_ORDER:
        # What the engine asks an optimizer before it differentiates the loss.
        optimizer.is_second_order = True  # type: ignore[attr-defined]
        optimizer.register_step_pre_hook(_needs_graph)
    if name == "stablespam":
        optimizer.register_step_pre_hook(_count_again)
    return optimizer


def _joined(arguments: Mapping[str, Any], accepted: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments with ``beta1`` and ``beta2`` as ``betas``, where that is accepted."""
    rest = dict(arguments)
    for whole in ("betas", "adamw_betas", "betas_1d", "nus"):
        if whole not in accepted:
            continue
        default = accepted[whole].default
        names = [whole.replace("s", f"{n + 1}", 1) if whole == "nus" else
                 whole.replace("betas", f"beta{n + 1}") for n in range(len(default))]  # fmt: skip
        values = [(rest.pop(n, None), usual) for n, usual in zip(names, default, strict=True)]
        rest[whole] = tuple(usual if value is None else value for value, usual in values)
    return rest


def _by_rank(groups: Groups) -> Groups:
    """Returns the groups with matrices and kernels apart from vectors and scalars."""
    parts: Groups = []
    for group in groups:
        for matrices in (True, False):
            members = [p for p in group["params"] if (p.ndim >= 2) == matrices]
            if members:
                parts.append({**group, "params": members, "use_muon": matrices})
    return parts


# ---- what makes the state plain, and a continued run equal ---------------------------------------


def _to_plain(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """Returns the state without types and infinite numbers, which JSON does not know."""
    return {
        **state,
        "state": {key: _plain(slots) for key, slots in state["state"].items()},
        "param_groups": [_plain(group) for group in state["param_groups"]],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, torch.dtype) or (isinstance(value, float) and not math.isfinite(value)):
        return str(value)
    return value


def _from_plain(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """Returns the groups as the optimizer knows them. Reverses :func:`_to_plain`."""
    groups = [{key: _known(key, v) for key, v in group.items()} for group in state["param_groups"]]
    return {**state, "param_groups": groups}


def _known(key: str, value: Any) -> Any:
    if key in _TUPLES:
        return _as_tuple(value)
    if isinstance(value, str):
        if value in ("inf", "-inf"):
            return float(value)
        found = getattr(torch, value.removeprefix("torch."), None)
        return found if value.startswith("torch.") and isinstance(found, torch.dtype) else value
    return value


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list | tuple) else value


def _count_again(optimizer: Any, args: object, kwargs: object) -> None:
    """Sets stablespam's count of steps from its groups, where it is part of the state."""
    optimizer.total_step = max(int(group.get("step", 0)) for group in optimizer.param_groups)


def _needs_graph(optimizer: Optimizer, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Raises UsageError for gradients from which no second derivative can be taken."""
    if any(value is not None for value in (*args[1:], *kwargs.values())):
        return  # a closure, which has yet to compute them
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if any(p.grad is not None and p.grad.grad_fn is None for p in parameters):
        raise UsageError(
            "this optimizer takes second derivatives and found gradients without a graph",
            hint="call loss.backward(create_graph=True), or choose another optimizer",
        )
