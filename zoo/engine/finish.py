"""The end of a run: averages of epochs are tried, and the best weights are in the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from torch import Tensor

from zoo.data.batches import cut, split_evenly
from zoo.data.randomness import order
from zoo.engine.records.record import weights_description
from zoo.engine.step.averaging import greedy_soup
from zoo.network.freeze import set_modes, trainable_modules
from zoo.network.loading import restore
from zoo.network.statistics import recalibrate
from zoo.runs.candidates import read_candidates
from zoo.runs.tensor_file import TensorFile

if TYPE_CHECKING:
    from zoo.engine.assembly.job import Job
    from zoo.engine.device import Device
    from zoo.engine.events import Observer
    from zoo.engine.features.evaluation import Evaluation
    from zoo.engine.feeds import ImageFeed
    from zoo.engine.records.best import BestWeights
    from zoo.engine.records.state import RunState
    from zoo.runs.folder import RunFolder

__all__ = ["settle_weights"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Average:
    """Weights that no epoch ended with.

    Args:
        name: How they were made: ``swa`` or ``soup of epochs 3, 5``.
        weights: A state dict of the network.
        score: Their monitored metric on the validation split, as a score to maximise.
    """

    name: str
    weights: dict[str, Tensor]
    score: float


def settle_weights(
    job: Job,
    state: RunState,
    folder: RunFolder,
    feeds: Mapping[str, ImageFeed],
    *,
    device: Device,
    evaluation: Evaluation,
    observer: Observer,
    best_weights: BestWeights,
) -> str:
    """Tries the averages that were asked for, and leaves the best weights in the network.

    With ``--no-restore-best`` those that the last epoch was validated with.

    Args:
        job: The job.
        state: Of its run, which has had its epochs.
        folder: Where the best weights are.
        feeds: The images of the splits that are open.
        device: Where it computes.
        evaluation: Validates.
        observer: Hears what came of it.
        best_weights: Those of an epoch.

    Returns:
        The name of the average that is kept; empty where the weights of an epoch are.
    """
    best, kept = state.best, ""
    last = None if job.config.restore_best else _validated_last(job, state)
    device.wait()
    for average in _averages(job, state, folder, feeds, evaluation=evaluation, observer=observer):
        best_weights.elsewhere()  # the network has the average
        if best.observe(average.score, epoch=best.epoch):
            kept = average.name
            if device.is_main:
                described = weights_description(job, epoch=best.epoch, average=average.name)
                folder.write_best(TensorFile.of(average.weights), described)
    if device.is_main:
        folder.forget_best_before()
    device.wait()
    if last is None:
        best_weights.put_back()
    else:
        restore(job.model, last)
    return kept


def _validated_last(job: Job, state: RunState) -> dict[str, Tensor]:
    """Returns a copy of the weights that the last epoch was validated with."""
    with nullcontext() if state.average is None else state.average.swapped(still=False):
        return {name: tensor.clone() for name, tensor in job.model.state_dict().items()}


def _averages(
    job: Job,
    state: RunState,
    folder: RunFolder,
    feeds: Mapping[str, ImageFeed],
    *,
    evaluation: Evaluation,
    observer: Observer,
) -> Iterator[_Average]:
    """Yields each average that the configuration asks for, validated, the network left with it."""

    def scored(weights: Mapping[str, Tensor] | None = None, *, mixed: bool = True) -> float:
        """Validates weights, or the network as it is; mixed weights get statistics of their own."""
        if weights is not None:
            restore(job.model, weights)
        if mixed:
            _recalibrate(job, feeds["train"].plain())  # no teacher is asked
        monitored = [m for m in job.measures if m.label == job.monitor.label]
        return job.monitor.score(evaluation.scores("val", measures=monitored))

    def made(name: str, score: float) -> _Average:
        value = job.monitor.value(score)
        observer.noted(f"{name}: {job.monitor.name} {value:.4f} on the validation split")
        weights = {key: value.clone() for key, value in job.model.state_dict().items()}
        return _Average(name=name, weights=weights, score=score)

    average = state.last_epochs
    if average is not None and not average.num_updates:
        observer.noted(
            f"--swa {job.config.swa} has no effect: training ended before the last "
            f"{job.config.swa} of the epochs that were planned"
        )
    if average is not None and average.num_updates:
        with average.swapped():
            last = f"{average.num_updates} epochs" if average.num_updates > 1 else "epoch"
            found = made(f"average of the last {last}", scored())
        yield found
    if state.candidates:
        weights = read_candidates(folder.path / "candidates", state.candidates)
        tried = count()
        soup, members, _ = greedy_soup(weights, lambda soup: scored(soup, mixed=next(tried) > 0))
        epochs = ", ".join(str(state.candidates[member].epoch) for member in members)
        soup_of = f"soup of epoch{'s' if len(members) > 1 else ''} {epochs}"
        yield made(soup_of, scored(soup, mixed=len(members) > 1))


def _recalibrate(job: Job, feed: ImageFeed) -> None:
    """Computes batch-norm statistics anew where the last phase let them move."""
    phase = job.phases[-1]
    trained = trainable_modules(job.model, head=job.head, trainable=phase.trainable)
    set_modes(
        job.model, trained, hold_statistics=phase.hold_statistics, never_held=job.own_statistics
    )
    plan = split_evenly(order(job.config.seed, 0, len(feed)), job.config.batch_size)
    parts = [cut(draws, num_parts=1)[0] for draws in plan]
    recalibrate(job.model, (batch.inputs for batch in feed.batches(parts, epoch=None)))
