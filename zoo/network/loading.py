"""A state dict into a network: names, shapes, channels, and how much of it fits. All or nothing."""

from __future__ import annotations

import importlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from zoo.errors import CheckpointError, PluginError, ZooError, printable
from zoo.network.blocks import within

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor, nn

__all__ = ["LoadReport", "converted", "load_into", "restore", "strip_prefixes"]

_PREFIXES = ("module.", "model.", "backbone.", "_orig_mod.", "pretrain_", "net.", "network.")
"""What DataParallel, torch.compile, Lightning and self-supervised code put in front of names."""

_LEAST_MATCH = 0.5
"""Share of the backbone's tensors that must fit. Below it a file is of another architecture:
between unrelated networks mostly the scalars and a few norms agree by chance."""


def restore(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Gives a network all of its tensors back, as a file of zoo's own kept them.

    A file has no versions of modules, and a module may ask for its own (MNASNet does): they are
    those of the network that is built.

    Raises:
        RuntimeError: Names or shapes are not the network's.
    """
    state = OrderedDict(tensors)
    state._metadata = getattr(model.state_dict(), "_metadata", None)  # type: ignore[attr-defined]
    model.load_state_dict(state)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """How a file's tensors and a network's fit.

    Args:
        matched: Tensors of the network that were loaded, adapted ones included.
        total: Tensors of the network; counters of batches that a file may lack are left out.
        adapted: First convolutions that were fitted to another number of channels.
        missing: Names of the network that the file lacks.
        unexpected: Names in the file that the network lacks.
        mismatched: Names whose shapes differ.
        head_replaced: Whether the head keeps its random weights, as it does for other classes.
    """

    matched: int
    total: int
    adapted: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()
    head_replaced: bool = False

    @property
    def summary(self) -> str:
        """One line for a person."""
        parts = [f"{self.matched} of {self.total} tensors loaded"]
        if self.head_replaced:
            parts.append("the head is new")
        if self.adapted:
            parts.append(f"first convolution adapted to the channels ({', '.join(self.adapted)})")
        for names, what in (
            (self.missing, "not in the file"),
            (self.mismatched, "of another shape"),
            (self.unexpected, "in the file and not used"),
        ):
            if names:
                shown = ", ".join(printable(name) for name in names[:3])
                parts.append(f"{len(names)} {what} ({shown}{', ...' if len(names) > 3 else ''})")
        return "; ".join(parts)


def strip_prefixes(state: Mapping[str, Tensor], names: set[str]) -> dict[str, Tensor]:
    """Returns the state with wrappers' prefixes removed from each name where that makes it known.

    A name that is known, or that no amount of stripping makes known, stays as it is.

    >>> strip_prefixes({"module.model.conv.bias": 1, "model.other": 2}, {"conv.bias"})
    {'conv.bias': 1, 'model.other': 2}
    """
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        known = next((form for form in _stripped_forms(name) if form in names), name)
        if known == name:
            result[known] = tensor  # an exact name beats one that has to be stripped
        else:
            result.setdefault(known, tensor)
    return result


def _stripped_forms(name: str) -> list[str]:
    forms = [name]
    while prefix := next((p for p in _PREFIXES if forms[-1].startswith(p)), None):
        forms.append(forms[-1].removeprefix(prefix))
    return forms


def converted(
    state: Mapping[str, Tensor], model: nn.Module, converters: Sequence[str]
) -> dict[str, Tensor]:
    """Returns the state under the model's names: stripped of prefixes and converted, as fits best.

    A converter that fails on the file, or makes fewer tensors fit, is not used.
    """
    own = model.state_dict()
    names = set(own)
    best = strip_prefixes(state, names)
    bare = {_stripped_forms(name)[-1]: tensor for name, tensor in state.items()}
    for target in converters:
        convert = _function(target)
        for candidate in (best, bare):
            try:
                result = convert(dict(candidate), model)
            except ZooError:
                raise
            except Exception:  # not a file of the kind that it converts
                continue
            if _fitting(result, own) > _fitting(best, own):
                best = result
    return best


def _fitting(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> int:
    return sum(name in own and tensor.shape == own[name].shape for name, tensor in state.items())


def _function(target: str) -> Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]]:
    module, _, name = target.partition(":")
    try:
        found: Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]]
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise PluginError(
            f"the weights' converter {target!r} cannot be imported: {error}"
        ) from error
    return found


def load_into(
    model: nn.Module, state: Mapping[str, Tensor], *, head: tuple[str, ...]
) -> LoadReport:
    """Puts a state dict into a network of the same architecture, all of it or nothing.

    The head may have another number of classes: it then keeps its random weights. A first
    convolution of another number of channels is adapted. Counters of batches may be missing.

    Args:
        model: The network. Unchanged when this raises.
        state: Names and tensors, prefixes allowed.
        head: Names of the network's head modules.

    Raises:
        CheckpointError: Fewer than half of the tensors outside the head fit, or one that fits is
            not finite.
    """
    own = model.state_dict()
    given = strip_prefixes(state, set(own))
    taken: dict[str, Tensor] = {}
    adapted, missing, mismatched, counters = [], [], [], 0
    for name, tensor in own.items():
        found = given.get(name)
        if found is None:
            if name.endswith("num_batches_tracked"):
                counters += 1
            else:
                missing.append(name)
        elif found.shape == tensor.shape:
            taken[name] = found
        elif (fitted := _other_channels(found, tensor)) is not None:
            taken[name] = fitted
            adapted.append(name)
        else:
            mismatched.append(name)
    unexpected = [name for name in given if name not in own]
    # A head that has more in the file is another one, even if all that is here fits.
    head_replaced = any(within(name, head) for name in (*missing, *mismatched, *unexpected))
    if head_replaced:  # half a head is worse than none
        taken = {name: tensor for name, tensor in taken.items() if not within(name, head)}
    report = LoadReport(
        matched=len(taken),
        total=len(own) - counters,
        adapted=tuple(adapted),
        missing=tuple(name for name in missing if not within(name, head)),
        unexpected=tuple(name for name in unexpected if not within(name, head)),
        mismatched=tuple(name for name in mismatched if not within(name, head)),
        head_replaced=head_replaced,
    )
    _refuse_noise(report, taken, own, head)
    with torch.no_grad():
        for name, value in taken.items():
            own[name].copy_(value)  # a state dict's tensors are the network's own
    return report


def _refuse_noise(
    report: LoadReport,
    taken: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    head: tuple[str, ...],
) -> None:
    """Raises CheckpointError for a file of another architecture or with broken numbers."""

    def backbone(names: Mapping[str, Tensor]) -> int:
        return sum(
            not within(name, head) and not name.endswith("num_batches_tracked") for name in names
        )

    fits, wanted = backbone(taken), backbone(own)
    if wanted and fits < _LEAST_MATCH * wanted:
        raise CheckpointError(
            f"these are not this network's weights: {fits} of {wanted} tensors of its backbone fit",
            found="; ".join(
                f"{what} {', '.join(printable(name) for name in names[:3])}"
                for what, names in (
                    ("not in the file:", report.missing),
                    ("of another shape:", report.mismatched),
                    ("only in the file:", report.unexpected),
                )
                if names
            ),
            kept="nothing was loaded",
            hint="choose the architecture that the file is of, or --weights none",
        )
    for name, tensor in taken.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(
                "these weights are broken: there are values that are not finite",
                found=printable(name),
                kept="nothing was loaded",
                hint="use an earlier checkpoint",
            )


def _other_channels(found: Tensor, own: Tensor) -> Tensor | None:
    """Returns a first convolution's kernel fitted to another number of channels, or None.

    RGB to one channel: the sum, which gives the same output as a grey image repeated three times.
    Otherwise the channels repeat, scaled so that their mean strength stays, as timm does it.
    """
    if found.ndim != 4 or own.ndim != 4 or not found.is_floating_point():
        return None
    if (found.shape[0], *found.shape[2:]) != (own.shape[0], *own.shape[2:]):
        return None
    before, after = found.shape[1], own.shape[1]
    if before not in (1, 3):
        return None
    if after == 1:
        return found.sum(dim=1, keepdim=True)
    return found.repeat(1, -(-after // before), 1, 1)[:, :after] * (before / after)
