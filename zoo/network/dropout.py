"""Dropout and stochastic depth of a network that is built already, set to other rates.

Networks keep their rates in many ways: as modules, as numbers that ``forward`` hands to a
function, or as a placeholder where a block was built with a rate of 0.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor, nn

from zoo.errors import UsageError, ZooError
from zoo.network.blocks import within

__all__ = ["DropPath", "DropoutSummary", "depth_rates", "override_dropout"]

_DROPOUTS = nn.modules.dropout._DropoutNd  # the base of Dropout, Dropout2d, AlphaDropout...
_PATH_CLASSES = frozenset({"DropPath", "StochasticDepth"})
"""As timm and torchvision call it; the core imports neither."""
_PATH_NAME = re.compile(r"(?:\w+_)?(?:drop_path|stochastic_depth)\d*")
_ATTENTION_NAME = re.compile(r"attn_drop(?:out)?\d*|attention_dropout|softmax_drop(?:out)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class DropoutSummary:
    """What was set.

    Args:
        dropouts: Places where dropout is applied.
        drop_paths: Blocks whose residual branch is dropped at random.
    """

    dropouts: int = 0
    drop_paths: int = 0

    def __str__(self) -> str:
        named = ((self.dropouts, "dropout"), (self.drop_paths, "drop-path"))
        return ", ".join(f"{kind} in {number} places" for number, kind in named if number)


class DropPath(nn.Module):
    """Leaves out a residual branch for random samples of a batch (Huang et al. 2016).

    The branch of the others is divided by the share that stays, so its mean is kept.
    """

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, branch: Tensor) -> Tensor:
        """Returns the branch, zero for some samples (along the first dimension)."""
        if not self.training or not self.drop_prob:
            return branch
        kept = 1 - self.drop_prob
        mask = branch.new_empty((len(branch),) + (1,) * (branch.ndim - 1)).bernoulli_(kept)
        return branch * mask.div_(kept)

    def extra_repr(self) -> str:
        """Returns the rate."""
        return f"drop_prob={self.drop_prob:g}"


def depth_rates(rate: float, num_blocks: int) -> tuple[float, ...]:
    """Returns the drop-path rate of each block: 0 at the first, linear up to ``rate`` at the last.

    The rule of the paper (Huang et al. 2016, section 3) as timm counts it. One block is the last.

    >>> depth_rates(0.2, 3)
    (0.0, 0.1, 0.2)
    """
    if num_blocks == 1:
        return (rate,)
    return tuple(rate * index / (num_blocks - 1) for index in range(num_blocks))


def override_dropout(
    model: nn.Module,
    *,
    dropout: float | None = None,
    drop_path: float | None = None,
    but: Collection[str] = (),
) -> DropoutSummary:
    """Sets the rates of dropout and of stochastic depth, and returns how many places were set.

    Dropout is set in every place but on attention weights: behind each dense layer and on the
    embedded patches, as the ViT paper has it (Dosovitskiy et al. 2021, appendix B.1) and as
    torchvision's ``dropout=`` does; a convolutional network mostly has one place, before its
    classifier. timm's ``drop_rate`` sets the last one only.

    Drop-path rises linearly over the blocks. A block that was built with a rate of 0 has a
    placeholder, which is replaced. State dicts fit before and after, as none of this has weights.

    Args:
        model: The network. It is changed.
        dropout: Share of activations to drop, 0 <= p < 1; None leaves it.
        drop_path: Rate of the last block, 0 <= p < 1; None leaves it.
        but: Names of modules whose dropout stays: a head that was given its own rate.

    Raises:
        UsageError: The network has no place for what was asked.
    """
    problems: list[ZooError] = []
    dropouts = drop_paths = 0
    if dropout is not None:
        dropouts = _set_dropout(model, dropout, but)
        if not dropouts:
            problems.append(UsageError(
                f"--dropout: {type(model).__name__} has no dropout to set",
                hint="leave it out, or --drop-path, --weight-decay or --aug against overfitting",
            ))  # fmt: skip
    if drop_path is not None:
        drop_paths = _set_drop_path(model, drop_path)
        if not drop_paths:
            problems.append(UsageError(
                f"--drop-path: {type(model).__name__} has no stochastic depth to set",
                hint="leave it out, or --dropout, --weight-decay or --aug against overfitting",
            ))  # fmt: skip
    if problems:
        raise UsageError.together(problems)
    return DropoutSummary(dropouts=dropouts, drop_paths=drop_paths)


def _set_dropout(model: nn.Module, rate: float, but: Collection[str]) -> int:
    """Sets every dropout but those on attention weights and in these modules."""
    places = 0
    for name, module in model.named_modules():
        if within(name, but):
            continue
        if isinstance(module, _DROPOUTS):
            if not _ATTENTION_NAME.fullmatch(name.rpartition(".")[2]):
                module.p = rate
                places += 1
        elif _is_rate(module, "drop_rate"):
            # timm's convolutional networks hand this number to torch.nn.functional.dropout; where
            # the module has a dropout layer, the number only says how that was built.
            module.drop_rate = rate
            places += not any(isinstance(child, _DROPOUTS) for child in module.modules())
        elif _is_rate(module, "dropout") and _is_rate(module, "attention_dropout"):
            module.dropout = rate  # torchvision's Swin
            places += 1
    return places


def _is_rate(module: nn.Module, attribute: str) -> bool:
    value = getattr(module, attribute, None)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _set_drop_path(model: nn.Module, rate: float) -> int:
    """Sets the rate of each block, and puts a layer in where a block has a placeholder."""
    owners = [(module, names) for module in model.modules() if (names := _path_places(module))]
    for (owner, names), block_rate in zip(owners, depth_rates(rate, len(owners)), strict=True):
        for name in names:
            layer = getattr(owner, name)
            if layer is None or isinstance(layer, nn.Identity):
                if not block_rate:
                    continue
                new = DropPath(block_rate)
                new.training = owner.training
                setattr(owner, name, new)
            else:
                setattr(layer, "p" if hasattr(layer, "p") else "drop_prob", block_rate)
    return len(owners)


def _path_places(module: nn.Module) -> list[str]:
    """Returns the names under which a block keeps its stochastic depth."""
    children = dict(module.named_children())
    held = [
        name
        for name, child in children.items()
        if type(child).__name__ in _PATH_CLASSES
        or (isinstance(child, nn.Identity) and _PATH_NAME.fullmatch(name))
    ]
    absent = [
        name for name, value in vars(module).items() if value is None and _PATH_NAME.fullmatch(name)
    ]
    return held + absent
