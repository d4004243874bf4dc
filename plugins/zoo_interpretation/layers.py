"""Where in a network a heat map is taken: the last layer that still shows where things are.

Found by running one image and looking at what every module returns:

    (B, C, h, w)   a convolutional network's map
    (B, h, w, C)   the same with channels last (Swin)
    (B, P + hw, C) tokens of a transformer behind P class tokens

Being last is not enough: after the last attention block only a class token leads to the head, and
all other places have no gradient there. So a layer counts only where a gradient arrives at its
places. For a vision transformer that is the norm before its last attention.

Nor is any height and width enough: an image of 64 pixels ends as 2 x 2 places in most networks, and
heat on four quarters says nothing. So it is the last layer of 4 x 4 places or more; at 224 pixels
that is the last one of all, as in the papers.

Shapes: B batch, C channels, h w height and width of a map, N tokens, P of them no place.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from zoo.errors import UsageError, printable

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

__all__ = ["Place", "find_place", "untouched"]

_MOST_PREFIX_TOKENS = 16
# Class, distillation and register tokens. DINOv2 has the most that we know: 1 + 4.

_ENOUGH = 16
# Places, 4 x 4. On clothes of 64 pixels 4 x 4 finds the gap between trouser legs, 2 x 2 nothing.


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A layer with what it takes to see its output as a map.

    Args:
        layer: Name of the module.
        form: ``map``, ``channels last`` or ``tokens``.
        size: Height and width of the map.
        prefix: Tokens at the beginning that are no place of the image.
    """

    layer: str
    form: str
    size: tuple[int, int]
    prefix: int = 0

    def as_map(self, output: Tensor) -> Tensor:
        """Returns the layer's output as map_BChw."""
        if self.form == "map":
            return output
        if self.form == "tokens":
            output = output[:, self.prefix :]
            output = output.reshape(len(output), *self.size, output.shape[-1])
        return output.permute(0, 3, 1, 2)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Seen:
    """What one module returned before the head was called."""

    name: str
    module: nn.Module
    output: Tensor


def find_place(
    model: nn.Module, image_1CHW: Tensor, *, head: str, layer: str | None = None
) -> Place:
    """Returns where to explain a network.

    Args:
        model: The network; it is left as it was.
        image_1CHW: One image as the network takes it.
        head: Name of its head module.
        layer: A module that the user wants instead.

    Raises:
        UsageError: No layer has height and width, or the one that was asked for has none.
    """
    if layer is not None and layer not in dict(model.named_modules()):
        names = [name for name, _ in model.named_modules() if name]
        close = difflib.get_close_matches(layer, names, n=3, cutoff=0.3)
        raise UsageError(
            f"{type(model).__name__} has no layer {printable(layer)!r}",
            found=f"such as {', '.join(close or names[:3])}",
        )
    with untouched(model):
        seen, features = _watch(model, image_1CHW, head)
        channels = features.shape[-1] if features.ndim == 2 else None
        places = [
            (one, place)
            for one in seen
            if layer in (None, one.name)
            and (place := _place(one, seen, model, None if layer else channels)) is not None
        ]
        if not places or not features.requires_grad:
            raise _no_place(model, seen, layer)
        if layer is not None:
            return places[-1][1]
        # Of the head's input and not of a logit, since a head may still be zero; weighted unevenly,
        # since behind a layer norm the sum never changes.
        weights = torch.arange(features.numel()).cos().view_as(features)
        outputs = [one.output for one, _ in places]
        gradients = torch.autograd.grad((features * weights).sum(), outputs, allow_unused=True)
        # In a dead network no gradient arrives anywhere, and there is no heat.
        reached = [
            place
            for (_, place), gradient in zip(places, gradients, strict=True)
            if gradient is not None and bool(place.as_map(gradient).any())
        ] or [place for _, place in places]
        fine = [place for place in reached if math.prod(place.size) >= _ENOUGH]
        return (fine or reached)[-1]


def _watch(model: nn.Module, image_1CHW: Tensor, head: str) -> tuple[list[_Seen], Tensor]:
    """Returns what modules returned before the head, and what the head was given.

    Instead of that the network's output, where the head is not called with a tensor.
    """
    seen: list[_Seen] = []
    given: list[object] = []
    handles: list[RemovableHandle] = []

    def after(name: str) -> Callable[[nn.Module, object, object], None]:
        def note(module: nn.Module, _: object, output: object) -> None:
            if isinstance(output, Tensor) and not given:
                seen.append(_Seen(name=name, module=module, output=output))

        return note

    def at_head(_: nn.Module, args: tuple[object, ...]) -> None:
        given.append(args[0] if args else None)

    try:
        handles.append(model.get_submodule(head).register_forward_pre_hook(at_head))
        for name, module in model.named_modules():
            if name and name != head:
                handles.append(module.register_forward_hook(after(name)))
        output: Tensor = model(image_1CHW.detach().clone().requires_grad_())
    finally:
        for handle in handles:
            handle.remove()
    counts: dict[str, int] = {}
    for one in seen:
        counts[one.name] = counts.get(one.name, 0) + 1
    features = given[0] if given and isinstance(given[0], Tensor) else output
    return [one for one in seen if counts[one.name] == 1], features


def _place(
    one: _Seen, seen: Iterable[_Seen], model: nn.Module, channels: int | None
) -> Place | None:
    """Returns how a module's output is a map; None where it is none.

    Args:
        one: The module.
        seen: All modules: a grid that one of them has proves what tokens stand for.
        model: The network, which may say that its channels are last.
        channels: How many a token must have; None takes any number.
    """
    shape = one.output.shape
    if not one.output.requires_grad or shape[:1] != (1,) or not one.output.numel():
        return None
    if len(shape) == 4:
        _, first, second, third = shape
        if second in _token_counts(seen):
            return None  # attention heads: (B, heads, N, N or features)
        last = first == second != third or (
            first == second and getattr(model, "output_fmt", "NCHW") == "NHWC"
        )
        size = (first, second) if last else (second, third)
        form = "channels last" if last else "map"
        return Place(layer=one.name, form=form, size=size) if math.prod(size) > 1 else None
    # A linear layer of tokens is half a step: the query, key or value of an attention.
    if len(shape) != 3 or (channels is not None and isinstance(one.module, nn.Linear)):
        return None
    grid = _grid(shape[1], seen) if channels in (None, shape[2]) else None
    if grid is None:
        return None
    return Place(layer=one.name, form="tokens", size=grid, prefix=shape[1] - math.prod(grid))


def _token_counts(seen: Iterable[_Seen]) -> set[int]:
    """Returns how many tokens networks of tokens have, layer by layer."""
    return {one.output.shape[1] for one in seen if one.output.ndim == 3 and len(one.output) == 1}


def _grid(num_tokens: int, seen: Iterable[_Seen]) -> tuple[int, int] | None:
    """Returns the height and width of a grid of tokens; None where the number proves none.

    The grid of a map that the network computed, with as few tokens left over as can be; without
    one, a square.
    """
    sizes = {tuple(one.output.shape[2:]) for one in seen if one.output.ndim == 4}
    sizes |= {tuple(one.output.shape[1:3]) for one in seen if one.output.ndim == 4}
    fitting = [
        (num_tokens - height * width, (height, width))
        for height, width in sizes
        if height * width > 1 and 0 <= num_tokens - height * width <= _MOST_PREFIX_TOKENS
    ]
    if fitting:
        return min(fitting)[1]
    side = math.isqrt(num_tokens)
    return (side, side) if side > 1 and side * side == num_tokens else None


def _no_place(model: nn.Module, seen: list[_Seen], layer: str | None) -> UsageError:
    """Returns why a network cannot be explained by a heat map."""
    name = type(model).__name__
    if layer is not None:
        shape = next((tuple(one.output.shape[1:]) for one in seen if one.name == layer), None)
        return UsageError(
            f"the layer {printable(layer)} of {name} has no height and width to draw heat on",
            found=f"for an image it returns {shape}" if shape
            else "it is not run once before the head, or returns no tensor",
            hint="leave layer away, and the last one that has is taken",
        )  # fmt: skip
    return UsageError(
        f"{name} cannot be explained by a heat map: no layer keeps height and width",
        found="it takes the image apart at once, as fully connected networks do",
        hint="choose a convolutional network or a transformer",
    )


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients of parameters; afterwards the model is as it was.

    Modes of all modules, which parameters train, and their gradients are put back.
    """
    modes = [(module, module.training) for module in model.modules()]
    parameters = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    model.eval()
    try:
        for parameter, _, _ in parameters:
            parameter.requires_grad_(False)
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, trains, gradient in parameters:
            parameter.requires_grad_(trains)
            parameter.grad = gradient
