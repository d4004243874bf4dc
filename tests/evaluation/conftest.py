"""A run that has a report, trained once."""

from __future__ import annotations

from pathlib import Path

import pytest

import zoo
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
