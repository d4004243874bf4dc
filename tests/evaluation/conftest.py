"""Runs that are trained once: one that has a report, and one that is examined."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import zoo
from tests.evaluation import examined_runs
from tests.evaluation.report_runs import TINY
from zoo.evaluation.examined import examine


@pytest.fixture(scope="session")
def reported_run(shapes_folder, tmp_path_factory, registry) -> Path:
    """A run of two epochs on bars and dots, with its predictions. Copy it to change it."""
    path = zoo.run(
        data=str(shapes_folder), epochs=1, runs=str(tmp_path_factory.mktemp("report runs")),
        name="first run", registry=registry, **TINY,
    ).path  # fmt: skip
    examine(path, registry=registry)
    examine(path, split="val", registry=registry)
    return path


@pytest.fixture
def run_path(reported_run, tmp_path):
    """A copy of it that a test may spoil."""
    return Path(shutil.copytree(reported_run, tmp_path / "first run"))


@pytest.fixture(scope="session")
def trained_run(shapes_folder, tmp_path_factory, registry):
    """A run on bars and dots; never changed."""
    options = {**examined_runs.TINY, "data": str(shapes_folder), "registry": registry}
    return zoo.run(name="shapes", epochs=4, runs=str(tmp_path_factory.mktemp("runs")), **options)


@pytest.fixture
def run(trained_run, tmp_path):
    """A copy of it without predictions."""
    copy = shutil.copytree(trained_run.path, tmp_path / "run")
    shutil.rmtree(copy / "predictions", ignore_errors=True)
    return copy
