"""What is asked of a run is looked at before anything is read or computed for it."""

from __future__ import annotations

import numpy as np
import pytest

import zoo
from zoo.errors import UnknownName, UsageError


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


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (lambda run: zoo.heatmap(run, count=-1), "count is -1, and must be a whole number of at"),
        (lambda run: zoo.heatmap(run, count=2.5), "count is 2.5, and must be a whole number"),
        (lambda run: zoo.predict(run, split="val", on_bad="skp"), "on_bad is 'skp', and must be o"),
        (lambda run: zoo.predict(run, split="val", top_k=-1), "top_k is -1, and must be"),
        (lambda run: zoo.predict(run, split="val", threshold=3), "threshold is 3, and must be a n"),
        (lambda run: zoo.predict(run, split="val", tta_views=-3), "tta_views is -3, .* 2 to 1,000"),
        (lambda run: zoo.predict(run, 5), "5 is neither a text nor a path"),
        (lambda run: zoo.predict([run, None], "a.png"), "None is neither a text nor a path"),
        (lambda run: zoo.embed(run, data=5), "5 is neither a text nor a path"),
        (lambda run: zoo.evaluate(run, resamples="5"), "resamples is '5', and must be a whole nu"),
        (lambda run: zoo.evaluate(run, metrics=5), "5 is neither a text nor a path"),
        (lambda run: zoo.compare([run, run], alpha=3), "alpha is 3, and must be a number from 0"),
        (lambda run: zoo.compare([run, run], seed=-1), "seed is -1, and must be a whole number"),
        (lambda run: zoo.prune_runs([run], keep_last=-1), "keep_last is -1, and must be a whole"),
        (lambda run: zoo.api.preview(count=0), "count is 0, and must be a whole number"),
        (lambda run: zoo.api.read_data("fashion-mini", on_bad="x"), "on_bad is 'x', and must be"),
    ],
)
def test_the_api_checks_what_the_command_line_checks(run, asked, says):
    before = sorted(run.rglob("*"))
    with pytest.raises(UsageError, match=says):
        asked(run)
    assert sorted(run.rglob("*")) == before


def test_data_may_be_named_by_a_path_and_metrics_by_a_list(run, shapes_folder, registry):
    options = {"data": shapes_folder, "registry": registry}
    found = zoo.evaluate(run, metrics=("f1", "kappa"), resamples=0, **options)
    assert [one.label for one in found.metrics] == ["f1", "kappa"]
    assert len(zoo.predict(run, **options)) == found.num_images
    assert len(zoo.heatmap(run, count=np.int64(2), **options).explained) == 2
    compared = zoo.compare([run, run], metrics=["kappa", "mcc"], **options)
    assert set(compared.metrics) == {"accuracy", "loss", "kappa", "mcc"}


def test_a_comparison_is_said_although_its_page_cannot_be_written(zoo_command, run, tmp_path):
    (tmp_path / "file").write_text("")
    outcome = zoo_command("compare", run, run, "-o", tmp_path / "file" / "page.html")
    assert (outcome.code, "verdict" in outcome.out) == (6, True)
    assert "a file is where a folder must be" in outcome.err
