"""Built-in plugin ``recipes``: the classic lessons, and ways of training that are worth a name.

What each sets stands in ``lessons`` and ``transfer``; what it reaches, in docs/recipes.md.
"""

from __future__ import annotations

from collections.abc import Iterable

from zoo.plugin import Component, Param, hookimpl

__all__ = ["zoo_components"]


def _rate(default: float) -> Param:
    return Param(name="lr", type="float", default=default, above=0, summary="learning rate")


_SCHEDULE = Param(
    name="sched", type="str", default="SGDR-10-2", summary="schedule; plateau is the other one"
)


@hookimpl
def zoo_components() -> Iterable[Component]:
    """Yields the lessons from the first one on, then the rest."""
    lessons = "zoo_recipes.lessons"
    yield Component(
        kind="recipe",
        name="lenet-mnist",
        target=f"{lessons}:lenet_mnist",
        summary="LeNet on MNIST: Adam, batches of 100, 12 epochs",
        tags=("lesson", "grey", "from scratch"),
        params=(_rate(1e-3),),
        shorthand=("lr",),
    )
    yield Component(
        kind="recipe",
        name="lenet-mnist-taught",
        target=f"{lessons}:lenet_mnist",
        summary="the same at the learning rate of the lesson, 1e-5, which is too small",
        tags=("lesson", "grey", "from scratch"),
        preset={"lr": 1e-5},
    )
    yield Component(
        kind="recipe",
        name="mnist-mlp",
        target=f"{lessons}:mnist_mlp",
        summary="perceptron with batch norm on MNIST: Adam, 5 epochs",
        tags=("lesson", "grey", "from scratch"),
        params=(_rate(1e-3),),
        shorthand=("lr",),
    )
    yield Component(
        kind="recipe",
        name="cifar10-quick",
        target=f"{lessons}:cifar10_quick",
        summary="Caffe's quick network on CIFAR-10: SGD at 0.01 or 0.05, batches of 64, 20 epochs",
        tags=("lesson", "colour", "from scratch"),
        params=(
            _rate(0.01),
            Param(name="momentum", type="float", default=0.9, minimum=0, below=1,
                  summary="momentum of SGD"),
        ),
        shorthand=("lr", "momentum"),
    )  # fmt: skip
    yield Component(
        kind="recipe",
        name="cifar10-mlp",
        target=f"{lessons}:cifar10_mlp",
        summary="perceptron with dropout and batch norm on CIFAR-10: Adam, 25 epochs",
        tags=("lesson", "colour", "from scratch"),
        params=(_rate(1e-3),),
        shorthand=("lr",),
    )
    for data, what in (("digits", "MNIST"), ("fashion", "Fashion-MNIST")):
        yield Component(
            kind="recipe",
            name=f"mobilenetv3-{data}",
            target=f"{lessons}:mobilenetv3_{data}",
            summary=f"MobileNetV3 on {what} at 224 pixels: frozen first, smoothed labels, F1",
            tags=("lesson", "fine-tune"),
            params=(_SCHEDULE,),
        )
    transfer = "zoo_recipes.transfer"
    yield Component(
        kind="recipe",
        name="linear-probe",
        target=f"{transfer}:LINEAR_PROBE",
        summary="the head alone on frozen features, which are computed once",
        tags=("frozen",),
    )
    yield Component(
        kind="recipe",
        name="distillation",
        target=f"{transfer}:DISTILLATION",
        summary="a small network learns from a trained run, patiently (Hinton 2015, Beyer 2022)",
        tags=("from scratch",),
    )
    yield Component(
        kind="recipe",
        name="strong-finetune",
        target=f"{transfer}:STRONG_FINETUNE",
        summary="longer fine-tuning: layer-wise rates, mixing, moving average, smoothed labels",
        tags=("fine-tune",),
    )
