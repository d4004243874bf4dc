"""What is tried at the end of a run: the average of the last epochs, a soup of the best."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from torch import Tensor

from zoo.data.batches import cut, split_evenly
from zoo.data.randomness import order
from zoo.engine.step.averaging import greedy_soup
from zoo.network.freeze import set_modes, trainable_modules
from zoo.network.loading import restore
from zoo.network.statistics import recalibrate
from zoo.runs.candidates import read_candidates

if TYPE_CHECKING:
    from zoo.engine.assembly.job import Job
    from zoo.engine.events import Observer
    from zoo.engine.features.evaluation import Evaluation
    from zoo.engine.feeds import Feed
    from zoo.engine.records.state import RunState
    from zoo.runs.folder import RunFolder

__all__ = ["Average", "final_averages"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Average:
    """Weights that no epoch ended with.

    Args:
        name: How they were made: ``swa`` or ``soup of epochs 3, 5``.
        weights: A state dict of the network.
        score: Their monitored metric on the validation split, as a score to maximise.
    """

    name: str
    weights: dict[str, Tensor]
    score: float


def final_averages(
    job: Job,
    state: RunState,
    folder: RunFolder,
    feeds: Mapping[str, Feed],
    *,
    evaluation: Evaluation,
    observer: Observer,
) -> Iterator[Average]:
    """Yields each average that the configuration asks for, validated. Leaves it in the network."""

    def scored(weights: Mapping[str, Tensor] | None = None, *, mixed: bool = True) -> float:
        """Validates weights, or the network as it is; mixed weights get statistics of their own."""
        if weights is not None:
            restore(job.model, weights)
        if mixed:
            _recalibrate(job, feeds["train"])
        monitored = [m for m in job.measures if m.label == job.monitor.label]
        return job.monitor.score(evaluation.scores("val", measures=monitored))

    def made(name: str, score: float) -> Average:
        value = job.monitor.value(score)
        observer.noted(f"{name}: {job.monitor.name} {value:.4f} on the validation split")
        weights = {key: value.clone() for key, value in job.model.state_dict().items()}
        return Average(name=name, weights=weights, score=score)

    average = state.last_epochs
    if average is not None and average.num_updates:
        with average.swapped():
            found = made(f"average of the last {average.num_updates} epochs", scored())
        yield found
    if state.candidates:
        weights = read_candidates(folder.path / "candidates", state.candidates)
        tried = count()
        soup, members, _ = greedy_soup(weights, lambda soup: scored(soup, mixed=next(tried) > 0))
        epochs = ", ".join(str(state.candidates[member].epoch) for member in members)
        yield made(f"soup of epochs {epochs}", scored(soup, mixed=len(members) > 1))


def _recalibrate(job: Job, feed: Feed) -> None:
    """Computes batch-norm statistics anew where the last phase let them move."""
    phase = job.phases[-1]
    trained = trainable_modules(job.model, head=job.head, trainable=phase.trainable)
    set_modes(
        job.model, trained, hold_statistics=phase.hold_statistics, never_held=job.own_statistics
    )
    plan = split_evenly(order(job.config.seed, 0, len(feed)), job.config.batch_size)
    parts = [cut(draws, num_parts=1)[0] for draws in plan]
    recalibrate(job.model, (batch.inputs for batch in feed.batches(parts, epoch=None)))
