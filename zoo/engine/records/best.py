"""The best weights of a run on their way into its folder."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zoo.engine.records.record import weights_description
from zoo.network.loading import restore
from zoo.runs.tensor_file import TensorFile

if TYPE_CHECKING:
    from zoo.engine.assembly.job import Job
    from zoo.runs.folder import RunFolder

__all__ = ["BestWeights"]


class BestWeights:
    """Takes the network's weights when they are the best, and writes them at once or later.

    Args:
        job: Whose network it is.
        folder: Where they go.
    """

    def __init__(self, job: Job, folder: RunFolder) -> None:
        self._job, self._folder = job, folder
        self._unwritten: tuple[dict[str, Tensor], int] | None = None
        # With these in place of its own, the network has them: no other tensor has changed since.
        self._moving: dict[str, Tensor] | None = None

    def write_now(self, *, epoch: int) -> None:
        """Writes the network's weights as those of an epoch, from 1."""
        self._unwritten, self._moving = ({}, epoch), None
        self.write()

    def keep(self, *, epoch: int, moving: Collection[str]) -> None:
        """Keeps the network's weights as those of an epoch.

        Args:
            epoch: From 1.
            moving: Names of the modules that may change before the weights are written.
        """
        self._moving = {
            f"{name}.{own}" if name else own: tensor.clone()
            for name in moving
            for own, tensor in self._job.model.get_submodule(name).state_dict().items()
        }
        self._unwritten = self._moving, epoch

    def write(self, live: TensorFile | None = None, *, epoch: int = 0) -> None:
        """Writes what is not written yet.

        Args:
            live: The file of the weights that the network has.
            epoch: After which it had them; 0 where that is no epoch's end.
        """
        if self._unwritten is not None:
            moving, own_epoch = self._unwritten
            if live is None or epoch != own_epoch:
                weights = self._job.model.state_dict(keep_vars=True)
                # By tensor: a module that has two names stands twice in a state dict.
                kept = {id(weights[name]): value for name, value in moving.items()}
                live = TensorFile.of(
                    {name: kept.get(id(now), now.detach()) for name, now in weights.items()}
                )
            self._folder.write_best(live, weights_description(self._job, epoch=own_epoch))
            self._unwritten = None

    def elsewhere(self) -> None:
        """Takes note that from here on any of the network's weights may change."""
        self._moving = None

    @torch.no_grad()
    def put_back(self) -> None:
        """Has the weights that were written in the network."""
        if self._moving is None:
            restore(self._job.model, self._folder.read_best()[0])
            return
        weights = self._job.model.state_dict()
        for name, value in self._moving.items():
            weights[name].copy_(value)
