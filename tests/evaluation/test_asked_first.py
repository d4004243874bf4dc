"""What is asked of a run is looked at before anything is read or computed for it."""

from __future__ import annotations

import pytest

import zoo
from zoo.errors import UnknownName

TINY = {"model": "lenet", "img_size": 16, "batch_size": 8, "threads": 1, "lr": 5e-3, "workers": 1}


@pytest.fixture(scope="module")
def run(shapes_folder, tmp_path_factory, registry):
    """A run on bars and dots."""
    place = tmp_path_factory.mktemp("runs")
    return zoo.run(
        **TINY, data=str(shapes_folder), runs=str(place), epochs=1, registry=registry
    ).path


@pytest.mark.parametrize(
    "asked",
    [
        lambda run, **more: zoo.evaluate(run, metrics="typo", **more),
        lambda run, **more: zoo.evaluate(run, metrics=["f1", "typo"], **more),
        lambda run, **more: zoo.compare([run, run], metrics="typo", **more),
        lambda run, **more: zoo.heatmap(run, explainer="typo", **more),
        lambda run, **more: zoo.review(run, reviewer="typo", **more),
        lambda run, **more: zoo.report(run, explainer="typo", **more),
    ],
)
def test_a_name_that_is_none_is_told_before_data_is_read(run, registry, asked):
    told = []
    with pytest.raises(UnknownName, match="is named 'typo'"):
        asked(run, data="/no/data", registry=registry, progress=lambda *one: told.append(one))
    assert not told


def test_the_projector_is_looked_at_before_the_images(zoo_command, run, tmp_path):
    outcome = zoo_command(
        "embed", run, "--data", "/no/data", "--plot", tmp_path / "a.png", "--projector", "typo"
    )
    assert (outcome.code, "no projector is named 'typo'" in outcome.err) == (2, True)
