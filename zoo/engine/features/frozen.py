"""The frozen part of a network in a run: cut, proved, computed once, kept; the rest is fed with it.

    FrozenPart.open -> the network cut where it begins to train, and the cut proved
    FrozenPart.feeds -> found on the shelf, what is missing computed -> a FeatureFeed a split

Of several processes that ask for the same at once, one computes it (turns.py).

Shapes: N samples of a split, K classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from zoo.data.cache import cache_folder, cache_limit_bytes
from zoo.disk import TEMPORARY
from zoo.engine.assembly.reading import workers_of
from zoo.engine.features.collect import SplitView, collect
from zoo.engine.features.engines import choose_engine, engines_for
from zoo.engine.features.feed import FeatureFeed
from zoo.engine.features.identity import ID_BYTES, image_ids, view_ids
from zoo.engine.features.key import (
    About,
    about_features,
    augmentation_spec,
    frozen_values,
    probe_images,
)
from zoo.engine.features.rows import Layout, Rows
from zoo.engine.features.shelf import Shelf, shelf_key
from zoo.engine.features.spare import Spare
from zoo.engine.features.threads import one_thread
from zoo.engine.features.turns import in_turn
from zoo.engine.feeds import ImageFeed, Labels, in_order
from zoo.errors import MachineError
from zoo.network.frontier import Frontier, NoFrontier, find_frontier

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.engine.assembly.job import Job
    from zoo.engine.device import Device

__all__ = ["FrozenPart", "FrozenRecord", "Wanted"]

_KEPT_SHARE = 8
# What one phase may add to the cache is its limit over this: 1.25 of 10 GB.


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenRecord:
    """What a run's state says of a frozen part, so that a resume has the same bits.

    Args:
        trained: Names of the modules that train.
        engine: What computed the features.
        weights: Digest of the frozen tensors.
        checksums: Of the training features, one a view.
    """

    trained: tuple[str, ...]
    engine: str
    weights: str
    checksums: tuple[int, ...] = ()

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> FrozenRecord:
        """Returns the record that :func:`dataclasses.asdict` made plain."""
        return cls(
            trained=tuple(saved["trained"]), engine=saved["engine"], weights=saved["weights"],
            checksums=tuple(saved["checksums"]),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Features that are asked for.

    Args:
        images: The images.
        labels: What they are.
        views: In how many augmented views; 0 is the image as it is.
    """

    images: ImageFeed
    labels: Labels
    views: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrozenPart:
    """A network cut where it begins to train.

    Args:
        job: The job.
        device: Where it computes.
        trained: Names of the modules that train.
        frontier: The cut.
        weights: Digest of the frozen tensors.
        probe: What the frozen part makes of two made-up images.
        about: From an engine to all that decides the features.
        noted: Told what the user should know.
        progress: Told what is done, how much, of how much. May raise to stop.
        spare: What earlier passes left, and where this one leaves what others can use.
    """

    job: Job
    device: Device
    trained: tuple[str, ...]
    frontier: Frontier
    weights: str
    probe: Tensor
    about: About
    noted: Callable[[str], None]
    progress: Callable[[str, int, int], None]
    spare: Spare

    @classmethod
    def open(
        cls, job: Job, trained: Sequence[str], *, device: Device, noted: Callable[[str], None],
        progress: Callable[[str, int, int], None], spare: Spare,
    ) -> FrozenPart | None:  # fmt: skip
        """Cuts the network, and proves the cut; None, and a note, where that cannot be done.

        The network's modes and gradients are set for the phase already.
        """
        images = probe_images(job, device.torch_device)
        try:
            frontier = find_frontier(
                job.model, head=job.head, trained=trained, head_is_last=job.cacheable
            )
            if not frontier.at_head and not frontier.proves_out(job.model, images):
                raise NoFrontier("the parts do not give what the whole network gives")
        except NoFrontier as why:
            noted(f"the frozen part runs in every epoch: {why}")
            return None
        weights = spare.digest(frozen_values(job.model, trained))
        config, model = job.config, job.choices.model

        def probed() -> Tensor:
            with torch.inference_mode(), one_thread():  # the same bits for any number of threads
                return frontier.features(job.model, images)

        probe = spare.probe(probed, made_of=(
            model.entry.id, model.spec, frontier.name, tuple(trained), weights, images.shape,
            config.channels_last, config.fast_convolutions, config.compile, config.compile_mode,
            config.deterministic, str(device.torch_device),
        ))  # fmt: skip
        if probe.dtype != torch.float32:  # rows are stored as that, and given back
            noted(f"the frozen part runs in every epoch: what it makes is {probe.dtype}")
            return None
        spare.part = cls(
            job=job, device=device, trained=tuple(trained), frontier=frontier, probe=probe,
            weights=weights, noted=noted, progress=progress, spare=spare,
            about=about_features(
                job, frontier, trained=trained, weights=weights, probe=probe,
                dtype=config.feature_dtype, device=device.torch_device,
            ),
        )  # fmt: skip
        return spare.part

    @property
    def layout(self) -> Layout:
        """How features are stored."""
        dtype = torch.bfloat16 if self.job.config.feature_dtype == "bf16" else torch.float32
        return Layout.of(self.probe, dtype)

    def feeds(
        self, wanted: Mapping[str, Wanted], *, engine: str | None = None
    ) -> tuple[dict[str, FeatureFeed], FrozenRecord] | None:
        """Returns the features of some splits; None, and a note, where there is no room for them.

        On several processes the first one computes, and the others find what it has kept.

        Args:
            wanted: By name of the split; ``train`` is the one that the record is of.
            engine: What computed them when the run began; None chooses.
        """
        device = self.device
        made = self._collected(wanted, engine) if device.is_main else None
        chosen = device.from_main(lambda: None if made is None else made[1])
        if chosen is None:
            return None
        if made is None:
            made = self._collected(wanted, chosen)
        device.wait()
        if made is None:
            raise MachineError("one process has no room for the frozen features", hint="--no-cache")
        feeds, name = made
        checksums = tuple(feeds["train"].checksums) if "train" in feeds else ()
        record = FrozenRecord(
            trained=self.trained, engine=name, weights=self.weights, checksums=checksums
        )
        return feeds, record

    def _collected(
        self, wanted: Mapping[str, Wanted], fixed: str | None
    ) -> tuple[dict[str, FeatureFeed], str] | None:
        """Returns the features of some splits and the engine's name."""
        config, layout = self.job.config, self.layout
        total = (
            sum(len(one.images) * max(1, one.views) for one in wanted.values()) * layout.row_bytes
        )
        keeps = config.keep_features and total <= cache_limit_bytes() // _KEPT_SHARE
        splits = [part for name in wanted for part in self._views(name, wanted[name], keeps)]
        about = self.about
        asked, in_memory = fixed or config.engine, total <= config.ram * 2**20 // 2
        made = self._left(splits, about, asked) if in_memory else None
        if made is None:
            with self._turn(splits):
                made = self._computed(splits, about, fixed, in_memory=in_memory)
        if made is None:
            return None
        engine, rows = made
        key = shelf_key(about(engine))
        for split, found in zip(splits, rows, strict=True):
            if (told := self._told(split, key)) is not None:
                self.spare.keep_rows(split.title, found, made_of=told)
        pairs = list(zip(splits, rows, strict=True))
        feeds = {
            name: FeatureFeed(
                [found for split, found in pairs if split.name == name], one.labels,
                self._taught(one),
            )
            for name, one in wanted.items()
        }  # fmt: skip
        return feeds, engine

    def _left(
        self, splits: Sequence[SplitView], about: About, asked: str
    ) -> tuple[str, list[Rows]] | None:
        """Returns an engine's name and its features of all splits, if the run before left them."""
        for engine in engines_for(asked):
            key = shelf_key(about(engine))
            found = [self.spare.rows(one.title, made_of=self._told(one, key)) for one in splits]
            rows: list[Rows] = [one for one in found if one is not None]
            if len(rows) == len(splits):
                return engine, rows
        for split in splits:
            self.spare.drop_rows(split.title)
        return None

    def _told(self, split: SplitView, key: tuple[str, str]) -> tuple[object, ...] | None:
        """What tells the features of a split's view from others; None where that is not known."""
        if split.ids_N is None:
            return None
        return key, split.ids_N.tobytes(), str(self.device.torch_device)

    def _turn(self, splits: Sequence[SplitView]) -> AbstractContextManager[None]:
        """Waits in front of the block while another process computes what it would find."""
        ids = [split.ids_N for split in splits if split.ids_N is not None]
        if len(ids) < len(splits):  # nothing is kept, so nothing would be found
            return nullcontext()
        what = hashlib.sha256(f"{self.weights} {self.frontier.name} {self.layout}".encode())
        what.update(str(self.job.preprocessing).encode())
        # In any order: the folds of a data set ask for the same images, each in another split.
        what.update(np.sort(np.concatenate(ids).view(f"S{ID_BYTES}"), axis=None).tobytes())
        titles = ", ".join(split.title for split in splits)
        return in_turn(
            cache_folder() / "features" / f"{TEMPORARY}turn-{what.hexdigest()[:16]}",
            waiting=partial(
                self.progress, f"frozen features, {titles}: another process computes them", 0,
                sum(len(split.images) for split in splits),
            ),
        )  # fmt: skip

    def _computed(
        self, splits: Sequence[SplitView], about: About, fixed: str | None, *,
        in_memory: bool,
    ) -> tuple[str, list[Rows]] | None:  # fmt: skip
        """Returns the engine's name and the features of all splits, found or computed."""

        def shelf_of(engine: str) -> Shelf:
            return Shelf.open(cache_folder(), about=about(engine), layout=self.layout)

        engine = choose_engine(
            self.job.model, self.frontier, engine=self.job.config.engine, fixed=fixed,
            spare=partial(self.spare.take_engine, made_of=self._made_of),
            shelf_of=shelf_of, ids=[split.ids_N for split in splits],
            num_images=sum(len(split.images) for split in splits),
            example=splits[0].images.example, noted=self.noted,
        )  # fmt: skip
        # An engine that was kept has computed features after this very proof.
        proved = engine.forward is None or engine.is_spare
        try:
            proved = proved or self.frontier.proves_out(
                self.job.model, splits[0].images.example(count=2)
            )
            if not proved:
                raise NoFrontier("the parts do not give what the whole network gives")
            rows = [
                collect(
                    split, engine, layout=self.layout, in_memory=in_memory,
                    device=self.device.torch_device, noted=self.noted,
                    progress=partial(self.progress, f"frozen features, {split.name}"),
                )
                for split in splits
            ]  # fmt: skip
        except (NoFrontier, MachineError) as error:
            why = f"{error.what}: {error.found}" if isinstance(error, MachineError) else error
            self.noted(f"the frozen part runs in every epoch: {why}")
            return None
        finally:
            if engine.fast is not None and proved:
                self.spare.keep_engine(engine.fast, made_of=self._made_of)
            elif engine.fast is not None:
                engine.fast.close()
        return engine.name, rows

    def _views(self, name: str, wanted: Wanted, keeps: bool) -> list[SplitView]:
        """Returns the views of a split, with what each of its images is if they are to be kept."""
        contents = self.job.data.splits[name].images

        def look() -> NDArray[np.uint8] | None:
            return image_ids(
                contents, num_threads=workers_of(self.job.config),
                progress=partial(self.progress, f"looking for kept features, {name}"),
            )  # fmt: skip

        ids_N = self.spare.ids(contents, look) if keeps else None
        view_of = partial(
            SplitView, name=name, images=wanted.images.plain(),
            were_written=partial(self.spare.were_written, contents),
        )  # fmt: skip
        if not wanted.views:
            return [view_of(view=None, ids_N=ids_N)]
        spec = augmentation_spec(self.job)
        return [
            view_of(
                view=view,
                ids_N=None if ids_N is None else view_ids(ids_N, spec=spec, view=view),
            )
            for view in range(wanted.views)
        ]  # fmt: skip

    @property
    def _made_of(self) -> tuple[object, ...]:
        """What tells this frozen part from others in the run."""
        return self.frontier.name, self.trained, self.weights

    def _taught(self, wanted: Wanted) -> list[Tensor]:
        """Returns a teacher's logits_NK of each view; none without a teacher."""
        if not wanted.images.is_taught:
            return []
        found = []
        for epoch in range(wanted.views) if wanted.views else (None,):
            parts = in_order(len(wanted.images), 128)
            batches = wanted.images.unmixed().batches(parts, epoch=epoch)
            found.append(torch.cat([b.teacher_BK for b in batches if b.teacher_BK is not None]))
        return found
