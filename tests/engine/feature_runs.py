"""Runs with frozen features: what tests train, hear and compare."""

from __future__ import annotations

import torch
from safetensors.torch import load_file

from zoo.engine.events import Observer

FROZEN = {"freeze_epochs": 2, "epochs": 0, "lr": 0.05}


class Watch(Observer):
    def __init__(self):
        self.notes, self.cached = [], []

    def noted(self, text):
        self.notes.append(text)

    def phase_started(self, phase, *, trainable, total, cached):
        self.cached.append(cached)


def best(result):
    return load_file(result.path / "best/model.safetensors")


def assert_close(one, two, *, to):
    first, second = best(one), best(two)
    assert first.keys() == second.keys()
    for name in first:
        assert torch.allclose(first[name].float(), second[name].float(), rtol=0, atol=to), name


def assert_same(one, two):
    assert_close(one, two, to=0)
    values = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "best")
    for a, b in zip(one.rows, two.rows, strict=True):
        assert all(getattr(a, value) == getattr(b, value) for value in values)
    assert (one.test_loss, one.test_accuracy) == (two.test_loss, two.test_accuracy)
