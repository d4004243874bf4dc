"""Which engine computes features: what a run began with, what has them already, what is fastest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.network.inference import ENGINES, Forward, engine_missing, fast_forward

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from zoo.engine.features.shelf import Shelf
    from zoo.network.frontier import Frontier

__all__ = ["Engine", "choose_engine", "engines_for"]

_FEW_IMAGES = 64
# So few are computed by the network as it is: nothing is measured, and nothing hangs on the moment.


@dataclass(frozen=True, slots=True, eq=False)
class Engine:
    """What computes features, and where they are kept.

    Args:
        name: ``torch``, ``folded``, ``onnx`` or ``openvino``.
        shelf: What it computed before.
        forward: The frozen part as a function; None when nothing is to be computed.
        fast: The same as an inference engine, to be closed or kept; None for the network as it
            trains.
        is_spare: Whether it has computed features of this frozen part before.
    """

    name: str
    shelf: Shelf
    forward: Callable[[Tensor], Tensor] | None = None
    fast: Forward | None = None
    is_spare: bool = False


def engines_for(asked: str) -> list[str]:
    """Returns the engines whose features will do, by what is asked for.

    >>> engines_for("folded")
    ['folded']
    """
    return [one for one in ENGINES if one != "auto"] if asked == "auto" else [asked]


def choose_engine(
    model: nn.Module,
    frontier: Frontier,
    *,
    engine: str,
    fixed: str | None,
    spare: Callable[[str], Forward | None] = lambda name: None,
    shelf_of: Callable[[str], Shelf],
    ids: Sequence[NDArray[np.uint8] | None],
    num_images: int,
    example: Callable[[], Tensor],
    noted: Callable[[str], None],
) -> Engine:
    """Returns the engine that computes what is missing.

    Args:
        model: The network.
        frontier: Where it is cut.
        engine: What the user asks for; ``auto`` prefers what has computed most of it already, and
            measures otherwise.
        fixed: What the run began with; None at its beginning.
        spare: Returns the engine of a name if there is one already.
        shelf_of: Opens the shelf of an engine.
        ids: Of the images of each split and view; None where they have none.
        num_images: How many images that is.
        example: Returns some real images, as the network is given them.
        noted: Told what was chosen.
    """
    asked = fixed or engine
    names = engines_for(asked)
    shelves = {name: shelf_of(name) for name in names}

    def found(name: str) -> int:
        return sum(int((shelves[name].find(one) >= 0).sum()) for one in ids if one is not None)

    name = max(names, key=found)
    missing = num_images - found(name)
    if not missing:
        return Engine(name, shelves[name])
    known = fixed is not None
    if asked == "auto" and missing <= num_images // 2:
        asked, known = name, True
    if asked == "auto" and missing <= _FEW_IMAGES:
        asked = "torch"
    if engine == "auto" and engine_missing(asked):  # no longer installed where a run goes on
        asked = "torch"
    fast = spare(asked)
    is_spare = fast is not None
    if fast is None and asked != "torch":
        fast = _made(
            model, frontier, example=example(), num_images=missing, engine=asked,
            noted=(lambda text: None) if known else noted,
        )  # fmt: skip
    name = fast.name if fast is not None else "torch"
    if fixed is not None and name != fixed:
        noted(
            f"the run began with features of the engine {fixed}, which cannot be had now; with "
            f"those of {name} its last digits may differ"
        )
    forward = fast or (lambda images: frontier.features(model, images))
    return Engine(name, shelves.get(name) or shelf_of(name), forward, fast, is_spare)


def _made(
    model: nn.Module, frontier: Frontier, *, example: Tensor, num_images: int, engine: str,
    noted: Callable[[str], None],
) -> Forward | None:  # fmt: skip
    """Returns the frozen part as an inference engine; None for the network as it trains."""
    part, head = (model, frontier.name) if frontier.at_head else (frontier.prefix, None)
    fast = fast_forward(
        part, head=head, example=example, num_images=num_images, engine=engine, noted=noted
    )
    if fast.name != "torch":
        return fast
    fast.close()
    return None
