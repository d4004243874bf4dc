"""The network of a run: built, its head found and proved, its weights loaded, tried on two images.

The runs of an experiment mostly ask for the same one. Making it took a sixth of a run that trains
a head on kept features, so for several runs it is made once, and each gets a copy.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn

from zoo.data.randomness import Stream, key
from zoo.engine.assembly.heads import build_network, wrong_size
from zoo.errors import PluginError, ZooError
from zoo.network.dropout import override_dropout
from zoo.network.freeze import set_modes, trainable_modules
from zoo.network.head import find_head, proves_out, zero_head
from zoo.network.modes import evaluation_mode
from zoo.network.mould import Mould, mould_of
from zoo.network.statistics import statistics_held
from zoo.network.weights import Chosen, LoadReport, load

if TYPE_CHECKING:
    from zoo.config import RunConfig
    from zoo.engine.assembly.choices import Choices
    from zoo.engine.assembly.phases import Phase
    from zoo.registry import Choice

__all__ = ["MadeOnce", "MakeNetwork", "Network", "make_network", "place", "takes_one_image"]

_KEPT_BYTES = 2**28
"""Networks that are kept for further runs take no more. A larger one is made for each."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Network:
    """A network that is ready to be trained.

    Args:
        model: The network, weights loaded, on the CPU.
        head: Names of the head's modules.
        loaded: How the weights fitted; None with random weights.
        proved: Whether ``head(features(x)) == model(x)`` was proved.
        notes: What the user should know.
    """

    model: nn.Module
    head: tuple[str, ...]
    loaded: LoadReport | None
    proved: bool
    notes: tuple[str, ...] = ()


MakeNetwork: TypeAlias = "Callable[[RunConfig, Choices, Chosen, int], Network]"
"""What :func:`make_network` is."""


def make_network(config: RunConfig, choices: Choices, taken: Chosen, num_classes: int) -> Network:
    """Returns the network that a configuration asks for, drawn as of its seed.

    Args:
        config: Settled. What decides: ``seed``, ``channels``, ``img_size``, ``dropout`` and
            ``drop_path``.
        choices: The model, and the head that takes the place of its own.
        taken: Its weights.
        num_classes: Outputs.

    Raises:
        ZooError: It cannot be built, does not take these images, or the weights do not fit.
    """
    assert config.img_size is not None  # settled
    torch.manual_seed(key(Stream.INIT, config.seed))
    model = build_network(
        choices.model, choices.head, num_classes=num_classes, channels=config.channels,
        image_size=config.img_size,
    )  # fmt: skip
    head = find_head(model, num_classes=num_classes)
    loaded = load(model, taken, head=head)
    proved = _try_forward(model, head, choices.model, config, num_classes)
    if proved and (loaded is None or loaded.head_replaced):
        zero_head(model, head=head, num_classes=num_classes)
    notes = []
    if config.dropout is not None or config.drop_path is not None:
        changed = override_dropout(
            model, dropout=config.dropout, drop_path=config.drop_path,
            but=head if choices.head is not None else (),
        )  # fmt: skip
        notes.append(f"set {changed}")
    return Network(model=model, head=head, loaded=loaded, proved=proved, notes=tuple(notes))


@torch.no_grad()
def _try_forward(
    model: nn.Module, head: tuple[str, ...], choice: Choice, config: RunConfig, num_classes: int
) -> bool:
    """Runs two random images through the network, and proves that its head is found."""
    torch.manual_seed(key(Stream.INIT, config.seed, 1))
    images_BCHW = _two_images(config)
    model.eval()
    try:
        logits_BK = model(images_BCHW)
    except ZooError:
        raise
    except Exception as error:
        raise wrong_size(
            choice, error, num_classes=num_classes, channels=config.channels,
            image_size=config.img_size or 0,
        ) from error  # fmt: skip
    if getattr(logits_BK, "shape", None) != (2, num_classes):
        shape = tuple(getattr(logits_BK, "shape", ())) or type(logits_BK).__name__
        raise PluginError(
            f"the model {choice.entry.id} maps 2 images to {shape}, not to (2, {num_classes})",
            hint=f"report it to the authors of {choice.entry.origin}",
        )
    return len(head) == 1 and proves_out(model, head[0], images_BCHW)


@torch.no_grad()
def takes_one_image(
    model: nn.Module, head: Sequence[str], *, config: RunConfig, phases: Sequence[Phase],
    own_head: bool,
) -> bool:  # fmt: skip
    """Whether each phase can make a step on one image: a batch norm may have no statistics of it.

    Args:
        model: The network, left as it was.
        head: Names of its head's modules.
        config: Settled.
        phases: The plan.
        own_head: Whether ``--head`` took the place of the network's.
    """
    for phase in phases:
        with torch.random.fork_rng(devices=[]), evaluation_mode(model):
            set_modes(
                model, trainable_modules(model, head=head, trainable=phase.trainable),
                hold_statistics=phase.hold_statistics, never_held=head if own_head else (),
                frozen_statistics_move=config.frozen_norm == "train",
            )  # fmt: skip
            try:
                with statistics_held(model):
                    model(_two_images(config)[:1])
            except ValueError:  # torch's word for a channel with one value
                return False
    return True


def _two_images(config: RunConfig) -> Tensor:
    side = config.img_size or 0
    return torch.rand(2, config.channels, side, side)


def place(model: nn.Module, *, config: RunConfig, device: str | torch.device = "cpu") -> nn.Module:
    """Puts a network on a device, in the memory format that is asked for, and returns it."""
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    # Both in one walk over the tensors, which torch can do and does not declare.
    return model.to(device, memory_format=layout)  # type: ignore[call-overload,no-any-return]


class MadeOnce:
    """Makes networks for several runs: one that was asked for before is a copy of that one.

    They lie in memory as they are trained, so that no copy is laid out anew.

    torch's generator stands afterwards where it stood when that one had been made. The last ones
    that take 256 MiB together are kept, and only those whose copy is seen to stand for itself.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[object, tuple[partial[Network], Mould, Tensor]] = OrderedDict()

    def __call__(
        self, config: RunConfig, choices: Choices, taken: Chosen, num_classes: int
    ) -> Network:
        """Returns a network of the caller's own, see :func:`make_network`."""
        head = choices.head
        asked = (
            choices.model.entry.id, choices.model.spec, head and (head.entry.id, head.spec),
            taken.kind, taken.path, taken.converters, num_classes,
            config.seed, config.channels, config.img_size, config.dropout, config.drop_path,
            config.channels_last,
        )  # fmt: skip
        if asked in self._kept:
            self._kept.move_to_end(asked)
            network, mould, state = self._kept[asked]
            made = network(model=mould.cast())
        else:
            made = make_network(config, choices, taken, num_classes)
            state = torch.get_rng_state()
            place(made.model, config=config)
            small = _num_bytes(made.model) <= _KEPT_BYTES
            if small and (found := mould_of(made.model, _two_images(config))) is not None:
                network = partial(
                    Network, head=made.head, loaded=made.loaded, proved=made.proved,
                    notes=made.notes,
                )  # fmt: skip
                self._kept[asked] = network, found, state
                while sum(kept.num_bytes for _, kept, _ in self._kept.values()) > _KEPT_BYTES:
                    self._kept.popitem(last=False)
        torch.set_rng_state(state)
        return made


def _num_bytes(model: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
