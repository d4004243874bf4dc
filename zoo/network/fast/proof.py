"""What a differentiated pass of a network shows: who uses what, and that a change alters nothing.

N samples, C channels, H W rows and columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode

from zoo.network.modes import evaluation_mode
from zoo.network.pairs import Pair, adjacent_pairs

__all__ = [
    "Untouched",
    "differentiated",
    "gradient_users",
    "lone_pairs",
    "proves_out",
    "untouched",
]


def differentiated(model: nn.Module, images_NCHW: Tensor) -> Tensor:
    """Returns a network's outputs, with the graph that made them."""
    with torch.enable_grad():
        # A copy: a network may write into what it is given, and a leaf is not written into.
        output: Tensor = model(images_NCHW.detach().requires_grad_().clone())
    return output


def gradient_users(output: Tensor) -> Counter[Node]:
    """Returns to how many others each operation of a graph gives its result, as gradients go."""
    users: Counter[Node] = Counter()
    waiting, seen = [output.grad_fn], {output.grad_fn}
    while waiting:
        node = waiting.pop()
        for before, _ in node.next_functions if node is not None else ():
            if before is not None:
                users[before] += 1
                if before not in seen:
                    seen.add(before)
                    waiting.append(before)
    return users


class Untouched(TorchFunctionMode):
    """Tensors that somebody was given and returned as they are, as dropout does in evaluation.

    What does nothing now may do something in training: who passed such a tensor on is to be taken
    for standing between.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[int, Tensor] = {}  # held, so that no other tensor gets the id

    def __contains__(self, tensor: object) -> bool:
        return id(tensor) in self._seen

    def note(self, given: Iterable[tuple[object, int]], returned: object) -> None:
        """Takes note of what a call returned.

        Args:
            given: What it was given, with the versions that tensors had then.
            returned: The result.
        """
        if isinstance(returned, Tensor) and any(
            one is returned and version == returned._version for one, version in given
        ):
            self._seen[id(returned)] = returned

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        kwargs = kwargs or {}
        given = [(x, x._version) for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
        returned = func(*args, **kwargs)
        self.note(given, returned)
        return returned


@contextmanager
def untouched(model: nn.Module) -> Iterator[Untouched]:
    """Sees in the passes of its block which tensors functions and modules return untouched.

    ``nn.Identity``, containers in a row, and modules whose work another one does are not meant.
    """
    seen, versions = Untouched(), {}

    def given(module: nn.Module, args: tuple[object, ...]) -> None:
        versions[module] = [(x, x._version) for x in args if isinstance(x, Tensor)]

    def returned(module: nn.Module, args: object, output: object) -> None:
        seen.note(versions.pop(module, ()), output)

    hooks = [
        hook
        for module in model.modules()
        if type(module) not in (nn.Identity, nn.Sequential) and "forward" not in vars(module)
        for hook in (
            module.register_forward_pre_hook(given),
            module.register_forward_hook(returned),
        )
    ]
    try:
        with seen:
            yield seen
    finally:
        for hook in hooks:
            hook.remove()


def lone_pairs(model: nn.Module, images_NCHW: Tensor) -> list[Pair]:
    """Returns the pairs whose convolution feeds nothing but its norm, and that at once.

    A pass in evaluation shows them.
    """
    made: dict[Pair, tuple[Tensor, Node | None]] = {}

    def convolved(pair: Pair, module: nn.Module, given: object, output: Tensor) -> None:
        made[pair] = output, output.grad_fn

    with evaluation_mode(model), torch.inference_mode(mode=False):
        hooks = [
            pair.convolution.register_forward_hook(partial(convolved, pair))
            for pair in adjacent_pairs(model, images_NCHW)
        ]
        try:
            with untouched(model) as passed_on:
                users = gradient_users(differentiated(model, images_NCHW))
        finally:
            for hook in hooks:
                hook.remove()
    return [
        pair
        for pair, (output, node) in made.items()
        if node is not None and users[node] == 1 and output not in passed_on
    ]


def proves_out(model: nn.Module, images_NCHW: Tensor, *, tolerance: float = 1e-4) -> bool:
    """Returns whether a differentiated pass gives what a plain one gives.

    Both draw the same random numbers, and the next to draw finds as many as there were.

    Args:
        model: The network, in any mode.
        images_NCHW: A few images.
        tolerance: Share of the largest output; rounding makes about 1e-6 where no norm trains.
    """
    with torch.random.fork_rng(devices=()), torch.no_grad():
        plain: object = model(images_NCHW.clone())
    with torch.random.fork_rng(devices=()):
        found: object = differentiated(model, images_NCHW)
    if not (isinstance(plain, Tensor) and isinstance(found, Tensor)):
        return False  # some networks return more while they train
    return bool((found - plain).abs().max() <= tolerance * plain.abs().max())
