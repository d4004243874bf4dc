"""What a report says about kept weights, images that these have seen, and what numbers hide."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from scipy.stats import binomtest

import zoo
from tests.evaluation.report_runs import TINY, Page, answering
from zoo.evaluation.examined import examine
from zoo.evaluation.report.card import card_of
from zoo.evaluation.report.content import class_rows, score_rows, verdict_of
from zoo.evaluation.report.facts import read_facts
from zoo.evaluation.report.findings import find


@pytest.fixture(scope="module")
def averaged_run(shapes_folder, tmp_path_factory, registry):
    """A run in which the average of the last epochs has less validation loss than any epoch."""
    result = zoo.run(
        data=str(shapes_folder), epochs=5, lr=0.02, swa=3, monitor="loss", registry=registry,
        runs=str(tmp_path_factory.mktemp("averaged")), name="averaged", **TINY,
    )  # fmt: skip
    assert result.best_score < min(row.val_loss for row in result.rows)
    return result


def test_an_average_that_was_kept_is_named_with_its_own_score(
    zoo_command, averaged_run, registry, tmp_path
):
    path = Path(shutil.copytree(averaged_run.path, tmp_path / "run"))
    outcome = zoo_command("report", path, "--explainer", "none")
    assert outcome.code == 0, outcome.err
    page = Page.of((path / "report.html").read_text())
    shown = " ".join(" ".join(text for _, text in page.texts).split())
    card = (path / "model-card.md").read_text().replace("\\", "")
    validation = examine(path, split="val", registry=registry).predictions
    loss = torch.nn.functional.cross_entropy(validation.logits_NK, validation.labels_N)
    words = f"The average of the last 3 epochs was best (val_loss {loss:.4f}) and is what was kept."
    for text in (shown, card):
        assert words in text
        assert not re.search(r"Epoch \d+ was best|, kept: ", text)
    best = averaged_run.best_epoch
    assert f"epoch {best}: {averaged_run.rows[best - 1].val_loss:.3f}" in shown
    assert "by loss; the average of the last 3 epochs was better" in shown
    (path / "summary.json").unlink()
    zoo_command("report", path, "--explainer", "none")
    html = (path / "report.html").read_text()
    assert "The average of the last 3 epochs was best and is what was kept." in html


def test_an_epoch_that_was_kept_is_named(zoo_command, run_path):
    zoo_command("report", run_path, "--explainer", "none")
    best = read_facts(run_path).best_row["epoch"]
    for name in ("report.html", "model-card.md"):
        assert f"Epoch {best} was best and is what was kept." in (run_path / name).read_text()


@pytest.mark.parametrize(
    ("split", "word"),
    [("test", ""), ("val", "The weights were chosen on these images"),
     ("train", "These images were trained on"), ("all", "Some of these images were trained on")],
)  # fmt: skip
def test_notes_on_optimism_are_about_the_data_of_the_run(
    zoo_command, run_path, shapes_folder, tmp_path, split, word
):
    def notes(*args):
        outcome = zoo_command(
            "report", run_path, "--split", split, "--explainer", "none", "--json", *args
        )
        assert outcome.code == 0, outcome.err
        return json.loads(outcome.out)["notes"]

    wanted = [word] if word else []
    assert [note.partition(",")[0].partition(":")[0] for note in notes()] == wanted
    assert notes("--data", shapes_folder) == notes()
    assert all(note.endswith("the numbers are optimistic.") for note in notes())
    other = shutil.copytree(shapes_folder, tmp_path / "other")
    for file in other.glob("*/*/*-0.png"):
        file.unlink()
    assert notes("--data", other) == []


def test_a_class_without_images_is_not_called_the_hardest(reported_run, registry):
    facts, examined = answering(
        reported_run, registry, classes=["gone", "some", "all"], names=[str(n) for n in range(6)]
    )
    labels_N = torch.tensor([1, 1, 1, 2, 2, 2])
    said_N = torch.tensor([1, 1, 2, 2, 2, 2])
    said = dataclasses.replace(
        examined.predictions, labels_N=labels_N,
        logits_NK=torch.nn.functional.one_hot(said_N, 3).float(),
    )  # fmt: skip
    examined = dataclasses.replace(examined, predictions=said)
    rows = class_rows(examined, find(said, registry=registry))
    assert rows["classes_lead"].endswith("Best is all, hardest is some.")
    card = card_of(facts, examined, find(said, registry=registry), plots=())
    assert re.findall(r"^\| (gone|some|all) ", card, flags=re.M) == ["some", "all", "gone"]
    right = dataclasses.replace(examined, predictions=dataclasses.replace(said, labels_N=said_N))
    equal = class_rows(right, find(right.predictions, registry=registry))["classes_lead"]
    assert "hardest" not in equal


def test_a_perfect_score_is_not_said_to_be_certain(reported_run, registry):
    facts, examined = answering(
        reported_run, registry, classes=["a", "b"], names=[str(n) for n in range(20)]
    )
    said = dataclasses.replace(examined.predictions, labels_N=examined.predictions.predicted_N)
    examined, found = dataclasses.replace(examined, predictions=said), find(said, registry=registry)
    lines = " ".join(verdict_of(facts, examined, found)["lines"])
    most = 1 - binomtest(20, 20, alternative="greater").proportion_ci(0.95).low
    assert f"fewer than {most:.1%} are wrong" in lines
    assert "interval 100" not in lines
    assert "has one of no width" in score_rows(examined, found)["metrics_lead"]


def test_a_report_of_images_is_not_replaced_by_one_without(zoo_command, shapes_folder, tmp_path):
    data = Path(shutil.copytree(shapes_folder, tmp_path / "data"))
    path = zoo.run(
        data=str(data), epochs=1, model="lenet", img_size=16, batch_size=8, threads=1,
        runs=str(tmp_path / "runs"),
    ).path  # fmt: skip
    assert zoo_command("report", path, "--explainer", "none").code == 0
    kept = [path / "report.html", path / "model-card.md", *sorted((path / "plots").iterdir())]
    before = [file.read_bytes() for file in kept]
    shutil.rmtree(data)
    outcome = zoo_command("report", path)
    assert (outcome.code, "kept:  the report in" in outcome.err) == (3, True), outcome.err
    assert [file.read_bytes() for file in kept] == before
    assert f"remove {path / 'plots'}" in outcome.err
    shutil.rmtree(path / "plots")
    assert zoo_command("report", path).code == 0
    assert "No image could be looked at" in (path / "report.html").read_text()
