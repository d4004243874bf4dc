"""Depthwise convolutions that compute what stands around them, in one step each.

A block of a mobile network is a convolution that widens, a norm, an activation, a depthwise
convolution, a norm, an activation. torch passes over the wide maps for each of them, several times
for a norm that trains. :func:`~zoo.network.fast.depthwise_block.depthwise_block` is all but the
first: what stands before the convolution returns what it is given, marked, the convolution does its
work, and what stands after finds its work done. A norm whose statistics are held is part of the
convolution before it (:mod:`zoo.network.fast.held_norms`), and there is none left to do.

:func:`fuse_blocks` leaves the types of a network's modules, its parameters and its state dict as
they are. Only eager training steps in float32 on the CPU, in channels_last, are computed so.

N samples, C channels, H W rows and columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeGuard

import torch
from torch import Tensor, nn

from zoo.network.fast.depthwise_block import depthwise_block
from zoo.network.fast.depthwise_shapes import Padding, Pair
from zoo.network.fast.eager import is_training_step, is_watched
from zoo.network.fast.native.kernels import Kernels
from zoo.network.fast.proof import proves_out
from zoo.network.fast.surroundings import Side, inner_activation, surroundings
from zoo.network.modes import evaluation_mode
from zoo.network.pairs import Pair as NormPair

__all__ = ["Block", "block_of", "fuse_blocks", "restore_blocks"]

_BLOCK = "_zoo_block"
"""Attribute of a convolution: the block that it computes."""

_WAITING, _DONE = "_zoo_waiting", "_zoo_done"
"""Attributes of a tensor: the modules whose work its convolution will do, or has done."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """A depthwise convolution, and what it computes besides.

    An object with modules and no closure, so that a network with it can be copied and pickled.

    Args:
        convolution: It.
        before: What stands before it.
        after: What stands after it.
        norms: Whether the norms of the two are part of the block while they train. If not, the
            one after is part of the convolution's weight while it is held.
        kernels: The compiled library.
    """

    convolution: nn.Conv2d
    before: Side
    after: Side
    norms: bool
    kernels: Kernels

    def takes(self, x: Tensor) -> bool:
        """Returns whether a call of the convolution in a training step is computed here."""
        return (
            x.is_contiguous(memory_format=torch.channels_last)
            and x.numel() > 0
            # If not, torch says what is wrong, and the library would not.
            and x.shape[1] == self.convolution.weight.shape[0]
            and self.kernels.usable
            and not any(map(is_watched, (self.convolution, *self.before, *self.after)))
        )

    def trains(self, norm: nn.Module | None, x: Tensor) -> TypeGuard[nn.BatchNorm2d]:
        """Returns whether a norm's work in a step is done here.

        Args:
            norm: One of the block's.
            x: What the convolution or the norm before it is given.
        """
        return (
            self.norms
            and isinstance(norm, nn.BatchNorm2d)
            and norm.training
            and norm.momentum is not None
            and norm.track_running_stats  # without, torch leaves those that there are alone
            and x.shape[0] > 1  # one value of a channel has no variance; torch says so
            and all(
                _is_whole(one, x.shape[1])
                for one in (norm.weight, norm.bias, norm.running_mean, norm.running_var)
            )
        )

    def convolved(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: Pair, padding: Padding
    ) -> Tensor:
        """Returns the convolution of x, with what can be done of the block's work."""
        waiting = getattr(x, _WAITING, ())
        norm_before, before = (one if one in waiting else None for one in self.before)
        assert norm_before is None or isinstance(norm_before, nn.BatchNorm2d)  # left as it trains
        norm_after, after = self.after
        if not self.trains(norm_after, x):
            norm_after = None
            # With the norm's scale in it, the weight is an attribute and no parameter: held_norms.
            if "weight" not in vars(self.convolution):
                after = None
        output = depthwise_block(
            x, weight, bias, stride=stride, padding=padding, kernels=self.kernels,
            before=None if before is None else type(before),
            after=None if after is None else type(after),
            norm_before=norm_before, norm_after=norm_after,
        )  # fmt: skip
        setattr(output, _DONE, (norm_after, after))
        return output


def block_of(convolution: nn.Conv2d) -> Block | None:
    """Returns the block that a convolution computes, None if it is on its own."""
    block: Block | None = vars(convolution).get(_BLOCK)
    return block


@dataclass(frozen=True, slots=True, eq=False)
class _Around:
    """Stands in for ``forward`` of a norm or an activation: leaves its work to a convolution.

    Args:
        module: The norm or activation.
        into: The block that it comes before; None if it only comes after one.
    """

    module: nn.Module
    into: Block | None

    def __call__(self, x: Tensor) -> Tensor:
        if self.module in getattr(x, _DONE, ()):
            return x
        if self.into is not None and self._is_left(x, self.into):
            waiting = getattr(x, _WAITING, ())
            if self.module not in waiting:  # images may be given again in the next step
                setattr(x, _WAITING, (*waiting, self.module, inner_activation(self.module)))
            return x
        own: Tensor = type(self.module).forward(self.module, x)
        return own

    def _is_left(self, x: Tensor, into: Block) -> bool:
        is_norm = self.module is into.before.norm
        return (
            is_training_step(x, into.convolution.weight)
            and into.takes(x)
            and (not is_norm or into.trains(self.module, x))
        )


def fuse_blocks(
    model: nn.Module,
    images_NCHW: Tensor,
    kernels: Kernels,
    *,
    convolutions: Sequence[nn.Conv2d],
    pairs: Sequence[NormPair],
    held: bool,
) -> int:
    """Has depthwise convolutions compute what stands around them; returns how many can.

    The network can be copied, pickled and run in any mode; :func:`restore_blocks` takes the change
    back.

    Args:
        model: The network, changed in place. Left alone where the change would alter its outputs.
        images_NCHW: A few images, on the CPU.
        kernels: The compiled library.
        convolutions: The depthwise convolutions that ask for their block.
        pairs: Convolutions that feed nothing but their norm, and that.
        held: Whether those norms are held, and the convolutions do their work. If not, the blocks
            have norms that train.
    """
    restore_blocks(model)
    if not kernels.usable:
        return 0
    with evaluation_mode(model), torch.inference_mode(mode=False):
        blocks = [
            Block(
                convolution=convolution, before=before, after=after, norms=not held,
                kernels=kernels,
            )
            for convolution, before, after in surroundings(
                model, images_NCHW, convolutions=convolutions, pairs=pairs
            )
        ]  # fmt: skip
        for block in blocks:
            vars(block.convolution)[_BLOCK] = block
        # A norm that is held has its own stand-in, which is no more than its activation.
        own = ("activation",) if held else ("norm", "activation")
        into: dict[nn.Module | None, Block | None] = {
            getattr(block.after, name): None for block in blocks for name in own
        }
        into |= {getattr(block.before, name): block for block in blocks for name in own}
        for module in into.keys() - {None}:
            assert module is not None
            vars(module)["forward"] = _Around(module, into[module])
        proven = not blocks or proves_out(model, images_NCHW)
    trained = () if held else blocks
    if blocks and not (proven and _proves_out_training(model, images_NCHW, trained)):
        restore_blocks(model)
        return 0
    return len(blocks)


def restore_blocks(model: nn.Module) -> int:
    """Undoes :func:`fuse_blocks`; returns how many convolutions it gave back."""
    restored = 0
    for module in model.modules():
        if isinstance(vars(module).get("forward"), _Around):
            delattr(module, "forward")
        restored += vars(module).pop(_BLOCK, None) is not None
    return restored


def _is_whole(tensor: Tensor | None, num_channels: int) -> bool:
    """Whether a norm's numbers are such as the library takes."""
    return (
        tensor is not None
        and tensor.shape == (num_channels,)
        and tensor.dtype == torch.float32
        and tensor.device.type == "cpu"
        and tensor.is_contiguous()
    )


def _proves_out_training(model: nn.Module, images_NCHW: Tensor, blocks: Sequence[Block]) -> bool:
    """Returns whether a pass in which norms of some blocks train gives what a plain one gives.

    All else is in the mode that it is in, which is that of the phase: a network may take another
    way while it trains, between a norm and its convolution, than the one that was watched.

    Of more images, made up: a norm of two values, as two images give it at the end of a network,
    makes of rounding what it likes. Of eight no network of 24 of timm's made more than 1e-4.
    """
    numbers = torch.Generator().manual_seed(0)
    shape = (8, *images_NCHW.shape[1:])
    made_up = torch.randn(shape, generator=numbers).to(memory_format=torch.channels_last)
    with torch.inference_mode(mode=False), _training(model, blocks):
        return proves_out(model, made_up, tolerance=1e-3)


@contextmanager
def _training(model: nn.Module, blocks: Iterable[Block]) -> Iterator[None]:
    """Has the norms of blocks train in its block, and then all be as if they had not."""
    norms = [
        one for block in blocks for one in (block.before.norm, block.after.norm) if one is not None
    ]
    kept = [
        (module, name, buffer, buffer.clone())
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    modes = [(norm, norm.training) for norm in norms]
    for norm in norms:
        norm.training = True
    try:
        yield
    finally:
        for norm, mode in modes:
            norm.training = mode
        with torch.no_grad():
            for module, name, buffer, value in kept:
                setattr(module, name, buffer)  # a module may have made itself another one
                if not torch.equal(buffer, value):  # some cannot be written into: expanded ones
                    buffer.copy_(value)
