"""What every metric here is: a function of all predictions, and of how often each image counts.

Shapes: N images, K classes, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from zoo.errors import UsageError

__all__ = ["PlainMetric", "Reweighted", "mean_of", "one_label_only"]

Reweighted: TypeAlias = Callable[[Tensor], Tensor]
"""Maps weights_NR to values_R, float64: column r counts image n weights[n, r] times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainMetric:
    """A metric, see :class:`zoo.protocols.Metric`.

    Args:
        value: Value of (probabilities_NK, target).
        prepare: Returns, for (probabilities_NK, target), the metric as a function of weights.
        greater_is_better: Its direction.
        biased: Whether it is a distance that any noise makes greater, so that resampling does.
    """

    value: Callable[[Tensor, Tensor], Tensor]
    prepare: Callable[[Tensor, Tensor], Reweighted]
    greater_is_better: bool = True
    biased: bool = False

    def __call__(self, probabilities_NK: Tensor, target: Tensor) -> Tensor:
        """Returns a scalar, or one number for each class."""
        return self.value(probabilities_NK, target)

    def reweighted(self, probabilities_NK: Tensor, target: Tensor) -> Reweighted:
        """Returns the metric as a function of how often each image counts.

        A bootstrap asks for it a thousand times; what does not depend on the weights is done once.
        """
        return self.prepare(probabilities_NK, target)


def mean_of(
    of_images: Callable[[Tensor, Tensor], Tensor], *, greater_is_better: bool
) -> PlainMetric:
    """Returns the metric that is the mean of one number an image.

    Args:
        of_images: Maps (probabilities_NK, target) to numbers_N.
        greater_is_better: Its direction.
    """

    def value(probabilities_NK: Tensor, target: Tensor) -> Tensor:
        return of_images(probabilities_NK, target).double().mean().float()

    def prepare(probabilities_NK: Tensor, target: Tensor) -> Reweighted:
        numbers_N = of_images(probabilities_NK, target).double()
        return lambda weights_NR: numbers_N @ weights_NR.double() / weights_NR.sum(0).double()

    return PlainMetric(value=value, prepare=prepare, greater_is_better=greater_is_better)


def one_label_only(name: str, *, multi_label: bool, instead: str) -> None:
    """Refuses data whose images have several labels.

    Raises:
        UsageError: They do.
    """
    if multi_label:
        raise UsageError(
            f"the metric {name} needs one label an image, and these images can have several",
            hint=f"--metric {instead}",
        )
