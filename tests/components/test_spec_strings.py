"""The documented spec strings, through the registry as a user's command takes them."""

from __future__ import annotations

import pytest

import zoo_torch
from zoo.errors import PluginError, UsageError
from zoo.registry.discovery import HOST, PluginRecord
from zoo.registry.loading import build
from zoo.registry.names import Registry
from zoo.registry.specs import parse_choice
from zoo_timm._optimizers import optimizer_components


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry(
        PluginRecord(
            namespace=namespace,
            module=f"zoo_{namespace}",
            distribution=HOST,
            version="0",
            components=tuple(components),
        )
        for namespace, components in (
            ("torch", zoo_torch.zoo_components()),
            ("timm", optimizer_components()),
        )
    )


@pytest.mark.parametrize(
    ("kind", "text", "name", "arguments"),
    [
        ("scheduler", "default-0.1-3", "torch/plateau", {"factor": 0.1, "patience": 3}),
        ("scheduler", "step-4-0.8", "torch/step", {"step_size": 4, "gamma": 0.8}),
        ("scheduler", "SGDR-10-2", "torch/sgdr", {"t_0": 10, "t_mult": 2}),
        (
            "scheduler",
            "multi-30,80-0.1",
            "torch/multistep",
            {"milestones": (30, 80), "gamma": 0.1},
        ),
        ("scheduler", "one-cycle", "torch/one-cycle", {"pct_start": 0.3}),
        ("scheduler", "one-cycle-0.2", "torch/one-cycle", {"pct_start": 0.2}),
        ("scheduler", "poly-2", "torch/polynomial", {"power": 2.0}),
        ("loss", "cross-entropy", "torch/ce", {"smoothing": 0.0}),
        ("loss", "label-smoothing", "torch/label-smoothing", {"smoothing": 0.1}),
        ("loss", "label-smoothing-0.2", "torch/label-smoothing", {"smoothing": 0.2}),
        ("loss", "focal-1.5", "torch/focal", {"gamma": 1.5, "alpha": None}),
        ("loss", "Poly-1", "torch/poly", {"epsilon": 1.0}),
        ("optimizer", "SGD", "torch/sgd", {"momentum": 0.9, "nesterov": False}),
        ("optimizer", "adamw:beta1=0.95,eps=1e-6", "torch/adamw", {"beta1": 0.95, "eps": 1e-6}),
        ("optimizer", "ranger:k=5", "torch/ranger", {"k": 5, "alpha": 0.5}),
        ("optimizer", "timm/adamw", "timm/adamw", {"beta1": None}),
        ("optimizer", "lamb", "timm/lamb", {"eps": None}),
        ("transform", "rotate-15", "torch/rotate", {"degrees": 15.0}),
        ("transform", "none", "torch/none", {}),
    ],
)
def test_documented_strings(registry, kind, text, name, arguments):
    choice = parse_choice(registry, kind, text)
    assert choice.entry.id == name
    assert {key: choice.arguments[key] for key in arguments} == arguments


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("scheduler", "SGDR-0-0"),
        ("scheduler", "SGDR--1"),
        ("scheduler", "SGDR-1.5-2"),
        ("scheduler", "step-0"),
        ("scheduler", "step-4--0.8"),
        ("scheduler", "multi-0,30-0.1"),
        ("scheduler", "exponential-0"),
        ("scheduler", "default-1-3"),
        ("scheduler", "polynomial-0"),
        ("loss", "ce-1"),
        ("loss", "label-smoothing--0.1"),
        ("loss", "focal--1"),
        ("optimizer", "sgd-1"),
        ("optimizer", "adamw:beta2=1"),
        ("optimizer", "ranger:k=0"),
        ("transform", "flip-2"),
        ("transform", "shift-0.6"),
        ("transform", "rotate-91"),
    ],
)
def test_values_that_cannot_work_are_refused(registry, kind, text):
    with pytest.raises(UsageError) as error:
        parse_choice(registry, kind, text)
    assert "must be" in str(error.value)


def test_built_through_the_registry(registry):
    step = build(parse_choice(registry, "scheduler", "step-4-0.8"), epochs=12.0, lr=0.1)
    assert step(8.0) == pytest.approx(0.64)
    with pytest.raises(UsageError, match="nesterov"):
        build(
            parse_choice(registry, "optimizer", "sgd:momentum=0,nesterov=true"),
            params=[],
            lr=0.1,
            weight_decay=0.0,
        )
    with pytest.raises(PluginError, match="apex"):
        build(parse_choice(registry, "optimizer", "fusedadam"), params=[], lr=0.1, weight_decay=0.0)
