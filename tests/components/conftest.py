"""A real run for the tests of callbacks, trained once."""

from __future__ import annotations

import pytest
from telling import Told

import zoo
from zoo.engine.events import Observer
from zoo.registry import build, parse_choice


@pytest.fixture(scope="session")
def told(registry, shapes_folder, tmp_path_factory):
    class Recorder(Observer):
        def run_started(self, job, path, *, resumed_epoch):
            self.job = job

    recorder = Recorder()
    result = zoo.run(
        data=str(shapes_folder), model="lenet", weights="none", img_size=16, batch_size=8,
        freeze_epochs=1, epochs=2, threads=1, sched="step-1-0.5", registry=registry,
        observer=recorder, runs=str(tmp_path_factory.mktemp("runs")),
    )  # fmt: skip
    return Told(job=recorder.job, path=result.path, rows=list(result.rows), result=result)


@pytest.fixture
def make(registry, tmp_path):
    """Builds a callback in a run folder that every call shares."""
    folder = tmp_path / "run-é 1"
    folder.mkdir()

    def call(spec):
        return build(parse_choice(registry, "callback", spec), run_path=folder), folder

    return call
