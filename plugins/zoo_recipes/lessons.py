"""The lessons that courses begin with, as they are taught, option by option.

A network that starts from random weights has nothing to freeze, so those lessons have no frozen
phase, no augmentation and a learning rate that stays as it is: one thing at a time is the lesson.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoo.plugin import Value

__all__ = [
    "cifar10_mlp",
    "cifar10_quick",
    "lenet_mnist",
    "mnist_mlp",
    "mobilenetv3_digits",
    "mobilenetv3_fashion",
]


def lenet_mnist(*, lr: float) -> Mapping[str, Value]:
    """Returns the lesson of LeNet: 100 images a step, 12 epochs."""
    return {
        **_plain("lenet", data="mnist", optim="adam", lr=lr), "channels": 1, "img_size": 28,
        "batch_size": 100, "epochs": 12,
    }  # fmt: skip


def mnist_mlp(*, lr: float) -> Mapping[str, Value]:
    """Returns the lesson of the first perceptron."""
    return {
        **_plain("mlp-mnist", data="mnist", optim="adam", lr=lr), "channels": 1, "img_size": 28,
        "batch_size": 64, "epochs": 5,
    }  # fmt: skip


def cifar10_quick(*, lr: float, momentum: float) -> Mapping[str, Value]:
    """Returns the lesson of the first colour pictures."""
    optim = f"sgd:momentum={momentum!r}"
    return {
        **_plain("cifar-quick", data="cifar10", optim=optim, lr=lr), "channels": 3,
        "img_size": 32, "batch_size": 64, "epochs": 20,
    }  # fmt: skip


def cifar10_mlp(*, lr: float) -> Mapping[str, Value]:
    """Returns the lesson of what dropout and batch norm are for."""
    return {
        **_plain("mlp-cifar", data="cifar10", optim="adam", lr=lr), "channels": 3,
        "img_size": 32, "batch_size": 64, "epochs": 25,
    }  # fmt: skip


def mobilenetv3_digits(*, sched: str) -> Mapping[str, Value]:
    """Returns the lesson of transfer learning on digits, which a mirror would turn into others."""
    return {**_mobilenetv3(sched), "data": "mnist", "aug": "none"}


def mobilenetv3_fashion(*, sched: str) -> Mapping[str, Value]:
    """Returns the same on clothes, whose sides are alike."""
    return {**_mobilenetv3(sched), "data": "fashion-mnist", "aug": "flip"}


def _plain(model: str, *, data: str, optim: str, lr: float) -> dict[str, Value]:
    """Returns training from random weights without anything but the optimizer."""
    return {
        "model": model, "weights": "none", "data": data, "normalize": "data", "loss": "ce",
        "optim": optim, "lr": lr, "backbone_lr": 1.0, "weight_decay": 0.0, "sched": "constant",
        "warmup": 0.0, "aug": "none", "norm": "train", "freeze_epochs": 0,
    }  # fmt: skip


def _mobilenetv3(sched: str) -> dict[str, Value]:
    """Returns the head alone for 2 epochs, then everything until nothing gets better.

    28 epochs more, so that SGDR-10-2 ends with its second cycle, the epochs 11 to 30 of the run.
    Learning rates stay zoo's own: they depend on whether pretrained weights can be had.
    """
    return {
        "model": "mobilenetv3", "img_size": 224, "batch_size": 64, "loss": "label-smoothing-0.1",
        "sched": sched, "freeze_epochs": 2, "epochs": 28, "patience": 7, "restore_best": True,
        "metric": "f1",
    }  # fmt: skip
