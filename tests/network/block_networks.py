"""Networks with depthwise blocks, and what tests of them share."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from zoo.network.fast import accelerate, fuse

LAST = torch.channels_last


class Taken(list):
    """The blocks that were computed: (activation before, activation after)."""

    def __init__(self):
        self.norms = []  # whether the norms before and after were

    def clear(self):
        super().clear()
        self.norms.clear()


def holding(model, *, held=True):
    """Gives a network statistics that are not 0 and 1; holds them in training."""
    numbers = torch.Generator().manual_seed(1)
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.5, generator=numbers)
            module.running_var.uniform_(0.5, 2, generator=numbers)
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=numbers)
            nn.init.normal_(module.bias, 0, 0.2, generator=numbers)
            module.training = not held
    return model.to(memory_format=LAST)


def images(number=4, size=64, channels=3):
    numbers = torch.Generator().manual_seed(2)
    return torch.randn(number, channels, size, size, generator=numbers).to(memory_format=LAST)


def fused(model, x, kernels, *, held=True):
    accelerate(model)
    fuse(model, x[:2], held=held, kernels=kernels)
    return model


def same_step(model, plain, x, share):
    """Compares outputs and gradients of a step of two networks."""
    labels = torch.arange(len(x)) % 5
    found, expected = model(x), plain(x.to(next(plain.parameters()).dtype))
    for one in (found, expected):
        functional.cross_entropy(one, labels).backward()
    assert (found - expected).abs().max() <= share * expected.abs().max()
    # Before a norm that trains, a bias has no gradient but what rounding leaves.
    floor = 1e-2 * max(one.grad.abs().max() for one in plain.parameters())
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        error = (ours.grad - theirs.grad).abs().max()
        assert error <= share * max(theirs.grad.abs().max(), floor)


def block(*, before=nn.ReLU6, after=nn.Hardswish):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 1), nn.BatchNorm2d(16), before(),
        nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.BatchNorm2d(16), after(),
        nn.Conv2d(16, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


class Twice(nn.Module):
    """What an activation returns goes to a second user."""

    def __init__(self, where):
        super().__init__()
        self.layers, self.where = block()[:6], where
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        kept = 0
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i == self.where:
                kept = x.clone()
        return self.head((x + kept).mean((2, 3)))
