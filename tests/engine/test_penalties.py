"""L1 and L2 penalties against numpy and against weight decay."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from zoo.engine.step.penalties import penalised, penalty


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.tokens = nn.Parameter(torch.randn(1, 4, 3))
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 2)

    def no_weight_decay(self):
        return {"tokens"}


def test_biases_norms_and_what_the_model_spares_are_not_penalised():
    model = Network()
    assert [id(p) for p in penalised(model)] == [id(model.conv.weight), id(model.head.weight)]
    model.conv.requires_grad_(False)
    assert [id(p) for p in penalised(model)] == [id(model.head.weight)]
    model.head.requires_grad_(False)
    assert penalised(model) == []
    assert penalty([], l1=1.0, l2=1.0) == 0


@pytest.mark.parametrize(("l1", "l2"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.2), (0.3, 0.2)])
def test_value_and_gradient_are_numpys(l1, l2):
    model = Network()
    with torch.no_grad():
        model.head.weight[0, 0] = 0.0
    weights = penalised(model)
    value = penalty(weights, l1=l1, l2=l2)
    arrays = [w.detach().double().numpy() for w in weights]
    expected = sum(l1 * np.abs(a).sum() + l2 / 2 * (a**2).sum() for a in arrays)
    assert value.item() == pytest.approx(expected, rel=1e-6)
    assert value.shape == ()
    if not (l1 or l2):
        return
    value.backward()
    for weight, array in zip(weights, arrays, strict=True):
        slope = l1 * np.sign(array) + l2 * array
        np.testing.assert_allclose(weight.grad.numpy(), slope, rtol=1e-6, atol=1e-8)
    assert model.norm.weight.grad is None


def test_l2_is_the_weight_decay_of_plain_sgd():
    results = []
    for l2, decay in ((0.1, 0.0), (0.0, 0.1)):
        model = Network()
        optimizer = torch.optim.SGD(
            [
                {"params": penalised(model), "weight_decay": decay},
                {"params": [model.head.bias], "weight_decay": 0.0},
            ],
            lr=0.5,
        )
        for step in range(4):
            inputs = torch.randn(5, 3, 3, 3, generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            loss = model.head(model.conv(inputs).mean((2, 3))).square().mean()
            (loss + penalty(penalised(model), l2=l2)).backward()
            optimizer.step()
        results.append([p.detach().clone() for p in model.parameters()])
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-7)


def test_half_precision_weights_are_summed_in_float32():
    weight = torch.full((300, 300), 0.5, dtype=torch.bfloat16, requires_grad=True)
    assert penalty([weight], l1=1.0).item() == 45_000.0
    assert penalty([weight], l2=2.0).item() == 22_500.0
