"""Weights & Biases: a run's configuration and metrics, through its own library.

Offline, what it would send lies in the run folder: ``wandb sync RUN/wandb/offline-run-*``.
``wandb.json`` holds the run's id for a resume.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from zoo.network.weight_files import offline
from zoo_callbacks.scalars import final_scalars, scalars
from zoo_callbacks.told import Job, Result, Row
from zoo_callbacks.whole_file import read_id, write_id

if TYPE_CHECKING:
    import wandb

__all__ = ["WandbRun", "mode_of", "wandb_run"]


def mode_of(environment: Mapping[str, str]) -> Literal["offline", "disabled"] | None:
    """Returns the mode that the environment asks for; None leaves it to the library.

    >>> mode_of({"ZOO_OFFLINE": "1", "WANDB_MODE": "online"}), mode_of({"WANDB_MODE": "online"})
    ('offline', None)
    """
    asked = environment.get("WANDB_MODE", "").strip().lower()
    if asked == "disabled":
        return "disabled"
    return "offline" if asked == "offline" or offline(environment) else None


def wandb_run(*, run_path: Path, project: str | None = None, essential: bool = False) -> WandbRun:
    """Returns a callback that logs to Weights & Biases.

    Args:
        run_path: A fact of the run: its folder.
        project: The project to which the run belongs; None: WANDB_PROJECT, or else ``zoo``.
        essential: Read by the engine: whether the run stops when this fails.
    """
    return WandbRun(run_path=run_path, project=project or os.environ.get("WANDB_PROJECT") or "zoo")


class WandbRun:
    """Logs a run, one step an epoch.

    Args:
        run_path: The run folder.
        project: The project to which the run belongs.
    """

    def __init__(self, *, run_path: Path, project: str) -> None:
        self._folder, self._project = run_path, project
        self._kept_id = run_path / "wandb.json"
        self._run: wandb.Run | None = None

    def run_started(self, job: Job, path: Path, *, resumed_epoch: int) -> None:
        """Starts a run, or goes on with the one that this folder belongs to."""
        import wandb

        mode = mode_of(os.environ)
        found = read_id(self._kept_id)
        run_id = found or secrets.token_hex(4)
        self._run = wandb.init(
            project=self._project, name=self._folder.absolute().name, id=run_id,
            dir=str(self._folder), mode=mode,
            # Offline there is nobody to ask; the parts of a run meet when they are synced.
            resume="allow" if found and mode is None else None,
            config={**job.config.as_mapping(), "components": _nested(job.choices.described())},
            reinit="create_new",  # a run that the caller has open stays theirs
            settings=wandb.Settings(console="off", silent=True),  # the table stays readable
        )  # fmt: skip
        if found is None:
            write_id(self._kept_id, run_id)

    def resumed(self, rows: Sequence[Row]) -> None:
        """Logs the epochs before, as far as the server does not have them.

        Offline that is all of them, so that the last part alone has the whole run.
        """
        for row in rows:
            self.epoch_ended(row)

    def epoch_ended(self, row: Row) -> None:
        """Logs an epoch's metrics, unless a process before this one has."""
        if row.epoch >= self._open.step:
            self._open.log(scalars(row.as_dict()), step=row.epoch, commit=True)

    def run_ended(self, result: Result) -> None:
        """Puts the test metrics and the best epoch into the summary."""
        self._open.summary.update({**final_scalars(result), "best_epoch": result.best_epoch})

    def closed(self, error: BaseException | None) -> None:
        """Sends what is left and says how the run stopped."""
        if self._run is not None:
            self._run.finish(exit_code=0 if error is None else getattr(error, "exit_code", 1))

    @property
    def _open(self) -> wandb.Run:
        assert self._run is not None  # a run starts before anything else is told
        return self._run


def _nested(parts: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """Returns a plain copy, as the library stores it."""
    return {name: dict(part) for name, part in parts.items()}
