"""What is required of an optimizer.

Parameters are those of no network: one of each rank that optimizers treat apart, and one that
never has a gradient.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from zoo.testing.requiring import equal_bits, require, seeded
from zoo.testing.subject import Subject

__all__ = ["CHECKS", "through_files"]

_SHAPES: Mapping[str, tuple[int, ...]] = {
    "scale": (), "bias": (5,), "matrix": (4, 3), "kernel": (4, 3, 2, 2),
}  # fmt: skip
_RATES = (0.01, 1e-3, 0.1, 1.0, 1e-4, 1e-5, 10.0)
"""Each is tried until one descends: what a good rate is differs from optimizer to optimizer."""

_STEPS = 60


class _Bench:
    """Parameters and the same noisy losses at each step, whoever asks.

    Args:
        subject: The optimizer.
        lr: Rate of both groups: matrices first, then vectors and scalars.
        decay: Weight decay of each group.
    """

    def __init__(
        self, subject: Subject, *, lr: tuple[float, float] = (0.01, 0.005),
        decay: tuple[float, float] = (0.05, 0.0),
    ) -> None:  # fmt: skip
        draw = torch.Generator().manual_seed(3)
        self.parameters = {
            name: nn.Parameter(torch.randn(shape, generator=draw))
            for name, shape in _SHAPES.items()
        }
        self.goals = {name: torch.randn(shape, generator=draw) for name, shape in _SHAPES.items()}
        self.spare = nn.Parameter(torch.ones(2, 3))  # has never a gradient
        found = self.parameters
        lists = ([found["matrix"], found["kernel"], self.spare], [found["scale"], found["bias"]])
        self.groups = [
            {"params": list(members), "lr": rate, "weight_decay": share}
            for members, rate, share in zip(lists, lr, decay, strict=True)
        ]
        self.lists = lists
        self.optimizer = _built(subject, self.groups, lr=lr[0], weight_decay=decay[0])

    def loss(self, step: int) -> Tensor:
        """Returns the loss of a step: distances from the goals, and noise of that step alone."""
        draw = torch.Generator().manual_seed(100 + step)
        terms = [
            (parameter - self.goals[name]).square().mul(0.5 + index).sum()
            + (parameter * torch.randn(_SHAPES[name], generator=draw)).sum()
            for index, (name, parameter) in enumerate(self.parameters.items())
        ]
        return torch.stack(terms).sum()

    def train(self, steps: range) -> None:
        """Makes the steps."""
        for step in steps:
            with seeded(step):
                self.optimizer.zero_grad()
                _backward(self.optimizer, self.loss(step))
                self.optimizer.step()

    def values(self) -> dict[str, Tensor]:
        """Returns copies of the parameters that have gradients."""
        return {name: p.detach().clone() for name, p in self.parameters.items()}


def _built(
    subject: Subject, groups: Sequence[Mapping[str, object]], *, lr: float, weight_decay: float
) -> Optimizer:
    built = subject.build(params=groups, lr=lr, weight_decay=weight_decay)
    if not isinstance(built, Optimizer):
        raise AssertionError(f"it built a {type(built).__name__}, not a torch.optim.Optimizer")
    return built


def _backward(optimizer: Optimizer, loss: Tensor) -> None:
    """Computes gradients as the engine does: with a graph for optimizers of second order."""
    with _no_word_of_graphs():
        loss.backward(create_graph=getattr(optimizer, "is_second_order", False))  # type: ignore[no-untyped-call]  # torch's


@contextmanager
def _no_word_of_graphs() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Using backward\\(\\) with create_graph=True")
        yield


def _moved(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> set[str]:
    return {name for name, value in before.items() if not equal_bits(value, after[name])}


def through_files(state: Mapping[str, Any]) -> dict[str, Any]:
    """Takes an optimizer's state through JSON and separate tensors, as a checkpoint does.

    Raises:
        TypeError: There is something in it that is neither, or a number that is not finite.
    """
    tensors: list[Tensor] = []

    def take(value: Any) -> Any:
        if isinstance(value, Tensor):
            tensors.append(value.detach().clone())
            return {"tensor": len(tensors) - 1}
        if isinstance(value, Mapping):
            return {"items": [[key, take(item)] for key, item in value.items()]}
        if isinstance(value, list | tuple):
            return [take(item) for item in value]
        return value

    def give(value: Any) -> Any:
        if isinstance(value, dict):
            if "tensor" in value:
                return tensors[value["tensor"]]
            return {key: give(item) for key, item in value["items"]}
        return [give(item) for item in value] if isinstance(value, list) else value

    kept = {key: state[key] for key in ("state", "param_groups")}
    try:
        text = json.dumps(take(kept), allow_nan=False)
    except ValueError as error:
        raise TypeError(str(error)) from error
    read: dict[str, Any] = give(json.loads(text))
    return read


# ---- what it does to a loss -------------------------------------------------------------------


def descends(subject: Subject) -> None:
    """It lowers a quadratic by a tenth within 60 steps, at one of seven rates from 1e-5 to 10."""
    _descend(subject, torch.linspace(0.5, 2.0, 5), distance=1.0)


def descends_badly_scaled(subject: Subject) -> None:
    """The same where one direction is 10,000 times as steep, with gradients of 1e5 and finite."""
    _descend(subject, torch.tensor([1.0, 10.0, 100.0, 1e3, 1e4]), distance=3.0)


def _descend(subject: Subject, curvature_5: Tensor, *, distance: float) -> None:
    draw = torch.Generator().manual_seed(0)
    goal = torch.randn(6, 5, generator=draw)
    start = goal + distance * torch.randn(6, 5, generator=draw)
    seen: dict[float, float] = {}
    for rate in _RATES:
        weight = nn.Parameter(start.clone())
        group = {"params": [weight], "lr": rate, "weight_decay": 0.0}
        optimizer = _built(subject, [group], lr=rate, weight_decay=0.0)

        def loss(weight: nn.Parameter = weight) -> Tensor:
            return (curvature_5 * (weight - goal).square()).sum()

        first = loss().item()
        for step in range(_STEPS):
            with seeded(step):
                optimizer.zero_grad()
                _backward(optimizer, loss())
                optimizer.step()
            if not bool(weight.isfinite().all()):
                break
        seen[rate] = loss().item() / first
        if seen[rate] < 0.9:
            return
    shares = ", ".join(f"{share:.3g} of it at rate {rate:g}" for rate, share in seen.items())
    raise AssertionError(f"the loss of a quadratic does not fall: after {_STEPS} steps {shares}")


def moves_every_shape(subject: Subject) -> None:
    """Float32 parameters of 0, 1, 2 and 4 dimensions all move, stay finite and keep their type."""
    bench = _Bench(subject)
    before = bench.values()
    bench.train(range(4))
    for name, parameter in bench.parameters.items():
        shown = f"{parameter.dtype} of shape {tuple(parameter.shape)}"
        kept = parameter.shape == before[name].shape and parameter.dtype == torch.float32
        require(kept, f"a float32 parameter of shape {_SHAPES[name]} became {shown}")
        require(bool(parameter.isfinite().all()), f"a parameter, {shown}, is no longer finite")
    still = before.keys() - _moved(before, bench.values())
    shapes = ", ".join(str(_SHAPES[name]) for name in sorted(still))
    require(not still, f"parameters of shape {shapes} have gradients and do not move in 4 steps")


def deterministic(subject: Subject) -> None:
    """Two of it, with the same gradients and seeds, make the same bits."""
    one, other = _Bench(subject), _Bench(subject)
    one.train(range(4))
    other.train(range(4))
    differing = _moved(one.values(), other.values())
    require(not differing, f"two equal ones differ after 4 equal steps, in {sorted(differing)}")


# ---- groups -----------------------------------------------------------------------------------


def writes_groups(subject: Subject) -> None:
    """Each group has its own lr, weight_decay and params, where torch's optimizers have them."""
    bench = _Bench(subject, lr=(0.01, 0.005), decay=(0.05, 0.0))
    found = bench.optimizer.param_groups
    require(len(found) == 2, f"2 groups were given, and it has {len(found)}")
    for given, members, group in zip(bench.groups, bench.lists, found, strict=True):
        same = len(group["params"]) == len(members) and all(
            a is b for a, b in zip(group["params"], members, strict=True)
        )
        require(same, "a group does not hold the parameters that it was given")
        for key in ("lr", "weight_decay"):
            value = group.get(key)
            equal = isinstance(value, int | float) and math.isclose(value, float(given[key]))  # type: ignore[arg-type]  # a number
            require(equal, f"a group was given {key} {given[key]}, and has {value}")


def groups_keep_their_rate(subject: Subject) -> None:
    """A group whose lr is 0 from the first step on stays as it is, the other one moves."""
    bench = _Bench(subject, decay=(0.05, 0.05))
    bench.optimizer.param_groups[0]["lr"] = 0.0  # some refuse to be built with it
    before = bench.values()
    bench.train(range(3))
    moved = _moved(before, bench.values())
    still = moved & {"matrix", "kernel"}
    require(not still, f"the group at rate 0 moved: {sorted(still)}")
    require(bool(moved), "neither group moved, and one has the rate 0.01")


def obeys_each_rate(subject: Subject) -> None:
    """A rate that is set to 0 between two steps, as a schedule does it, holds everything still."""
    bench = _Bench(subject)
    bench.train(range(3))
    before = bench.values()
    for group in bench.optimizer.param_groups:
        group["lr"] = 0.0
    bench.train(range(3, 5))
    moved = _moved(before, bench.values())
    require(not moved, f"at rate 0, after steps at 0.01, these still move: {sorted(moved)}")


def decays_by_group(subject: Subject) -> None:
    """Weight decay acts on the group that has it, and leaves the other one to the bit."""
    plain = _Bench(subject, decay=(0.0, 0.0))
    decayed = _Bench(subject, decay=(0.5, 0.0))
    plain.train(range(1))
    decayed.train(range(1))
    # Looked at after one step: later the norm of all gradients may rightly link the groups.
    strayed = _moved(plain.values(), decayed.values()) & {"scale", "bias"}
    require(not strayed, f"decay of one group changes the other one: {sorted(strayed)}")
    plain.train(range(1, 5))
    decayed.train(range(1, 5))
    acted = _moved(plain.values(), decayed.values()) & {"matrix", "kernel"}
    require(acted == {"matrix", "kernel"}, "weight decay 0.5 changes nothing in 5 steps")


def leaves_unused_parameters(subject: Subject) -> None:
    """A parameter whose gradient is None stays as it is, weight decay or not."""
    bench = _Bench(subject, decay=(0.5, 0.5))
    bench.train(range(3))
    require(
        equal_bits(bench.spare.detach(), torch.ones(2, 3)),
        "a parameter that never had a gradient was changed",
    )


# ---- state ------------------------------------------------------------------------------------


def resumes_bit_identically(subject: Subject) -> None:
    """Its state, taken through JSON and tensors, continues with the same bits."""
    whole = _Bench(subject)
    whole.train(range(7))
    values = whole.values()
    try:
        state = through_files(whole.optimizer.state_dict())
    except TypeError as error:
        raise AssertionError(f"its state is not tensors and JSON alone: {error}") from error
    groups = _text(state["param_groups"])
    whole.train(range(7, 12))

    resumed = _Bench(subject)
    with torch.no_grad():
        for name, parameter in resumed.parameters.items():
            parameter.copy_(values[name])
    resumed.optimizer.load_state_dict(state)
    require(_text(state["param_groups"]) == groups, "loading wrote into the saved state")
    resumed.train(range(7, 12))
    differing = _moved(whole.values(), resumed.values())
    require(
        not differing, f"continued from its state after 7 steps it differs in {sorted(differing)}"
    )


def _text(groups: object) -> str:
    return json.dumps(groups, default=lambda tensor: tensor.tolist())


def takes_a_closure(subject: Subject) -> None:
    """``step(closure)`` computes the loss with gradients on, returns it, and makes the step."""
    bench = _Bench(subject)
    before = bench.values()
    seen: list[float] = []

    def closure() -> Tensor:
        bench.optimizer.zero_grad()
        loss = bench.loss(0)
        _backward(bench.optimizer, loss)
        seen.append(loss.item())
        return loss.detach()

    # Some need a first gradient before they ask for others.
    _backward(bench.optimizer, bench.loss(0))
    returned = None
    for step in range(2):
        with seeded(step):
            returned = bench.optimizer.step(closure)  # type: ignore[arg-type]  # any loss will do
    require(bool(seen), "the closure was never called")
    require(returned is not None, "step(closure) returned None instead of the closure's loss")
    require(float(returned) in seen, f"step(closure) returned {returned}, no loss of the closure")  # type: ignore[arg-type]  # not None
    require(bool(_moved(before, bench.values())), "step(closure) moved nothing")


CHECKS = (
    descends,
    descends_badly_scaled,
    moves_every_shape,
    deterministic,
    writes_groups,
    groups_keep_their_rate,
    obeys_each_rate,
    decays_by_group,
    leaves_unused_parameters,
    resumes_bit_identically,
    takes_a_closure,
)
