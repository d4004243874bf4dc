"""MLflow: a run's parameters, metrics and small files in a tracking store.

The store is what MLFLOW_TRACKING_URI says, else a SQLite file in the run folder (MLflow keeps its
older store of plain files for reading only). ``mlflow.json`` holds the run's id for a resume.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import PluginError
from zoo.network.weight_files import offline
from zoo_callbacks.quiet import quietly
from zoo_callbacks.scalars import final_scalars, scalars
from zoo_callbacks.told import Job, Result, Row
from zoo_callbacks.whole_file import read_id, write_id

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["MlflowRun", "mlflow_run"]

_BATCH = 100
"""Parameters that MLflow takes in one request."""

_INTERRUPTED = (130, 143)
"""Exit codes of runs that a person stopped."""


def mlflow_run(*, run_path: Path, experiment: str = "zoo", essential: bool = False) -> MlflowRun:
    """Returns a callback that logs to MLflow.

    Args:
        run_path: A fact of the run: its folder.
        experiment: The experiment to which the run belongs.
        essential: Read by the engine: whether the run stops when this fails.
    """
    if offline():  # MLflow counts its users over the network unless this is set before it loads
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    return MlflowRun(run_path=run_path, experiment=experiment)


class MlflowRun:
    """Logs a run to a tracking store. Points that are there already are not logged twice.

    Args:
        run_path: The run folder.
        experiment: The experiment to which the run belongs.
    """

    def __init__(self, *, run_path: Path, experiment: str) -> None:
        self._folder, self._experiment = run_path.absolute(), experiment
        self._kept_id = self._folder / "mlflow.json"
        self._client: MlflowClient | None = None
        self._id = ""
        self._logged: set[tuple[str, int]] = set()

    def run_started(self, job: Job, path: Path, *, resumed_epoch: int) -> None:
        """Starts a run in the store, or goes on with the one that this folder belongs to."""
        import mlflow  # noqa: F401  # before its logger is quieted: it sets it up itself

        with quietly("mlflow", level=logging.WARNING):  # it tells of each table that it makes
            client = self._client = self._connect()
            found = read_id(self._kept_id)
            if found is not None and self._goes_on(client, found):
                return
            self._id = client.create_run(
                self._experiment_id(client), run_name=self._folder.name
            ).info.run_id
            write_id(self._kept_id, self._id)
            for name, part in job.choices.described().items():
                client.set_tag(self._id, f"zoo.{name}", f"{part['spec']} ({part['package']})")
            self._log_options(client, job.config.as_mapping())

    def resumed(self, rows: Sequence[Row]) -> None:
        """Logs epochs that were trained and saved, but not logged before a kill."""
        for row in rows:
            self.epoch_ended(row)

    def epoch_ended(self, row: Row) -> None:
        """Logs an epoch's metrics."""
        self._log(scalars(row.as_dict()), row.epoch)

    def run_ended(self, result: Result) -> None:
        """Logs test metrics, configuration and what the weights are, and says that it is done."""
        client = self._connected
        self._log(final_scalars(result), result.best_epoch)
        client.set_tag(self._id, "zoo.best_epoch", str(result.best_epoch))
        for name in ("config.toml", "environment.json", "best/model.json"):
            if (self._folder / name).is_file():
                parent = name.rpartition("/")[0] or None
                client.log_artifact(self._id, str(self._folder / name), parent)
        client.set_terminated(self._id, "FINISHED")

    def closed(self, error: BaseException | None) -> None:
        """Says how the run stopped, if it did."""
        if error is None or self._client is None or not self._id:
            return
        by_person = isinstance(error, KeyboardInterrupt) or (
            getattr(error, "exit_code", None) in _INTERRUPTED
        )
        self._client.set_terminated(self._id, "KILLED" if by_person else "FAILED")

    @property
    def _connected(self) -> MlflowClient:
        assert self._client is not None  # a run starts before anything else is told
        return self._client

    def _connect(self) -> MlflowClient:
        from mlflow import MlflowClient

        named = os.environ.get("MLFLOW_TRACKING_URI")
        try:
            if named:
                return MlflowClient(named)
            with _nothing_left_here():
                return MlflowClient(f"sqlite:///{(self._folder / 'mlflow.db').as_posix()}")
        except ImportError as error:
            raise PluginError(
                "MLflow's SQLite store needs a package that is not installed", found=str(error),
                hint="pip install 'classifier-zoo[mlflow]', or set MLFLOW_TRACKING_URI to a server",
            ) from error  # fmt: skip

    def _goes_on(self, client: MlflowClient, found: str) -> bool:
        """Takes up a run of the store. False if the store does not have it."""
        from mlflow.exceptions import MlflowException

        try:
            metrics = client.get_run(found).data.metrics
        except MlflowException:  # the store is another one than when the run began
            return False
        self._id = found
        for name in metrics:
            points = client.get_metric_history(found, name)
            self._logged |= {(name, point.step) for point in points}
        client.update_run(found, status="RUNNING")
        return True

    def _experiment_id(self, client: MlflowClient) -> str:
        experiment = client.get_experiment_by_name(self._experiment)
        if experiment is not None:
            return str(experiment.experiment_id)
        own = None if os.environ.get("MLFLOW_TRACKING_URI") else self._folder / "mlflow"
        return client.create_experiment(
            self._experiment, artifact_location=None if own is None else own.as_uri()
        )

    def _log_options(self, client: MlflowClient, options: Mapping[str, object]) -> None:
        from mlflow.entities import Param

        params = iter([Param(name, str(value)) for name, value in options.items()])
        while batch := list(islice(params, _BATCH)):
            client.log_batch(self._id, params=batch)

    def _log(self, metrics: Mapping[str, float], epoch: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        new = {name: v for name, v in metrics.items() if (name, epoch) not in self._logged}
        points = [Metric(name, value, now, epoch) for name, value in new.items()]
        if points:
            self._connected.log_batch(self._id, metrics=points)
        self._logged |= {(name, epoch) for name in new}


@contextmanager
def _nothing_left_here() -> Iterator[None]:
    """Removes the empty ``mlruns`` that MLflow makes in the working directory, if it is new.

    A SQLite store makes it for experiments that name no place for their files. This one does.
    """
    needless = Path("mlruns").absolute()
    was_there = needless.exists()
    try:
        yield
    finally:
        if not was_there:
            with suppress(OSError):  # not made, or someone has put a file there
                needless.rmdir()
