"""Builds the optimizers of timm's registry on parameter groups."""

from __future__ import annotations

import inspect
import random
from typing import TYPE_CHECKING, Any

import torch
from timm.optim import (  # type: ignore[attr-defined]  # public, re-exported without a list
    create_optimizer_v2,
    get_optimizer_class,
    get_optimizer_info,
)
from torch.optim import Optimizer

from zoo.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["build"]

_SEED = 2147483647
"""Any constant does; it is the same in every process, as both algorithms need."""


def build(
    params: Iterable[Mapping[str, object]],
    *,
    name: str,
    lr: float,
    weight_decay: float,
    momentum: float | None = None,
    beta1: float | None = None,
    beta2: float | None = None,
    beta3: float | None = None,
    eps: float | None = None,
) -> Optimizer:
    """Builds the optimizer of that name, such that a run can continue from its state exactly.

    Args:
        params: Groups, each with its own ``lr`` and, where it differs, ``weight_decay``.
        name: As timm's registry has it.
        lr: Base rate.
        weight_decay: For groups that do not say.
        momentum: None: timm's default, which is 0.9.
        beta1: None, as for the others: what the optimizer's class has.
        beta2: See beta1.
        beta3: See beta1.
        eps: See beta1.

    Raises:
        UsageError: The optimizer cannot be built here, for want of a package or of CUDA.
    """
    chosen: dict[str, Any] = {"momentum": momentum, "eps": eps}
    arguments = {key: value for key, value in chosen.items() if value is not None}
    betas = (beta1, beta2, beta3)
    try:
        if any(beta is not None for beta in betas):
            arguments["betas"] = _completed(name, betas)
        optimizer = create_optimizer_v2(
            [dict(group) for group in params],
            opt=name,
            lr=lr,
            weight_decay=weight_decay,
            **arguments,
        )
    except (AssertionError, ImportError, TypeError, ValueError) as error:
        raise UsageError(f"timm's optimizer {name} cannot be built", found=str(error)) from error
    assert isinstance(optimizer, Optimizer)
    optimizer.register_state_dict_post_hook(_types_to_names)
    optimizer.register_load_state_dict_pre_hook(_names_to_types)
    if getattr(optimizer, "is_second_order", False):
        optimizer.register_step_pre_hook(_prepare_second_order)
    if isinstance(getattr(optimizer, "rng", None), random.Random):
        optimizer.register_step_pre_hook(_count_random)
    return optimizer


def _completed(name: str, betas: tuple[float | None, ...]) -> tuple[float, ...]:
    """Returns the betas, with the default of the optimizer's class where one is None."""
    own = get_optimizer_info(name).defaults or {}
    factory = get_optimizer_class(name, bind_defaults=False)
    default = own.get("betas", inspect.signature(factory).parameters["betas"].default)
    if default is None:
        if None in betas[:2]:
            raise UsageError(
                f"{name} has no betas of its own", hint="give beta1 and beta2 together"
            )
        default = betas[:2]
    return tuple(
        usual if beta is None else beta for beta, usual in zip(betas, default, strict=False)
    )


# ---- what makes the state plain, and a continued run equal ---------------------------------------


def _types_to_names(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """Returns the state with tensor types in groups (adafactorbv has them) as text."""
    return {**state, "param_groups": [_mapped(group, _named) for group in state["param_groups"]]}


def _names_to_types(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """Returns the state as the optimizer knows it. Reverses :func:`_types_to_names`."""
    return {**state, "param_groups": [_mapped(group, _typed) for group in state["param_groups"]]}


def _mapped(group: Mapping[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    return {key: change(value) for key, value in group.items()}


def _named(value: Any) -> Any:
    return str(value) if isinstance(value, torch.dtype) else value


def _typed(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("torch."):
        found = getattr(torch, value.removeprefix("torch."), None)
        return found if isinstance(found, torch.dtype) else value
    return value


def _prepare_second_order(optimizer: Any, args: object, kwargs: object) -> None:
    """Seeds adahessian's noise by its step count, so that a continued run draws the same.

    Raises:
        UsageError: Gradients without a graph, from which no second derivative can be taken.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if any(p.grad is not None and p.grad.grad_fn is None for p in parameters):
        raise UsageError(
            "this optimizer takes second derivatives and found gradients without a graph",
            hint="call loss.backward(create_graph=True), or choose another optimizer",
        )
    optimizer.seed = _SEED + _num_steps(optimizer, "hessian step")
    optimizer.generator.manual_seed(optimizer.seed)


def _count_random(optimizer: Any, args: object, kwargs: object) -> None:
    """Seeds kron's private random numbers by its step count, so that they need not be saved."""
    optimizer.rng.seed(_SEED + _num_steps(optimizer, "step"))


def _num_steps(optimizer: Optimizer, key: str) -> int:
    """Returns how many steps were taken, from the state of the parameter that took the most."""
    return max((int(state.get(key, 0)) for state in optimizer.state.values()), default=0)
