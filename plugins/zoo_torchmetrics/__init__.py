"""Built-in plugin ``torchmetrics``: how good predictions are, in one number or one a class.

The declarations are a table in ``_metrics``, which imports no torch. What they name stands in
``labels`` (of the predicted class), ``ranking`` (of the order of the scores) and ``probabilities``
(of the scores themselves). Definitions are scikit-learn's; where a metric is not defined it is NaN,
and no warning is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.plugin import Component, hookimpl
from zoo_torchmetrics._metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["zoo_components"]


@hookimpl
def zoo_components() -> Iterable[Component]:
    """Yields every component of this plugin."""
    yield from METRICS
