"""Backward pass and step without torch's wrapping: the same bits, and whoever listens is told."""

from __future__ import annotations

import logging

import pytest
import torch
from torch.optim.lr_scheduler import StepLR
from torch.optim.optimizer import register_optimizer_step_pre_hook

from zoo.engine.step.bare import bare_backward, bare_step


def optimized(kind=torch.optim.AdamW, **options):
    """Returns an optimizer of two groups whose parameters have gradients."""
    torch.manual_seed(0)
    weight, bias = torch.nn.Parameter(torch.randn(4, 3)), torch.nn.Parameter(torch.zeros(4))
    weight.grad, bias.grad = torch.randn(4, 3), torch.randn(4)
    groups = [{"params": [weight], "weight_decay": 0.1}, {"params": [bias], "weight_decay": 0.0}]
    return kind(groups, lr=0.01, **options)


def values(optimizer):
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    slots = [slot for p in parameters for slot in optimizer.state[p].values() if slot is not None]
    return [*parameters, *slots]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (torch.optim.AdamW, {"fused": True}), (torch.optim.AdamW, {"foreach": False}),
        (torch.optim.SGD, {"momentum": 0.9}), (torch.optim.Adagrad, {}), (torch.optim.NAdam, {}),
        (torch.optim.Adam, {"fused": True, "betas": (0.5, 0.7)}), (torch.optim.Adam, {}),
        (torch.optim.AdamW, {"fused": True, "amsgrad": True}),
        (torch.optim.AdamW, {"fused": True, "maximize": True, "eps": 1e-3}),
    ],
)  # fmt: skip
def test_the_step_is_torchs_own(kind, options):
    ours, theirs = optimized(kind, **options), optimized(kind, **options)
    for number in range(4):
        for optimizer in (ours, theirs):
            if number == 2:  # nothing moves what has no gradient
                optimizer.param_groups[0]["params"][0].grad = None
            optimizer.param_groups[1]["lr"] = 0.01 / (number + 1)
        bare_step(ours)
        theirs.step()
        ours.load_state_dict(ours.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(values(ours), values(theirs), strict=True))
    assert all(parameter.requires_grad for parameter in values(ours)[:2])


def test_the_fused_step_is_made_without_torchs_sorting(monkeypatch):
    optimizer = optimized(fused=True)
    made = []
    real = torch.optim.AdamW.step.__wrapped__
    monkeypatch.setattr(
        torch.optim.AdamW.step, "__wrapped__", lambda own: (made.append(own), real(own))
    )
    assert optimizer.state[optimizer.param_groups[0]["params"][0]] == {}  # now it is there
    for _ in range(3):
        bare_step(optimizer)
    assert made == [optimizer]  # the first one lays out the state
    optimizer.param_groups[0]["lr"] = torch.tensor(0.01)
    bare_step(optimizer)
    assert made == [optimizer] * 2
    assert values(optimizer)[2] == 4  # steps counted


def recorded():
    """Returns a leaf, and what hangs on it."""
    torch.manual_seed(0)
    leaf = torch.randn(5, 3, requires_grad=True)
    return leaf, (leaf.square().sum(1) * torch.arange(5.0)).mean()


def test_the_gradient_is_torchs_own():
    (ours, loss), (theirs, other) = recorded(), recorded()
    bare_backward(loss)
    other.backward()
    assert torch.equal(ours.grad, theirs.grad)
    bare_backward(ours.sum())  # added to what is there
    theirs.sum().backward()
    assert torch.equal(ours.grad, theirs.grad)
    with pytest.raises(RuntimeError, match="second time"):
        bare_backward(loss)


def test_what_torch_refuses_is_refused():
    leaf, _ = recorded()
    with pytest.raises(RuntimeError, match="only for scalar outputs"):
        bare_backward(leaf.square())
    with pytest.raises(RuntimeError, match="does not require grad"):
        bare_backward(leaf.detach().sum())


def test_torchs_log_of_the_gradient_is_written(caplog):
    _, loss = recorded()
    with caplog.at_level(logging.DEBUG, logger="torch.autograd.graph"):
        bare_backward(loss)
    assert "MeanBackward0" in caplog.text


def test_hooks_are_called():
    heard = []
    optimizer = optimized()
    optimizer.register_step_pre_hook(lambda *_: heard.append("before"))
    bare_step(optimizer)
    optimizer.register_step_post_hook(lambda *_: heard.append("after"))
    bare_step(optimizer)
    other = optimized()
    handle = register_optimizer_step_pre_hook(lambda *_: heard.append("any"))
    bare_step(other)
    handle.remove()
    bare_step(other)
    assert heard == ["before", "before", "after", "any"]


def test_a_profiler_sees_the_step():
    optimizer = optimized()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        bare_step(optimizer)
    assert "Optimizer.step#AdamW.step" in {event.key for event in profile.key_averages()}


def test_a_step_that_was_replaced_is_the_one_that_is_made():
    optimizer = optimized()
    schedule = StepLR(optimizer, step_size=1)  # which counts the steps of the optimizer
    bare_step(optimizer)
    schedule.step()  # warns, where it has counted none
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.001)

    class Twice(torch.optim.SGD):
        def step(self, closure=None):
            super().step()
            return super().step()

    twice, once = optimized(Twice), optimized(torch.optim.SGD)
    bare_step(twice)
    once.step()
    once.step()
    assert torch.equal(values(twice)[0], values(once)[0])
