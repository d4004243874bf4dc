"""A run is a list of phases, and a phase is data.

The default plan trains the head alone, then everything. ``--phases`` says any other, in the grammar
of all specs: ``head:epochs=1+last-2:epochs=3,lr=0.3+all:epochs=5``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.config.rules import MOST_EPOCHS
from zoo.errors import SpecError, UsageError, ZooError, printable
from zoo.plugin import Param, Value, fold
from zoo.registry.specs import coerce, parse_pairs, split_joined

if TYPE_CHECKING:
    from zoo.config import RunConfig

__all__ = ["PHASE_PARAMS", "Phase", "freeze_then_finetune", "parse_phases", "plan_of"]

_LAST = re.compile(r"last-([1-9][0-9]{0,3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A stretch of epochs in which the same part of the network trains.

    Args:
        name: As the table and the logs show it.
        epochs: How many, at most.
        trainable: ``head``, ``all``, or a number of last blocks that train along with the head.
        augment: Whether training images are augmented. Without, the frozen prefix of the network
            sees the same input each epoch and is computed once.
        hold_statistics: Whether batch norms that train keep their running statistics.
        warmup: Epochs over which the learning rate rises linearly from nothing.
        lr: Learning rates as a share of the run's.
        layer_decay: Each block's rate as a share of the next one's.
        patience: Epochs without improvement after which the next phase begins; 0 waits for none.
        restarts: Whether the schedule starts again with this phase, or goes on over the run.
    """

    name: str
    epochs: int
    trainable: str | int
    augment: bool
    hold_statistics: bool
    warmup: float = 0.0
    lr: float = 1.0
    layer_decay: float = 1.0
    patience: int = 0
    restarts: bool = False


PHASE_PARAMS: tuple[Param, ...] = (
    Param(
        name="epochs",
        type="int",
        default=1,
        minimum=1,
        maximum=MOST_EPOCHS,
        summary="how many, at most",
    ),
    Param(name="lr", type="float", default=1.0, above=0, summary="share of the run's rates"),
    Param(name="warmup", type="float", minimum=0, summary="epochs of rising rate"),
    Param(name="sched", type="str", choices=("run", "phase"), summary="scope of the schedule"),
    Param(name="patience", type="int", minimum=0, summary="epochs without gain before the next"),
    Param(name="layer_decay", type="float", above=0, maximum=1, summary="rate from block to block"),
    Param(name="aug", type="bool", summary="augment the training images"),
    Param(name="norm", type="str", choices=("hold", "train"), summary="batch-norm statistics"),
)
"""What ``--phases`` can say of a phase. None: as the run's option of that name."""


def plan_of(config: RunConfig) -> tuple[Phase, ...]:
    """Returns the phases of a configuration whose open options are settled."""
    if config.phases is not None:
        return parse_phases(config.phases, config)
    return freeze_then_finetune(config)


def freeze_then_finetune(config: RunConfig) -> tuple[Phase, ...]:
    """Returns the default plan: the head alone, then the whole network."""
    freeze_epochs, hold = config.freeze_epochs or 0, config.norm == "hold"
    restarts = config.sched_scope == "phase"
    freeze = Phase(
        name="freeze", epochs=freeze_epochs, trainable="head", augment=_frozen_aug(config),
        hold_statistics=True, patience=config.patience, restarts=restarts,
    )  # fmt: skip
    finetune = Phase(
        name="finetune" if freeze_epochs or hold else "train", epochs=config.epochs or 0,
        trainable="all", augment=True, hold_statistics=hold, warmup=config.warmup or 0.0,
        layer_decay=config.layer_decay, patience=config.patience, restarts=restarts,
    )  # fmt: skip
    return tuple(phase for phase in (freeze, finetune) if phase.epochs)


def _frozen_aug(config: RunConfig) -> bool:
    """Whether images are augmented while the head trains alone: anew, or in a few views."""
    return config.freeze_aug or config.freeze_views > 1


def parse_phases(text: str, config: RunConfig) -> tuple[Phase, ...]:
    """Returns the phases that ``--phases`` says.

    Args:
        text: Phases joined by ``+``, each ``head``, ``last-N`` or ``all`` with arguments.
        config: Where what a phase does not say comes from.

    Raises:
        SpecError: A phase that does not parse; all problems together.
    """
    problems: list[ZooError] = []
    phases = []
    for part in split_joined(text):
        try:
            phases.append(_phase(part.strip(), config))
        except UsageError as error:
            problems.append(error)
    if problems:
        raise UsageError.together(problems)
    return tuple(phases)


def _phase(text: str, config: RunConfig) -> Phase:
    """Returns one phase."""
    name, _, tail = text.partition(":")
    name = fold(name.strip())
    last = _LAST.fullmatch(name)
    if name not in ("head", "all") and not last:
        raise SpecError(
            f"there is no phase {printable(name)!r}",
            found="head, all, or last-N for the head and N blocks before it",
            hint="--phases head:epochs=1+last-2:epochs=2+all:epochs=5",
        )
    given = _arguments(name, tail)
    head_only = name == "head"

    def said(key: str, otherwise: Value) -> Value:
        return otherwise if given[key] is None else given[key]

    return Phase(
        name=name,
        epochs=int(given["epochs"]),  # type: ignore[arg-type]  # coerced
        trainable=int(last[1]) if last else name,
        augment=bool(said("aug", _frozen_aug(config) if head_only else True)),
        hold_statistics=head_only or said("norm", config.norm) == "hold",
        warmup=float(said("warmup", 0.0 if head_only else config.warmup) or 0.0),  # type: ignore[arg-type]  # coerced
        lr=float(given["lr"]),  # type: ignore[arg-type]  # coerced
        layer_decay=float(said("layer_decay", config.layer_decay)),  # type: ignore[arg-type]  # coerced
        patience=int(said("patience", config.patience)),  # type: ignore[arg-type]  # coerced
        restarts=said("sched", config.sched_scope) == "phase",
    )


def _arguments(name: str, tail: str) -> dict[str, Value]:
    """Returns every argument of a phase, defaults filled in."""
    params = {param.name: param for param in PHASE_PARAMS}
    values = {param.name: param.default for param in PHASE_PARAMS}
    problems: list[ZooError] = []
    for key, value in parse_pairs(tail, f"{name}:{tail}").items():
        if key not in params:
            problems.append(SpecError(
                f"a phase has no argument {printable(key)!r}", found=", ".join(params)
            ))  # fmt: skip
            continue
        try:
            values[key] = coerce(params[key], value)
        except ValueError as error:
            problems.append(SpecError(f"phase {name}: {key} {error}"))
    if problems:
        raise UsageError.together(problems)
    return values
