"""What the events of a run carry, as far as these callbacks look at it.

The engine's own records have these attributes and more; a plugin does not import the engine.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Config", "Job", "Phase", "Result", "Row", "Sample", "WeightsView"]


class Config(Protocol):
    """A run's configuration."""

    def as_mapping(self) -> dict[str, object]:
        """Returns the options that are set, by name."""
        ...


class Choices(Protocol):
    """The components of a run."""

    def described(self) -> Mapping[str, Mapping[str, str]]:
        """Returns the full spec and the package of each component."""
        ...


class Job(Protocol):
    """What is trained."""

    @property
    def config(self) -> Config:
        """Every option, decided."""
        ...

    @property
    def choices(self) -> Choices:
        """The components."""
        ...


class Phase(Protocol):
    """A stretch of epochs in which the same part of the network trains."""

    @property
    def name(self) -> str:
        """As the table shows it."""
        ...


class Row(Protocol):
    """An epoch that was trained and validated."""

    @property
    def epoch(self) -> int:
        """1 for the first epoch of the run."""
        ...

    def as_dict(self) -> dict[str, Any]:
        """Returns every value by name."""
        ...


class Result(Protocol):
    """How a run ended."""

    @property
    def rows(self) -> Iterable[Row]:
        """One row an epoch."""
        ...

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights are kept, from 1."""
        ...

    @property
    def test_metrics(self) -> Mapping[str, float]:
        """The other metrics on the test split; empty without one."""
        ...

    @property
    def test_accuracy(self) -> float | None:
        """On the test split, 0..1; None without one."""
        ...

    @property
    def test_loss(self) -> float | None:
        """Likewise."""
        ...


class Sample(Protocol):
    """Some training images as the network sees them."""

    @property
    def images_BCHW(self) -> Tensor:  # the suffix is the shape
        """Float32 in 0..1 on the CPU."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """The class name of each."""
        ...


class WeightsView(Protocol):
    """A network's weights and gradients, as copies."""

    def weights(self) -> Iterable[tuple[str, Tensor]]:
        """Yields name and value of each parameter."""
        ...

    def gradients(self) -> Iterable[tuple[str, Tensor]]:
        """Yields name and last gradient of each parameter that has one."""
        ...
