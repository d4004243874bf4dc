"""`zoo report` of what is cut short, damaged, missing or no run at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import zoo
from tests.evaluation.report_runs import TINY
from zoo.evaluation.examined import examine
from zoo.evaluation.report import mistakes
from zoo.evaluation.report.facts import read_facts
from zoo.evaluation.report.findings import find
from zoo.evaluation.report.page import page_of


def test_a_run_that_was_cut_short_has_a_report_of_what_there_is(zoo_command, run_path):
    (run_path / "summary.json").unlink()
    outcome = zoo_command("report", run_path, "--explainer", "none")
    assert outcome.code == 0
    assert "has not ended" in outcome.out
    shutil.rmtree(run_path / "best")
    outcome = zoo_command("report", run_path)
    assert outcome.code == 0
    assert "no weights yet" in outcome.out
    html = (run_path / "report.html").read_text()
    assert "Validation accuracy of epoch" in html
    assert 'id="training"' in html
    assert 'id="confusion"' not in html
    assert not (run_path / "plots" / "confusion.png").exists(), "of the report before"
    (run_path / "metrics.jsonl").write_text('{"phase": "fre')
    outcome = zoo_command("report", run_path)
    assert outcome.code == 0
    assert "No epoch has ended yet." in (run_path / "report.html").read_text()


def test_a_newer_format_is_refused_with_a_word(zoo_command, run_path):
    model = run_path / "best" / "model.json"
    model.write_text(json.dumps({**json.loads(model.read_text()), "format": 99}))
    outcome = zoo_command("report", run_path)
    assert outcome.code == 4
    assert "newer zoo" in outcome.err
    assert "upgrade" in outcome.err


def test_files_with_something_else_in_them_do_no_harm(zoo_command, run_path):
    strange = '{"data": 3, "components": [1], "packages": "x", "preprocessing": {"mean": "a"}}'
    (run_path / "environment.json").write_text(strange)
    (run_path / "metrics.jsonl").write_text('{"epoch": 1}\n[]\n"x"\n{"phase": 3, "epoch": "a"}\n')
    (run_path / "summary.json").write_text("{}")
    outcome = zoo_command("report", run_path, "--explainer", "none")
    assert outcome.code == 0, outcome.err
    assert "test images are right" in (run_path / "report.html").read_text()


@pytest.mark.parametrize("name", ["environment.json", "summary.json", "best/model.json"])
def test_a_damaged_file_is_named(zoo_command, run_path, name):
    (run_path / name).write_text("{")
    outcome = zoo_command("report", run_path)
    assert outcome.code == 4
    assert Path(name).name in outcome.err


def test_what_is_no_run_is_said_to_be_none(zoo_command, tmp_path):
    outcome = zoo_command("report", tmp_path)
    assert outcome.code == 2
    assert "not a run folder" in outcome.err


def test_without_the_data_the_rest_is_told(zoo_command, shapes_folder, tmp_path):
    data = Path(shutil.copytree(shapes_folder, tmp_path / "data"))
    path = zoo.run(data=str(data), epochs=1, runs=str(tmp_path / "runs"), **TINY).path
    shutil.rmtree(data / "test")
    outcome = zoo_command("report", path, "--explainer", "none")
    assert outcome.code == 0, outcome.err
    assert "There is no test split" in outcome.out, "val is used, and the page says so"
    assert "validation images are right" in (path / "report.html").read_text()
    shutil.rmtree(data / "train" / "bar")
    shutil.rmtree(path / "plots")  # a report of images would not be replaced
    outcome = zoo_command("report", path)
    assert "cannot be read as a data set: class bar is in val and not in train" in outcome.out
    assert "\\n" not in outcome.out
    shutil.rmtree(data)
    outcome = zoo_command("report", path)
    assert outcome.code == 0, outcome.err
    assert "No image could be looked at" in outcome.out
    assert 'id="training"' in (path / "report.html").read_text()


def test_data_of_a_relative_path_is_missed_elsewhere(
    zoo_command, shapes_folder, tmp_path, monkeypatch
):
    shutil.copytree(shapes_folder, tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    path = zoo.run(data="photos", epochs=1, runs=str(tmp_path / "runs"), **TINY).path
    monkeypatch.chdir(path)
    outcome = zoo_command("report", path)
    assert outcome.code == 0, outcome.err
    assert "No image could be looked at: the data that the run was trained on is not" in outcome.out
    outcome = zoo_command("evaluate", path)
    assert (outcome.code, f"nothing of that name in {path}" in outcome.err) == (3, True)
    assert zoo_command("evaluate", path, "--data", tmp_path / "photos").code == 0


def test_an_unknown_split_is_refused(zoo_command, run_path):
    outcome = zoo_command("report", run_path, "--split", "holdout")
    assert outcome.code == 2
    assert "holdout" in outcome.err


def test_an_unknown_explainer_is_refused(zoo_command, run_path):
    outcome = zoo_command("report", run_path, "--explainer", "gradcan")
    assert outcome.code == 2
    assert "no explainer is named 'gradcan'" in outcome.err
    assert not (run_path / "report.html").exists()


def test_a_page_is_no_folder(zoo_command, run_path, monkeypatch):
    monkeypatch.chdir(run_path)
    for output in (".", "best"):
        outcome = zoo_command("report", ".", "-o", output)
        assert (outcome.code, f"{output} is a folder" in outcome.err) == (2, True), outcome.err


def test_plots_never_go_through_a_link(zoo_command, run_path, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.rmtree(run_path / "plots", ignore_errors=True)
    (run_path / "plots").symlink_to(elsewhere)
    outcome = zoo_command("report", run_path, "--explainer", "none")
    assert outcome.code == 9
    assert not list(elsewhere.iterdir())


def test_an_image_that_cannot_be_read_any_more_leaves_a_word(
    shapes_folder, reported_run, registry, tmp_path
):
    data = Path(shutil.copytree(shapes_folder, tmp_path / "data"))
    path = zoo.run(data=str(data), epochs=1, runs=str(tmp_path / "runs"), **TINY).path
    facts, examined = read_facts(path), examine(path, registry=registry)
    hardest = mistakes.greatest_losses(examined.predictions, 1)[0]
    (data / "test" / examined.predictions.names[hardest].removeprefix("test/")).unlink()
    html = page_of(facts, examined, find(examined.predictions, registry=registry), {})
    assert "This image cannot be read any more." in html
