"""Depthwise convolutions that compute the activations around them, in one step each.

A block of a mobile network is a convolution that widens, an activation, a depthwise convolution, a
norm, an activation. Where the norm is held it is part of the convolution's weight
(:mod:`zoo.network.fast.held_norms`), and what is left between the wide maps is
:func:`~zoo.network.fast.depthwise_block.depthwise_block`: the activation before returns what it is
given, marked, and the convolution does its work; the activation after finds its work done.

:func:`fuse_blocks` leaves the types of a network's modules, its parameters and its state dict as
they are. Only eager training steps in float32 on the CPU, in channels_last, are computed so.

N samples, C channels, H W rows and columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from zoo.network.fast.depthwise_block import depthwise_block
from zoo.network.fast.depthwise_shapes import Padding, Pair
from zoo.network.fast.eager import is_training_step, is_watched
from zoo.network.fast.native.kernels import ACTIVATIONS, Kernels
from zoo.network.fast.proof import differentiated, gradient_users, proves_out, untouched
from zoo.network.modes import evaluation_mode
from zoo.network.pairs import Pair as NormPair

__all__ = ["Block", "block_of", "fuse_blocks", "restore_blocks"]

_BLOCK = "_zoo_block"
"""Attribute of a convolution: the block that it computes."""

_WAITING, _DONE = "_zoo_waiting", "_zoo_done"
"""Attributes of a tensor: the activation that its convolution will do, and the one it has done."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """A depthwise convolution, and the activations that it computes.

    An object with modules and no closure, so that a network with it can be copied and pickled.

    Args:
        convolution: It.
        before: The activation whose output it alone is given; None if there is none.
        after: The activation that alone is given its output; None if there is none.
        norm: The norm between convolution and ``after``.
        outer: The norm that has ``before`` inside, as timm's have.
        kernels: The compiled library.
    """

    convolution: nn.Conv2d
    before: nn.Module | None
    after: nn.Module | None
    norm: nn.Module | None
    outer: nn.Module | None
    kernels: Kernels

    def takes(self, x: Tensor) -> bool:
        """Returns whether a call of the convolution is computed here."""
        parts = (self.convolution, self.before, self.after, self.norm, self.outer)
        return (
            is_training_step(x, self.convolution.weight)
            and x.is_contiguous(memory_format=torch.channels_last)
            and x.numel() > 0
            and self.kernels.usable
            and not any(map(is_watched, parts))
        )

    def convolved(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: Pair, padding: Padding
    ) -> Tensor:
        """Returns the convolution of x, with the activations that can be done."""
        waiting = getattr(x, _WAITING, None)
        # With the norm's scale in it, the weight is an attribute and no parameter: see held_norms.
        after = self.after if "weight" in vars(self.convolution) else None
        output = depthwise_block(
            x, weight, bias, stride=stride, padding=padding, kernels=self.kernels,
            before=None if waiting is None else type(waiting),
            after=None if after is None else type(after),
        )  # fmt: skip
        if after is not None:
            setattr(output, _DONE, after)
        return output


def block_of(convolution: nn.Conv2d) -> Block | None:
    """Returns the block that a convolution computes, None if it is on its own."""
    block: Block | None = vars(convolution).get(_BLOCK)
    return block


@dataclass(frozen=True, slots=True, eq=False)
class _Activation:
    """Stands in for ``forward`` of an activation: leaves its work to a convolution.

    Args:
        module: The activation.
        into: The block that it comes before; None if it only comes after one.
    """

    module: nn.Module
    into: Block | None

    def __call__(self, x: Tensor) -> Tensor:
        if getattr(x, _DONE, None) is self.module:
            return x
        if self.into is not None and self.into.takes(x):
            setattr(x, _WAITING, self.module)
            return x
        own: Tensor = type(self.module).forward(self.module, x)
        return own


def fuse_blocks(
    model: nn.Module,
    images_NCHW: Tensor,
    kernels: Kernels,
    *,
    convolutions: Sequence[nn.Conv2d],
    pairs: Sequence[NormPair],
) -> int:
    """Has depthwise convolutions compute the activations around them; returns how many can.

    The network can be copied, pickled and run in any mode; :func:`restore_blocks` takes the change
    back.

    Args:
        model: The network, changed in place. Left alone where the change would alter its outputs.
        images_NCHW: A few images, on the CPU.
        kernels: The compiled library.
        convolutions: The depthwise convolutions that ask for their block.
        pairs: Convolutions and held norms whose work they do.
    """
    restore_blocks(model)
    if not kernels.usable:
        return 0
    with evaluation_mode(model), torch.inference_mode(mode=False):
        blocks = list(_found(model, images_NCHW, kernels, convolutions, pairs))
        for block in blocks:
            vars(block.convolution)[_BLOCK] = block
        into = {block.before: block for block in blocks if block.before is not None}
        for module in {*into, *(block.after for block in blocks if block.after is not None)}:
            vars(module)["forward"] = _Activation(module, into.get(module))
        if blocks and not proves_out(model, images_NCHW):
            restore_blocks(model)
            return 0
    return len(blocks)


def restore_blocks(model: nn.Module) -> int:
    """Undoes :func:`fuse_blocks`; returns how many convolutions it gave back."""
    restored = 0
    for module in model.modules():
        if isinstance(vars(module).get("forward"), _Activation):
            delattr(module, "forward")
        restored += vars(module).pop(_BLOCK, None) is not None
    return restored


def _found(
    model: nn.Module,
    images_NCHW: Tensor,
    kernels: Kernels,
    convolutions: Sequence[nn.Conv2d],
    pairs: Sequence[NormPair],
) -> Iterator[Block]:
    """Yields the blocks, with the activations whose results go nowhere else."""
    norms = {pair.convolution: pair.norm for pair in pairs}
    activations = {m for m in model.modules() if type(m) in ACTIVATIONS and not is_watched(m)}
    pass_ = _Pass()
    with pass_.watched(convolutions, norms.values(), activations), untouched(model) as passed_on:
        users = gradient_users(differentiated(model, images_NCHW))

    def has_one_user(module: nn.Module) -> bool:
        output, node = pass_.made.get(module, (None, None))
        return node is not None and users[node] == 1 and output not in passed_on

    outer = {inner: m for m in model.modules() if (inner := _inner_activation(m)) is not None}
    given_by = {source: one for one, source in pass_.source.items() if one in activations}
    for convolution in convolutions:
        if pass_.calls[convolution] != 1 or is_watched(convolution):
            continue
        before, norm = pass_.source.get(convolution), norms.get(convolution)
        if before not in activations or pass_.calls[before] != 1 or not has_one_user(before):
            before = None
        after = None
        if norm is not None and not is_watched(norm):
            inner = _inner_activation(norm)
            after = inner or (given_by.get(norm) if has_one_user(norm) else None)
        if after not in activations or pass_.calls[after] != 1:
            after = None
        yield Block(
            convolution=convolution, before=before, after=after,
            norm=None if after is None else norm, kernels=kernels,
            outer=None if before is None else outer.get(before),
        )  # fmt: skip


class _Pass:
    """What is seen of a pass.

    Attributes:
        calls: How often a module was called.
        source: The module that returned the very tensor that another one was given, unchanged.
        made: What a module returned, and the operation whose result it is.
    """

    def __init__(self) -> None:
        self.calls: Counter[nn.Module] = Counter()
        self.source: dict[nn.Module, nn.Module] = {}
        self.made: dict[nn.Module, tuple[Tensor, Node | None]] = {}
        self._returned: dict[int, tuple[nn.Module, Tensor, int]] = {}

    @contextmanager
    def watched(
        self,
        convolutions: Iterable[nn.Module],
        norms: Iterable[nn.Module],
        activations: Iterable[nn.Module],
    ) -> Iterator[None]:
        """Watches what convolutions and activations are given, and norms and activations return."""
        # What a norm with its own activation returns is that one's.
        outer = [norm for norm in norms if not isinstance(getattr(norm, "act", None), nn.Module)]
        hooks = [
            *(m.register_forward_pre_hook(self._given) for m in (*convolutions, *activations)),
            *(m.register_forward_hook(self._gave) for m in (*outer, *activations)),
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


def _inner_activation(norm: nn.Module) -> nn.Module | None:
    """Returns the activation of timm's norms, which have one inside, after a dropout."""
    activation = getattr(norm, "act", None)
    plain = type(getattr(norm, "drop", None)) is nn.Identity
    return activation if plain and isinstance(activation, nn.Module) else None
