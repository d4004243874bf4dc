from __future__ import annotations

import math
from importlib.util import find_spec

import numpy as np
import pytest
import timm.optim
import torch
from building import build
from torch import nn

from zoo.errors import UsageError
from zoo.plugin import Component
from zoo_timm._optimizers import optimizer_components
from zoo_torch._optimizers import OPTIMIZERS

TORCH = {component.name: component for component in OPTIMIZERS}
TIMM = {component.name: component for component in optimizer_components()}
CASES = [
    pytest.param(
        component,
        id=f"{plugin}-{component.name}",
        marks=[
            pytest.mark.skipif(not find_spec(package), reason=f"needs {package}")
            for package in component.requires
        ],
    )
    for plugin, components in (("torch", TORCH), ("timm", TIMM))
    for component in components.values()
]
every_optimizer = pytest.mark.parametrize("component", CASES)
pytestmark = pytest.mark.filterwarnings(
    "ignore:Using backward\\(\\) with create_graph=True:UserWarning"
)


class Tiny(nn.Module):
    """A network with every shape of parameter that optimizers treat apart."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.AvgPool2d(3), nn.Flatten()
        )
        self.spare = nn.Linear(3, 2)  # never used: its gradients stay None
        self.head = nn.Linear(16, 3)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images_BCHW):
        return self.scale * self.head(self.body(images_BCHW))


def network() -> Tiny:
    torch.manual_seed(3)
    return Tiny()


def optimizer_of(
    component: Component, model: nn.Module, *, lr=0.01, weight_decay=0.05, **arguments
):
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "lr": lr, "weight_decay": weight_decay},
        {"params": vectors, "lr": lr / 2, "weight_decay": 0.0},
    ]
    facts = {"params": groups, "lr": lr, "weight_decay": weight_decay}
    return build(component, facts, **arguments)


def train(model: nn.Module, optimizer, steps: range) -> None:
    for step in steps:
        # The engine counts randomness: what is drawn in a step depends on the step alone.
        torch.manual_seed(step)
        images_BCHW = torch.randn(4, 3, 8, 8).to(next(model.parameters()).dtype)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images_BCHW), torch.tensor([0, 1, 2, 0]))
        loss.backward(create_graph=getattr(optimizer, "is_second_order", False))
        optimizer.step()


@every_optimizer
def test_takes_every_argument_that_it_declares(component):
    arguments = {
        param.name: param.default
        if param.default is not None
        else 1e-6
        if param.name == "eps"
        else 0.8
        for param in component.params
    }
    # adafactor has no betas of its own, so one alone says too little.
    alone = [name for name in arguments if (component.name, name[:4]) != ("adafactor", "beta")]
    for chosen in ({}, *({name: arguments[name]} for name in alone), arguments):
        model = network()
        train(model, optimizer_of(component, model, **chosen), range(1))


def test_arguments_reach_timm():
    group = {"params": [torch.zeros(2, requires_grad=True)], "lr": 0.1}
    facts = {"params": [group], "lr": 0.1, "weight_decay": 0.0}
    adan = build(TIMM["adan"], facts, beta2=0.0, eps=1e-3)
    assert adan.param_groups[0]["betas"] == (0.98, 0.0, 0.99)
    assert adan.param_groups[0]["eps"] == 1e-3
    # timm's own record, not the class, says what this one starts from.
    assert build(TIMM["cadafactor"], facts, beta2=0.8).param_groups[0]["beta1"] == 0.9
    assert build(TIMM["sgdw"], facts, momentum=0.5).param_groups[0]["momentum"] == 0.5


def test_one_beta_where_there_is_no_other_is_a_clear_error():
    group = {"params": [torch.zeros(2, requires_grad=True)], "lr": 0.1}
    facts = {"params": [group], "lr": 0.1, "weight_decay": 0.0}
    with pytest.raises(UsageError, match="no betas of its own"):
        build(TIMM["adafactor"], facts, beta1=0.9)
    assert build(TIMM["adafactor"], facts, beta1=0.9, beta2=0.99).param_groups[0]["beta1"] == 0.9


def test_second_order_without_a_graph_is_a_clear_error():
    model = network()
    optimizer = optimizer_of(TIMM["adahessian"], model)
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    with pytest.raises(UsageError, match="second derivatives"):
        optimizer.step()


def test_nesterov_needs_momentum():
    with pytest.raises(UsageError, match="momentum"):
        optimizer_of(TORCH["sgd"], network(), momentum=0.0, nesterov=True)


# ---- against references -----------------------------------------------------------------------

REFERENCES = {
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9}),
    "nadam": (torch.optim.NAdam, {}),
    "radam": (torch.optim.RAdam, {}),
    "rmsprop": (torch.optim.RMSprop, {}),
    "adabelief": (timm.optim.AdaBelief, {"decoupled_decay": True, "rectify": False}),
    "lion": (timm.optim.Lion, {}),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_defaults_are_the_references(name):
    reference, arguments = REFERENCES[name]
    # In float64: the bias before the batch norm has no gradient but rounding, and Adam makes a
    # whole step of it.
    ours, theirs = network().double(), network().double()
    train(ours, optimizer_of(TORCH[name], ours), range(12))
    matrices = [p for p in theirs.parameters() if p.ndim > 1]
    vectors = [p for p in theirs.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "lr": 0.01, "weight_decay": 0.05},
        {"params": vectors, "lr": 0.005, "weight_decay": 0.0},
    ]
    train(theirs, reference(groups, lr=0.01, weight_decay=0.05, **arguments), range(12))
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def ranger_reference(weight, gradients, *, lr, weight_decay, beta1=0.95, beta2=0.999, eps=1e-5):
    """RAdam on centralised gradients with decoupled decay, looking ahead every 6 steps by half."""
    mean, square, slow = np.zeros_like(weight), np.zeros_like(weight), weight.copy()
    longest = 2 / (1 - beta2) - 1
    for step, gradient in enumerate(gradients, start=1):
        gradient = gradient - gradient.mean(1, keepdims=True)
        weight = weight * (1 - lr * weight_decay)
        mean = beta1 * mean + (1 - beta1) * gradient
        square = beta2 * square + (1 - beta2) * gradient**2
        unbiased = mean / (1 - beta1**step)
        length = longest - 2 * step * beta2**step / (1 - beta2**step)
        if length > 5:
            rectified = math.sqrt(
                ((length - 4) * (length - 2) * longest)
                / ((longest - 4) * (longest - 2) * length)
                * (1 - beta2**step)
            )
            weight = weight - lr * rectified * unbiased / (np.sqrt(square) + eps)
        else:
            weight = weight - lr * unbiased
        if step % 6 == 0:
            slow = slow + 0.5 * (weight - slow)
            weight = slow.copy()
    return weight


def test_ranger_is_radam_with_lookahead_on_centralised_gradients():
    random = np.random.default_rng(5)
    start, gradients = random.normal(size=(4, 3)), random.normal(size=(20, 4, 3))
    weight = nn.Parameter(torch.tensor(start))
    facts = {"params": [{"params": [weight], "lr": 0.02}], "lr": 0.02, "weight_decay": 0.1}
    optimizer = build(TORCH["ranger"], facts)
    for gradient in gradients:
        weight.grad = torch.tensor(gradient)
        optimizer.step()
    expected = ranger_reference(start, gradients, lr=0.02, weight_decay=0.1)
    np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-9)


def test_rangers_first_steps_go_downhill():
    weight = nn.Parameter(torch.full((3,), 5.0))
    facts = {"params": [{"params": [weight], "lr": 0.1}], "lr": 0.1, "weight_decay": 0.0}
    optimizer = build(TORCH["ranger"], facts)
    seen = [5.0]
    for _ in range(5):
        optimizer.zero_grad()
        (weight**2).sum().backward()
        optimizer.step()
        seen.append(weight[0].item())
    assert seen == sorted(seen, reverse=True)
