"""A network evaluated at the end of a run: from kept features, where its frozen part is still that.

Whether it is hangs on the weights and on what the run's state says, so a run that was resumed after
its frozen phases evaluates as one that was not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from zoo.engine.features.frozen import FrozenPart, FrozenRecord, Wanted
from zoo.engine.features.key import frozen_values
from zoo.engine.features.spare import Spare
from zoo.engine.loop import evaluate
from zoo.engine.stage import image_feed, labels_of
from zoo.network.freeze import set_modes, set_trainable

if TYPE_CHECKING:
    from zoo.engine.assembly.job import Job
    from zoo.engine.device import Device
    from zoo.engine.events import Observer
    from zoo.engine.features.feed import FeatureFeed
    from zoo.engine.feeds import ImageFeed
    from zoo.engine.scores import Measure, Scores

__all__ = ["Evaluation"]


class Evaluation:
    """Evaluates the job's network, as it is at the time, on its splits.

    Args:
        job: The job.
        records: Of the run's frozen phases, in their order.
        feeds: The images of the splits that are open.
        device: Where it computes.
        observer: Hears notes.
        progress: Told what is done, how much, of how much. May raise to stop.
        spare: What the last phase left.
        between: Called before each batch. May raise to stop.
    """

    def __init__(
        self, job: Job, records: Mapping[str, FrozenRecord], feeds: Mapping[str, ImageFeed], *,
        device: Device, observer: Observer, progress: Callable[[str, int, int], None],
        spare: Spare, between: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._job, self._records, self._feeds = job, tuple(records.values()), feeds
        self._device, self._observer, self._progress = device, observer, progress
        self._spare, self._between = spare, between
        self._found: dict[tuple[str, tuple[str, ...], str], FeatureFeed] = {}

    def scores(self, split: str, *, measures: Sequence[Measure] = ()) -> Scores:
        """Returns loss, accuracy and metrics on a split."""
        job = self._job

        def still_holds(record: FrozenRecord) -> bool:
            return self._spare.digest(frozen_values(job.model, record.trained)) == record.weights

        record = next(filter(still_holds, self._records), None)
        module, feed = job.model, None
        if record is not None:
            set_trainable(job.model, record.trained)
            set_modes(job.model, record.trained, hold_statistics=True)
            part = self._spare.part
            if part is None or (part.trained, part.weights) != (record.trained, record.weights):
                part = FrozenPart.open(
                    job, record.trained, device=self._device, noted=self._observer.noted,
                    progress=self._progress, spare=self._spare,
                )  # fmt: skip
            if part is not None and (feed := self._features(part, record, split)) is not None:
                module = part.frontier.rest
        return evaluate(
            module, self._wanted(split).images if feed is None else feed, loss=job.loss,
            mass=job.mass, device=self._device, multi_label=job.data.multi_label, measures=measures,
            between=self._between,
        )  # fmt: skip

    def _wanted(self, split: str) -> Wanted:
        images = self._feeds.get(split) or image_feed(
            self._job, split, device=self._device, progress=self._progress, hold=False
        )
        return Wanted(images=images, labels=labels_of(self._job, split, device=self._device))

    def _features(self, part: FrozenPart, record: FrozenRecord, split: str) -> FeatureFeed | None:
        key = (record.weights, record.trained, split)
        if key not in self._found:
            made = part.feeds({split: self._wanted(split)}, engine=record.engine)
            if made is None:
                return None
            self._found[key] = made[0][split]
        return self._found[key]
