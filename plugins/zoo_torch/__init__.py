"""Built-in plugin ``torch``: heads, losses, optimizers, schedules, batch transforms and mixing.

The declarations are tables in the modules with a leading underscore, which import no torch; what
they name stands in the module of the same name without it (of transforms, also in ``geometry`` and
``colors``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.plugin import Component, hookimpl
from zoo_torch._heads import HEADS
from zoo_torch._losses import LOSSES
from zoo_torch._mixing import MIXING
from zoo_torch._optimizers import OPTIMIZERS
from zoo_torch._schedules import SCHEDULES
from zoo_torch._transforms import TRANSFORMS

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["zoo_components"]


@hookimpl
def zoo_components() -> Iterable[Component]:
    """Yields every component of this plugin."""
    yield from HEADS
    yield from LOSSES
    yield from OPTIMIZERS
    yield from SCHEDULES
    yield from TRANSFORMS
    yield from MIXING
