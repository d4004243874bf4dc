"""Where a network's classifier is, what goes into it, and the proof that nothing comes after it.

Everything that is frozen up to the head can be computed once. That is only right when the head's
output *is* the network's output, so it is proved on real images and never assumed.

B batch, C channels, H height, W width, K classes, F features.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from zoo.errors import PluginError
from zoo.network.modes import evaluation_mode

__all__ = ["find_head", "head_input", "proves_out", "zero_head"]


def find_head(model: nn.Module, *, num_classes: int) -> tuple[str, ...]:
    """Returns the names of the submodules that turn features into logits.

    More than one only where a network averages several classifiers (distilled transformers).

    The first of these that fits: the attribute ``zoo_head`` (the name of a submodule), the
    ``classifier`` of timm's ``pretrained_cfg``, the last linear layer (or 1x1 convolution) with
    ``num_classes`` outputs.

    >>> find_head(nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Linear(8, 5)), num_classes=5)
    ('2',)

    Raises:
        PluginError: ``zoo_head`` names nothing, or no layer has ``num_classes`` outputs.
    """
    modules = dict(model.named_modules())
    declared = getattr(model, "zoo_head", None)
    if declared is not None:
        if isinstance(declared, str) and declared and declared in modules:
            return (declared,)
        raise PluginError(
            f"{type(model).__name__}.zoo_head is {declared!r}, which names no submodule",
            found=f"submodules: {', '.join(name for name, _ in model.named_children())}",
            hint="set zoo_head to the name of the layer that returns the logits",
        )
    config = getattr(model, "pretrained_cfg", None)
    named = config.get("classifier") if isinstance(config, Mapping) else None
    names = (named,) if isinstance(named, str) else tuple(named or ())
    if names and all(_returns_classes(modules.get(name), num_classes) for name in names):
        return names
    for name, module in reversed(modules.items()):
        if isinstance(module, (nn.Linear, nn.Conv2d)) and _returns_classes(module, num_classes):
            return (name,)
    raise PluginError(
        f"{type(model).__name__} has no layer with {num_classes} outputs, so its head is unknown",
        found=f"submodules: {', '.join(name for name, _ in model.named_children())}",
        hint="the model's author names it: self.zoo_head = 'name of the layer'",
    )


def _returns_classes(module: nn.Module | None, num_classes: int) -> bool:
    """Whether a module has parameters and, as far as it says, ``num_classes`` outputs."""
    if module is None or next(module.parameters(), None) is None:
        return False
    if isinstance(module, nn.Conv2d):
        return module.out_channels == num_classes and module.kernel_size == (1, 1)
    outputs = getattr(module, "out_features", num_classes)
    return isinstance(outputs, int) and outputs == num_classes


@torch.no_grad()
def zero_head(model: nn.Module, *, head: tuple[str, ...], num_classes: int) -> None:
    """Sets a new head's last linear layer to zero, so that it starts by preferring no class.

    Only for a head that proves out: behind a ReLU, zeros would never get a gradient. Nor would
    they in two layers one after the other, so of a head of several the last alone is set. On
    pretrained features a random head starts with a large wrong opinion that it has to unlearn:
    after one frozen epoch on 2,000 clothes a zero one was right for 0.77, a random one for 0.34.

    Args:
        model: The network.
        head: Names of its head's modules.
        num_classes: Outputs, K.
    """
    for name in head:
        last = _last_layer(model.get_submodule(name), num_classes)
        for parameter in last.parameters() if last is not None else ():
            parameter.zero_()


def _last_layer(head: nn.Module, num_classes: int) -> nn.Module | None:
    """Returns the linear layer that a head ends with; None where that is something else.

    It is what the head's ``zoo_last`` names, which may be None; else its last linear layer (or 1x1
    convolution) with ``num_classes`` outputs.
    """
    named: object = getattr(head, "zoo_last", "")
    if named is None:
        return None
    if named != "":
        modules: dict[str, nn.Module] = dict(head.named_modules())
        if not isinstance(named, str) or named not in modules:
            raise PluginError(
                f"{type(head).__name__}.zoo_last is {named!r}, which names no submodule",
                hint="it is the name of the head's last linear layer, or None",
            )
        return modules[named]
    layers = (nn.Linear, nn.Conv2d)
    return next(
        (
            module
            for module in reversed(list(head.modules()))
            if isinstance(module, layers) and _returns_classes(module, num_classes)
        ),
        None,
    )


def head_input(model: nn.Module, head_name: str, images_BCHW: Tensor) -> Tensor:
    """Returns what the head is given when the network sees these images, mostly features_BF.

    Runs the whole network once, in the training mode and gradient mode that the caller set.

    Raises:
        PluginError: The head is not called exactly once, with one tensor.
    """
    calls, _ = _watched(model, head_name, images_BCHW)
    if len(calls) != 1 or calls[0][0] is None:
        raise PluginError(
            f"{type(model).__name__} calls its head {head_name!r} {len(calls)} times"
            if len(calls) != 1
            else f"{type(model).__name__} gives its head {head_name!r} more than one tensor",
            hint="train it without the feature cache",
        )
    return calls[0][0]


def proves_out(model: nn.Module, head_name: str, images_BCHW: Tensor) -> bool:
    """Returns whether ``head(head_input(model, images)) == model(images)`` in evaluation mode.

    False also when the head is called more than once or with more than one tensor, or when
    anything but the head's own output leaves the network: such a network has to be trained whole.
    Training modes, hooks and the gradient mode are left as they were.
    """
    with evaluation_mode(model), torch.no_grad():
        calls, logits = _watched(model, head_name, images_BCHW)
        if len(calls) != 1:
            return False
        features, returned = calls[0]
        if features is None or not (_close(returned, logits) and isinstance(logits, Tensor)):
            return False
        return _close(model.get_submodule(head_name)(features), logits)


def _close(one: object, other: object) -> bool:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return False
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    return torch.allclose(one, other, rtol=1e-5, atol=1e-6)


def _watched(
    model: nn.Module, head_name: str, images_BCHW: Tensor
) -> tuple[list[tuple[Tensor | None, object]], object]:
    """Returns (its one tensor, its output) of each call of the head, and the network's output."""
    given: list[Tensor | None] = []
    returned: list[object] = []

    def before(_: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        alone = args[0] if len(args) == 1 and not kwargs else None
        # A copy: a head that works in place would change what it was given.
        given.append(alone.clone() if isinstance(alone, Tensor) else None)

    def after(_: nn.Module, __: object, output: object) -> None:
        returned.append(output)

    head = model.get_submodule(head_name)
    hooks = (
        head.register_forward_pre_hook(before, with_kwargs=True),
        head.register_forward_hook(after),
    )
    try:
        output = model(images_BCHW)
    finally:
        for hook in hooks:
            hook.remove()
    return list(zip(given, returned, strict=True)), output
