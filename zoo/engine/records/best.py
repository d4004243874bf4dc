"""The best weights of a run on their way into its folder."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from torch import Tensor

from zoo.engine.records.record import weights_description
from zoo.network.blocks import within
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

    def write_now(self, *, epoch: int) -> None:
        """Writes the network's weights as those of an epoch, from 1."""
        self._unwritten = self._job.model.state_dict(), epoch
        self.write()

    def keep(self, *, epoch: int, moving: Collection[str]) -> None:
        """Keeps the network's weights as those of an epoch.

        Args:
            epoch: From 1.
            moving: Names of the modules that may change before the weights are written.
        """
        weights = self._job.model.state_dict()
        copies = {name: t.clone() for name, t in weights.items() if within(name, moving)}
        self._unwritten = {**weights, **copies}, epoch

    def write(self, live: TensorFile | None = None, *, epoch: int = 0) -> None:
        """Writes what is not written yet.

        Args:
            live: The file of the weights that the network has.
            epoch: After which it had them; 0 where that is no epoch's end.
        """
        if self._unwritten is not None:
            weights, own_epoch = self._unwritten
            if live is None or epoch != own_epoch:
                live = TensorFile.of(weights)
            self._folder.write_best(live, weights_description(self._job, epoch=own_epoch))
            self._unwritten = None
