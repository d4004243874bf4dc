"""What stands around depthwise convolutions, seen in a pass: the norms and activations of a block.

N samples, C channels, H W rows and columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from torch import Tensor, nn
from torch.autograd.graph import Node

from zoo.network.fast.eager import is_watched
from zoo.network.fast.native.kernels import ACTIVATIONS
from zoo.network.fast.proof import differentiated, gradient_users, untouched
from zoo.network.pairs import Pair, is_constant_norm

__all__ = ["Side", "inner_activation", "surroundings"]


class Side(NamedTuple):
    """What stands on one side of a convolution, and serves nothing else.

    Attributes:
        norm: Before: the norm whose output is given to the activation alone, or to the convolution
            if there is none. After: the norm that alone is given the convolution's output.
        activation: Before: the one whose output is given to the convolution alone. After: the one
            that alone is given the norm's.
    """

    norm: nn.Module | None = None
    activation: nn.Module | None = None


def inner_activation(norm: nn.Module) -> nn.Module | None:
    """Returns the activation of timm's norms, which have one inside, after a dropout."""
    activation = getattr(norm, "act", None)
    plain = type(getattr(norm, "drop", None)) is nn.Identity
    return activation if plain and isinstance(activation, nn.Module) else None


def surroundings(
    model: nn.Module,
    images_NCHW: Tensor,
    *,
    convolutions: Sequence[nn.Conv2d],
    pairs: Sequence[Pair],
) -> Iterator[tuple[nn.Conv2d, Side, Side]]:
    """Yields convolutions, and what stands before and after each.

    Args:
        model: The network, in evaluation mode.
        images_NCHW: A few images, on the CPU.
        convolutions: Those that are asked about; one that is called twice is left out.
        pairs: Convolutions that feed nothing but their norm, and that.
    """
    norms = {m for m in model.modules() if is_constant_norm(m)}
    bare = {norm for norm in norms if not isinstance(getattr(norm, "act", None), nn.Module)}
    activations = {m for m in model.modules() if type(m) in ACTIVATIONS and not is_watched(m)}
    pass_ = _Pass()
    with (
        pass_.watched(given=(*convolutions, *norms, *activations), gave=(*bare, *activations)),
        untouched(model) as passed_on,
    ):
        users = gradient_users(differentiated(model, images_NCHW))

    def serves_one(module: nn.Module) -> bool:
        output, node = pass_.made.get(module, (None, None))
        return node is not None and users[node] == 1 and output not in passed_on

    def known(module: nn.Module | None) -> bool:
        return module in activations and pass_.calls[module] == 1

    outer = {inner: norm for norm in norms - bare if (inner := inner_activation(norm)) is not None}
    given_by = {source: one for one, source in pass_.source.items() if one in activations}

    def side_before(convolution: nn.Conv2d) -> Side:
        norm, activation = pass_.source.get(convolution), None
        if norm is not None and known(norm) and serves_one(norm):
            activation = norm
            if activation in outer:
                return Side(norm=outer[activation], activation=activation)
            norm = pass_.source.get(activation)
        alone = norm in bare and pass_.calls[norm] == 1 and serves_one(norm)
        return Side(norm=norm if alone else None, activation=activation)

    def side_after(norm: nn.Module | None) -> Side:
        if norm is None or is_watched(norm):
            return Side()
        if norm in bare:
            after = given_by.get(norm)
            return Side(norm=norm, activation=after if known(after) and serves_one(norm) else None)
        inner = inner_activation(norm)
        if known(inner):
            return Side(norm=norm, activation=inner)
        return Side(norm=norm if type(inner) is nn.Identity else None)

    norm_of = {pair.convolution: pair.norm for pair in pairs}
    for convolution in convolutions:
        if pass_.calls[convolution] == 1 and not is_watched(convolution):
            after = side_after(norm_of.get(convolution))
            yield convolution, side_before(convolution), after


class _Pass:
    """What is seen of a pass.

    Attributes:
        calls: How often a module was called.
        source: The module that returned the very tensor that another one was given, unchanged.
        made: What a module returned, and the operation whose result it is.
    """

    def __init__(self) -> None:
        self.calls: Counter[nn.Module | None] = Counter()
        self.source: dict[nn.Module, nn.Module] = {}
        self.made: dict[nn.Module, tuple[Tensor, Node | None]] = {}
        self._returned: dict[int, tuple[nn.Module, Tensor, int]] = {}

    @contextmanager
    def watched(self, *, given: Iterable[nn.Module], gave: Iterable[nn.Module]) -> Iterator[None]:
        """Watches what some modules are given, and what some return."""
        hooks = [
            *(module.register_forward_pre_hook(self._given) for module in given),
            *(module.register_forward_hook(self._gave) for module in gave),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _given(self, module: nn.Module, args: tuple[object, ...]) -> None:
        self.calls[module] += 1
        tensor = args[0] if len(args) == 1 else None
        source, _, version = self._returned.get(id(tensor), (None, None, None))
        if source is not None and isinstance(tensor, Tensor) and tensor._version == version:
            self.source[module] = source

    def _gave(self, module: nn.Module, args: object, output: object) -> None:
        if isinstance(output, Tensor):
            # Held, so that no other tensor gets its id while the pass lasts.
            self._returned[id(output)] = (module, output, output._version)
            self.made[module] = output, output.grad_fn
