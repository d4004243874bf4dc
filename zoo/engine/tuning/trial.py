"""What a training step costs with some settings, tried on a copy: the run's own job stays as it is.

Shapes: B batch, C channels, S side.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.data.pixels.store import Store
from zoo.engine.assembly.groups import parameter_groups
from zoo.engine.assembly.job import Job
from zoo.engine.assembly.network import place
from zoo.engine.assembly.phases import Phase
from zoo.engine.device import Device
from zoo.engine.events import Observer
from zoo.engine.features.key import probe_images
from zoo.engine.feeds import ImageFeed, Teach
from zoo.engine.loop import train_epoch
from zoo.engine.meters import Meter
from zoo.engine.own_kernels import kernels_for
from zoo.engine.stage import epoch_draws, labels_of
from zoo.engine.step.update import Update
from zoo.engine.training import Accumulation, Training
from zoo.engine.tuning.settings import Settings
from zoo.network.fast import accelerate, fuse, restore
from zoo.network.freeze import set_modes, set_trainable, trainable_modules
from zoo.protocols import PixelImages
from zoo.registry import build

if TYPE_CHECKING:
    from zoo.config import RunConfig

__all__ = ["Trials"]

_WARM_UP, _TIMED = 1, 2
# Steps of a round. The first after a change of threads or network pays for new memory and kernels.

_STREAMED = 4
# Times as many steps where images are decoded meanwhile: the first batches were decoded ahead.


@dataclass(slots=True, eq=False)
class Trials:
    """Steps of one phase of a job, timed with any settings.

    Args:
        job: What would be trained. It stays as it is, weights, modes and random state included.
        phase: Which of its phases.
        device: Where it computes.
        teach: A teacher, as the run has it.
        alive: Called after each step. May raise to stop.
    """

    job: Job
    phase: Phase
    device: Device
    teach: Teach | None = None
    alive: Callable[[], None] = lambda: None
    _pixels: Store | None = None
    _trainings: dict[Settings, Training] = field(default_factory=dict)

    @property
    def decodes(self) -> bool:
        """Whether the run will decode images while it trains."""
        images, config = self.job.data.splits["train"].images, self.job.config
        if isinstance(images, PixelImages) or config.keep_decoded:
            return False
        side = self.job.preprocessing.image_size
        half_bytes = config.ram * 2**20 // 2  # as Job.store has it
        return len(images) * config.channels * side * side > half_bytes

    @property
    def batch_size(self) -> int:
        """Samples of a step."""
        return min(self.job.config.batch_size, len(epoch_draws(self.job)(0)))

    def step_seconds(self, settings: Settings) -> float:
        """Returns the mean time of a few steps in a row, after some that do not count."""
        training = self._training(settings)
        ended: list[float] = []

        def step_ended(step: int, num_steps: int, loss: float | None, more: bool) -> None:
            if self.device.torch_device.type == "cuda":
                torch.cuda.synchronize(self.device.torch_device)
            ended.append(time.perf_counter())
            self.alive()

        meter = Meter(self.device.torch_device, multi_label=training.multi_label)
        with _undone(settings.threads):
            train_epoch(
                training, epoch=0, first_step=0, meter=meter, lr_factor=lambda step, steps: 0.0,
                step_ended=step_ended,
            )  # fmt: skip
        skipped = len(ended) * _WARM_UP // (_WARM_UP + _TIMED) - 1
        return (ended[-1] - ended[skipped]) / (len(ended) - 1 - skipped)

    def forget(self) -> None:
        """Lets go of the copies of the network, and of the memory that CUDA graphs hold."""
        graphs = any(settings.has_graphs for settings in self._trainings)
        for training in self._trainings.values():
            restore(training.update.model)  # layers that hold each other would be freed late
        self._trainings.clear()
        if graphs:
            torch.compiler.reset()

    def _draws(self) -> NDArray[np.int64]:
        """Returns the draws of a round: the first of the run's first epoch, repeated if too few."""
        steps = (_WARM_UP + _TIMED) * (_STREAMED if self.decodes else 1)
        return np.resize(epoch_draws(self.job)(0), steps * self.batch_size)

    def _training(self, settings: Settings) -> Training:
        """Returns what trains a copy of the network. Numbers of threads share one."""
        shared = replace(settings, threads=1, workers=settings.workers if self.decodes else 0)
        if shared not in self._trainings:
            self._trainings[shared] = self._copied(settings)
        return self._trainings[shared]

    def _copied(self, settings: Settings) -> Training:
        job, phase, device = self.job, self.phase, self.device
        config = job.config.changed(
            channels_last=settings.channels_last,
            compile=settings.compile,
            compile_mode=settings.compile_mode,
            workers=settings.workers,
            tune=False,
            batch_size=self.batch_size,
        )
        model = place(copy.deepcopy(job.model), config=config, device=device.torch_device)
        accelerate(model, enabled=settings.fast_convolutions)
        trained = trainable_modules(model, head=job.head, trainable=phase.trainable)
        set_trainable(model, trained)
        set_modes(
            model, trained, hold_statistics=phase.hold_statistics,
            frozen_statistics_move=config.frozen_norm == "train", never_held=job.own_statistics,
        )  # fmt: skip
        if settings.compile:
            model.compile(mode=settings.compile_mode)
        elif phase.trainable != "head":
            fuse(
                model, probe_images(job, device.torch_device), held=phase.hold_statistics,
                kernels=kernels_for(job, phase, device, Observer()),
                enabled=settings.fast_convolutions,
            )  # fmt: skip
        assert config.lr is not None  # settled
        assert config.backbone_lr is not None
        assert config.weight_decay is not None
        groups = parameter_groups(
            model, head=job.head, lr=config.lr, backbone_lr=config.backbone_lr,
            layer_decay=phase.layer_decay, weight_decay=config.weight_decay, scale=phase.lr,
        )  # fmt: skip
        optimizer = build(
            job.choices.optimizer, params=groups, lr=config.lr, weight_decay=config.weight_decay
        )
        draws = self._draws()
        return Training(
            module=device.wrap(model), feed=self._feed(config),
            draws=lambda epoch: draws, loss=copy.deepcopy(job.loss), mass=job.mass, device=device,
            config=config, accumulation=Accumulation(config.accumulate), augment=phase.augment,
            multi_label=job.data.multi_label,
            update=Update(
                optimizer=device.prepared(optimizer), model=model, head=job.head, device=device,
                config=config,
            ),
        )  # fmt: skip

    def _feed(self, config: RunConfig) -> ImageFeed:
        """Returns the training images as the run will have them."""
        job = replace(self.job, config=config)
        if self.decodes or self._pixels is None:
            self._pixels = self._opened(job)
        return ImageFeed(
            self._pixels, labels=labels_of(job, "train", device=self.device),
            preprocessing=job.preprocessing, transforms=job.transforms, mixers=job.mixers,
            seed=config.seed, channels_last=config.channels_last, teach=self.teach,
        )  # fmt: skip

    def _opened(self, job: Job) -> Store:
        """Returns a store; where the run will hold all images, with those of a round held."""
        store = job.store("train", hold=False, progress=lambda done, total: self.alive())
        if self.decodes or store.kept is not None or not store.decodes:
            return store
        store = store.holding()
        samples = np.unique(self._draws() % len(store))
        for some in np.array_split(samples, -(-len(samples) // 64)):
            store.fetch(some)
        return store


@contextmanager
def _undone(threads: int) -> Iterator[None]:
    """Computes with so many threads inside the block, and leaves the random state as it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(before)
