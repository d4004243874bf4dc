"""The place in a network before which nothing trains, and the network cut in two there.

With the head alone training, that is the head's input. With the last N blocks training, it is the
last place before them that one tensor crosses. What lies before (the prefix) makes the same of an
image in every epoch, so it is computed once; what lies after (the rest) trains on what was kept.

The cut at inner blocks is made in the graph of the network's outer code: the calls of its blocks
and what stands between them (torch.fx; a block itself is never looked into, so what it does inside
does not matter). No cut is taken on trust: :meth:`Frontier.proves_out`.

Shapes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from zoo.network.blocks import blocks, within
from zoo.network.head import head_input
from zoo.network.modes import evaluation_mode

__all__ = ["Frontier", "NoFrontier", "find_frontier"]


class NoFrontier(Exception):
    """A network that cannot be cut here. The message says why, in half a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """A network in two parts that share its modules: ``rest(prefix(images)) == model(images)``.

    Args:
        name: What comes first in the rest: the head's name, or that of the first block.
        prefix: Maps images_BCHW to the activation that crosses, its first dimension the batch.
        rest: Maps that to logits_BK. Its modules are the network's own, so it trains them.
        at_head: Whether the rest is the head and nothing else.
    """

    name: str
    prefix: nn.Module
    rest: nn.Module
    at_head: bool

    def features(self, model: nn.Module, images_BCHW: Tensor) -> Tensor:
        """Returns what the prefix makes of images in evaluation mode. Modes are left as they were.

        Args:
            model: The network that the two parts are of.
            images_BCHW: Images.
        """
        with evaluation_mode(model):
            activation: Tensor = self.prefix(images_BCHW)
            return activation

    @torch.no_grad()
    def proves_out(self, model: nn.Module, images_BCHW: Tensor) -> bool:
        """Returns whether the two parts make of these images what the network makes of them.

        In evaluation mode, for all of them and for the first alone: an activation belongs to its
        image and to no other. Modes and gradients are left as they were.
        """
        with evaluation_mode(model):
            try:
                activation, alone = self.prefix(images_BCHW), self.prefix(images_BCHW[:1])
                if not isinstance(activation, Tensor) or len(activation) != len(images_BCHW):
                    return False
                whole, part = self.rest(activation.clone()), self.rest(activation[:1].clone())
            except Exception:  # whatever a stranger's code does with half of its own graph
                return False
            expected = model(images_BCHW)
        # A single image may go through other kernels than several, which round differently.
        return (
            _close(whole, expected, share=1e-5)
            and _close(alone, activation[:1], share=1e-4)
            and _close(part, expected[:1], share=1e-4)
        )


class _HeadInput(nn.Module):
    """Maps images to what the head is given."""

    def __init__(self, model: nn.Module, head: str) -> None:
        super().__init__()
        self.model, self.head_name = model, head

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Returns the head's input."""
        return head_input(self.model, self.head_name, images_BCHW)


def find_frontier(
    model: nn.Module, *, head: Collection[str], trained: Collection[str], head_is_last: bool
) -> Frontier:
    """Returns the network cut where it begins to train.

    Args:
        model: The network, in the modes in which it will train: what its outer code does in
            training (a dropout that is no module) goes into the graph as it is then.
        head: Names of its head's modules.
        trained: Names of the modules that train, head included.
        head_is_last: Whether ``head(head_input(images)) == model(images)`` was proved. Then the
            head needs no graph to be cut off, and its code may be of any kind.

    Raises:
        NoFrontier: There is nothing before it, or it is not one tensor that crosses.
    """
    if head_is_last and tuple(trained) == tuple(head) and len(head) == 1:
        (name,) = head
        return Frontier(
            name=name, prefix=_HeadInput(model, name), rest=model.get_submodule(name), at_head=True
        )
    graph = _outer_graph(model, leaves=(*blocks(model, head=head), *head))
    nodes = list(graph.nodes)
    first = next((at for at, node in enumerate(nodes) if _trains(node, model, trained)), None)
    if first is None:
        raise NoFrontier("no part of it trains")
    at, crossing = _narrowest(nodes, first)
    prefix = fx.GraphModule(model, _part(nodes, begin=nodes[0], end=crossing))
    if next(prefix.parameters(), None) is None:
        raise NoFrontier("nothing comes before what trains")
    return Frontier(
        name=_named(nodes[at] if nodes[at].op == "call_module" else crossing),
        prefix=prefix,
        rest=fx.GraphModule(model, _part(nodes, begin=crossing, end=nodes[-1])),
        at_head=False,
    )


def _named(node: fx.Node) -> str:
    """Returns what a node is called, in every process: a function's own words hold its address."""
    return str(node.target) if node.op == "call_module" else node.name


class _OuterTracer(fx.Tracer):
    """Looks into modules that hold blocks, and into no other."""

    def __init__(self, leaves: Collection[str]) -> None:
        super().__init__()
        self._leaves = tuple(leaves)

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        """Whether a module is called as a whole."""
        return not any(leaf != name and within(leaf, (name,)) for leaf in self._leaves)


def _outer_graph(model: nn.Module, *, leaves: Collection[str]) -> fx.Graph:
    """Returns the graph of the network's outer code.

    Raises:
        NoFrontier: It decides by the values of its tensors what to do.
    """
    try:
        return _OuterTracer(leaves).trace(model, concrete_args=_defaults(model))
    except Exception as error:  # a stranger's forward pass under a tracer can raise anything
        raise NoFrontier(f"its code cannot be traced ({type(error).__name__})") from error


def _defaults(model: nn.Module) -> dict[str, object]:
    """Returns what the network's forward takes besides the images, as it is when not given."""
    given = list(inspect.signature(model.forward).parameters.values())[1:]
    return {one.name: one.default for one in given if one.default is not one.empty}


def _trains(node: fx.Node, model: nn.Module, trained: Collection[str]) -> bool:
    """Whether a node uses something that trains, or is in training mode."""
    name = str(node.target)
    if node.op == "get_attr":
        return within(name, trained)
    if node.op != "call_module":
        return False
    module = model.get_submodule(name)
    return (
        within(name, trained)
        or any(within(inner, (name,)) for inner in trained)
        or any(part.training for part in module.modules())
        or any(parameter.requires_grad for parameter in module.parameters())
    )


def _narrowest(nodes: list[fx.Node], first: int) -> tuple[int, fx.Node]:
    """Returns the last position up to ``first`` that a single value crosses, and that value.

    Values that do not depend on the input do not count: both sides can have them.

    Raises:
        NoFrontier: There is none.
    """
    depends: set[fx.Node] = set()
    for node in nodes:
        if node.op == "placeholder" or any(used in depends for used in node.all_input_nodes):
            depends.add(node)
    for at in range(first, 0, -1):
        after = set(nodes[at:])
        crossing = [node for node in nodes[:at] if node in depends and set(node.users) & after]
        if len(crossing) == 1:
            return at, crossing[0]
    raise NoFrontier("more than one tensor goes into what trains")


def _part(nodes: Iterable[fx.Node], *, begin: fx.Node, end: fx.Node) -> fx.Graph:
    """Returns the graph that computes one value from another, and needs no other input."""
    needed, waiting = {begin}, [end]
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting.extend(node.all_input_nodes)
    part = fx.Graph()
    copies = {begin: part.placeholder("given")}
    for node in nodes:
        if node in needed and node is not begin:
            copies[node] = part.node_copy(node, lambda used: copies[used])
    if end.op != "output":
        part.output(copies[end])
    return part


def _close(one: object, other: object, *, share: float) -> bool:
    """Whether two tensors differ by no more than a share of the largest value."""
    if not isinstance(one, Tensor) or not isinstance(other, Tensor) or one.shape != other.shape:
        return False
    return bool(((one - other).abs().amax() <= share * other.abs().amax()).item())
