"""What one pass of evaluation says: loss, accuracy, and whatever other metrics were asked for.

A metric is a function of all predictions at once, so these are collected; for none nothing is.

Shapes: N samples of the split, B batch, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch
from torch import Tensor

from zoo.engine.transfer import to_device
from zoo.errors import PluginError, UsageError, ZooError, in_words, printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from zoo.engine.device import Device
    from zoo.protocols import Metric

__all__ = ["Collector", "Measure", "Monitor", "Scores", "check_measure"]

T = TypeVar("T")


class Scores(NamedTuple):
    """How good predictions of a split are.

    Args:
        loss: Mean over the samples.
        accuracy: Share that is right, 0..1.
        metrics: The others that were asked for, by label; NaN where one is not defined.
    """

    loss: float
    accuracy: float
    metrics: Mapping[str, float]

    def value(self, label: str) -> float:
        """Returns ``loss``, ``accuracy`` or another metric."""
        return {**self.metrics, "loss": self.loss, "accuracy": self.accuracy}[label]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A metric under the name that tables and files give it.

    Args:
        label: Such as ``f1-micro``; of a split: ``val_f1-micro``.
        owner: Full id of the component, and the package to blame.
        metric: The metric.
    """

    label: str
    owner: str
    metric: Metric

    @property
    def biased(self) -> bool:
        """Whether it is a distance that noise makes greater."""
        return bool(getattr(self.metric, "biased", False))

    def __call__(self, probabilities_NK: Tensor, target: Tensor) -> Tensor:
        """Returns what the metric says: a scalar, or one number a class.

        Raises:
            PluginError: It raises what is no ZooError, or returns something else.
        """
        value = self.said(lambda: self.metric(probabilities_NK, target))
        if not isinstance(value, Tensor) or value.ndim > 1:
            shown = tuple(getattr(value, "shape", ())) or type(value).__name__
            raise PluginError(
                f"the metric {self.owner} returns {printable(shown)}, "
                "not a number or one number a class"
            )
        return value

    def said(self, ask: Callable[[], T]) -> T:
        """Returns what the metric's code answers.

        Raises:
            PluginError: It raises what is no ZooError.
        """
        try:
            return ask()
        except ZooError:
            raise
        except Exception as error:
            raise PluginError(
                f"the metric {self.owner} failed",
                found=in_words(error),
                hint="choose another --metric; --debug shows all",
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitor:
    """What decides which epoch is the best one.

    Args:
        label: ``loss``, ``accuracy``, or the label of another metric.
        greater_is_better: Its direction.
    """

    label: str = "accuracy"
    greater_is_better: bool = True

    @property
    def name(self) -> str:
        """As rows name it: ``val_accuracy``."""
        return f"val_{self.label}"

    def score(self, scores: Scores) -> float:
        """Returns the metric as a score to maximise; NaN ranks below every number."""
        value = scores.value(self.label)
        if math.isnan(value):
            return -math.inf
        return value if self.greater_is_better else -value

    def value(self, score: float) -> float:
        """Returns the metric that a score stands for; NaN where it was not defined."""
        if score == -math.inf:
            return math.nan
        return score if self.greater_is_better else 0.0 - score  # never -0.0


class Collector:
    """Keeps the probabilities and targets of a split, whoever computed them.

    Args:
        measures: What is asked of them in the end; none: nothing is kept.
        num_samples: Of the whole split.
        multi_label: Whether each class is a question of its own.
    """

    def __init__(
        self, measures: Sequence[Measure], *, num_samples: int, multi_label: bool
    ) -> None:  # fmt: skip
        self._measures, self._num_samples = measures, num_samples
        self._multi_label = multi_label
        self._probabilities_NK: Tensor | None = None
        self._target: Tensor | None = None

    def add(self, samples_B: NDArray[np.int64], logits_BK: Tensor, target: Tensor) -> None:
        """Keeps what the network says about these samples of the split."""
        if not self._measures:
            return
        logits_BK = logits_BK.float()
        if self._multi_label:
            answers = (target > 0.5).to(target.dtype)  # as accuracy has it
        else:
            answers = target if target.ndim == 1 else target.argmax(1)
        if self._probabilities_NK is None or self._target is None:
            self._make_room(logits_BK.shape[1], answers.dtype, logits_BK.device)
        assert self._probabilities_NK is not None
        assert self._target is not None
        places_B = to_device(torch.as_tensor(samples_B), logits_BK.device)
        shares_BK = logits_BK.sigmoid() if self._multi_label else logits_BK.softmax(1)
        self._probabilities_NK[places_B] = shares_BK
        self._target[places_B] = answers

    def read(self, device: Device) -> dict[str, float]:
        """Returns each metric over all samples, by label; the same in every process.

        NaN where a probability is NaN: a metric would take it for the first class, or fail.

        Each process has filled in its own rows and left zeros in the others', so the sum over the
        processes has each sample once.
        """
        if self._measures and self._num_samples < device.world:  # some process saw none of them
            form = device.from_main(self._form)
            if form is not None and self._probabilities_NK is None:
                self._make_room(*form, device.torch_device)
        if self._probabilities_NK is None or self._target is None:
            return {measure.label: math.nan for measure in self._measures}
        probabilities_NK = device.sum(self._probabilities_NK).cpu()
        target = device.sum(self._target).cpu()
        if probabilities_NK.isnan().any():
            return {measure.label: math.nan for measure in self._measures}
        return {m.label: float(m(probabilities_NK, target)) for m in self._measures}

    def _form(self) -> tuple[int, torch.dtype] | None:
        """Returns the number of classes and the type of targets; None before the first batch."""
        if self._probabilities_NK is None or self._target is None:
            return None
        return self._probabilities_NK.shape[1], self._target.dtype

    def _make_room(self, num_classes: int, dtype: torch.dtype, device: torch.device) -> None:
        """Has a row of zeros for each sample."""
        rows = (self._num_samples, num_classes)
        self._probabilities_NK = torch.zeros(rows, device=device)
        self._target = torch.zeros(
            rows if self._multi_label else rows[:1], dtype=dtype, device=device
        )


def check_measure(measure: Measure, *, num_classes: int, multi_label: bool) -> None:
    """Tries a metric on made-up predictions, so that none fails after the first epoch.

    Raises:
        UsageError: It has a number for each class, and a row has place for one.
        PluginError: It breaks its contract.
    """
    generator = torch.Generator().manual_seed(0)
    num_samples = 2 * num_classes
    logits_NK = torch.randn((num_samples, num_classes), generator=generator)
    if multi_label:
        probabilities_NK = logits_NK.sigmoid()
        target = (torch.rand(logits_NK.shape, generator=generator) > 0.5).float()
    else:
        probabilities_NK = logits_NK.softmax(1)
        target = torch.arange(num_samples) % num_classes
    if not isinstance(getattr(measure.metric, "greater_is_better", None), bool):
        raise PluginError(
            f"the metric {measure.owner} does not say whether greater is better",
            hint="choose another --metric",
        )
    if measure(probabilities_NK, target).ndim:
        raise UsageError(
            f"the metric {measure.label} has a number for each class, and an epoch's row has place "
            "for one",
            hint="the average over the classes; zoo evaluate shows them class by class",
        )
