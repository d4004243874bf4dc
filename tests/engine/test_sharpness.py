"""SAM against pytorch_optimizer's, and its promise that weights come back to the bit."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from pytorch_optimizer import SAM
from torch import nn

import zoo
from zoo.engine.step.sharpness import climb, climbed, descend
from zoo.errors import UsageError
from zoo.network.statistics import statistics_held


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))


def batch(step):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(16, 6, generator=generator), torch.randint(3, (16,), generator=generator)


def loss_of(model, step):
    inputs, labels_B = batch(step)
    return nn.functional.cross_entropy(model(inputs.to(model[0].weight.dtype)), labels_B)


OPTIMIZERS = {
    "sgd": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "adamw": (torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
}


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_with_sam_is_pytorch_optimizers(name, adaptive):
    optimizer_class, options = OPTIMIZERS[name]
    # In float64: behind a batch norm a bias has no slope but rounding, which AdamW would
    # blow up. The other SAM takes its norm in float32.
    ours, theirs = network().double(), network().double()
    mine = optimizer_class(ours.parameters(), **options)
    reference = SAM(theirs.parameters(), optimizer_class, rho=0.2, adaptive=adaptive, **options)
    for step in range(6):
        mine.zero_grad()
        loss_of(ours, step).backward()
        with climbed(ours.parameters(), rho=0.2, adaptive=adaptive):
            mine.zero_grad()
            loss_of(ours, step).backward()
        mine.step()

        reference.zero_grad()
        loss_of(theirs, step).backward()
        reference.first_step(zero_grad=True)
        loss_of(theirs, step).backward()
        reference.second_step(zero_grad=True)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_step_is_that_of_the_paper(adaptive):
    model = network()
    loss_of(model, 0).backward()
    weights = [p.detach().double().numpy().copy() for p in model.parameters()]
    slopes = [p.grad.double().numpy() for p in model.parameters()]
    sizes = [np.abs(w) if adaptive else np.ones_like(w) for w in weights]
    norm = np.sqrt(sum(((s * g) ** 2).sum() for s, g in zip(sizes, slopes, strict=True)))
    climb(model.parameters(), rho=0.5, adaptive=adaptive)
    for parameter, w, g, s in zip(model.parameters(), weights, slopes, sizes, strict=True):
        expected = w + 0.5 * s**2 * g / norm
        np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_the_loss_is_worse_up_there_and_the_exact_weights_come_back():
    model = network()
    loss = loss_of(model, 0)
    loss.backward()
    before = [p.detach().clone() for p in model.parameters()]

    def stopped_above():
        with climbed(model.parameters(), rho=0.3):
            assert loss_of(model, 0) > loss
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped_above()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))


def test_weights_come_back_even_from_a_gradient_that_is_not_finite():
    model = network()
    loss_of(model, 0).backward()
    model[0].weight.grad[0, 0] = float("inf")
    before = [p.detach().clone() for p in model.parameters()]
    moved = climb(model.parameters(), rho=0.05)
    assert not all(p.isfinite().all() for p in model.parameters())
    descend(moved)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))


def test_what_is_frozen_stays_and_no_gradient_is_no_step():
    model = network()
    assert climb(model.parameters(), rho=0.1) == []
    model[0].requires_grad_(False)
    loss_of(model, 0).backward()
    frozen = model[0].weight.clone()
    moved = climb(model.parameters(), rho=0.1)
    assert len(moved) == 4
    assert torch.equal(model[0].weight, frozen)
    for parameter in model.parameters():
        parameter.grad = None if parameter.grad is None else torch.zeros_like(parameter)
    descend(moved)
    before = copy.deepcopy(model.state_dict())
    climb(model.parameters(), rho=0.1)  # zero over zero is no step
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_a_scaled_loss_climbs_to_the_same_place():
    plain, scaled = network(), network()
    loss_of(plain, 0).backward()
    (loss_of(scaled, 0) * 2.0**12).backward()
    climb(plain.parameters(), rho=0.1)
    climb(scaled.parameters(), rho=0.1)
    for one, other in zip(plain.parameters(), scaled.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=1e-6, atol=1e-8)


def test_statistics_are_counted_once():
    once, twice = network(), network()
    loss_of(once, 0).backward()
    loss_of(twice, 0).backward()
    with climbed(twice.parameters(), rho=0.1), statistics_held(twice):
        loss_of(twice, 0).backward()
    assert twice[1].num_batches_tracked == 1
    assert torch.equal(once[1].running_mean, twice[1].running_mean)
    assert torch.equal(once[1].running_var, twice[1].running_var)


@pytest.mark.parametrize("optimizer", ["timm/adahessian", "pytorch-optimizer/sophiah"])
def test_optimizers_of_second_derivatives_are_refused(registry, shapes_folder, optimizer):
    """They differentiate the gradient, with SAM where the weights are no more."""
    with pytest.raises(UsageError) as caught:
        zoo.prepare(
            data=str(shapes_folder), sam=0.05, compile=True, optim=optimizer, registry=registry
        )
    assert "--sam takes it elsewhere" in str(caught.value)
    assert "and --compile cannot" in str(caught.value)
