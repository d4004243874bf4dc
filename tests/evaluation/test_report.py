"""`zoo report`: what a page, the plots and the card of a run say."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
import shlex

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from tests.evaluation.report_runs import Page, answering, saying
from zoo.config import RunConfig, load_config
from zoo.evaluation.metrics import confusion, per_class
from zoo.evaluation.report import mistakes
from zoo.evaluation.report.facts import read_facts
from zoo.evaluation.report.findings import commonest, find
from zoo.evaluation.report.making import make_report
from zoo.evaluation.report.matrix import most_confused_classes, shade, view_of
from zoo.evaluation.report.page import page_of
from zoo.evaluation.report.plots import calibration
from zoo.evaluation.report.svg import inlined
from zoo.evaluation.report.training import curve_figures


def test_the_command_writes_page_plots_and_card(zoo_command, run_path):
    outcome = zoo_command("report", run_path, "--explainer", "none")
    assert outcome.code == 0, outcome.err
    assert "report     " in outcome.out
    assert (run_path / "report.html").read_text().startswith("<!doctype html>")
    assert (run_path / "model-card.md").read_text().startswith("---\npipeline_tag: image-")
    sizes = {}
    for file in (run_path / "plots").glob("*.png"):
        with Image.open(file) as picture:
            sizes[file.name] = picture.size
    assert set(sizes) == {"accuracy.png", "calibration.png", "confusion.png", "learning-rate.png",
                          "loss.png"}  # fmt: skip
    assert all(min(size) > 400 for size in sizes.values())


def test_json_has_paths_and_numbers(zoo_command, run_path, tmp_path):
    target = tmp_path / "new" / "page.html"
    outcome = zoo_command("report", run_path, "--json", "-o", target, "--explainer", "none")
    told = json.loads(outcome.out)
    assert told["report"] == str(target)
    assert target.is_file()
    assert not (run_path / "report.html").exists()
    accuracy = told["scores"]["accuracy"]
    summary = json.loads((run_path / "summary.json").read_text())
    assert accuracy["value"] == pytest.approx(summary["test_accuracy"])
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]


def test_the_page_needs_nothing_else(run_path, registry):
    html = make_report(run_path, registry=registry).page.read_text()
    page = Page.of(html)
    policy = next(value for _, name, value in page.attributes if "default-src" in value)
    assert "default-src 'none'" in policy
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert "http:" not in html
    assert "https:" not in html
    for tag, name, value in page.attributes:
        assert name != "style", tag
        assert not name.startswith("on"), (tag, name)
        if name in ("href", "src", "xlink:href"):
            assert value.startswith(("#", "data:")), (tag, value)
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    targets = {
        value[1:] for _, name, value in page.attributes if name == "href" and value[0] == "#"
    }
    assert targets <= set(ids)


def test_the_numbers_are_those_of_scikit_learn(reported_run, registry):
    classes = [f"class {k}" for k in range(7)]
    names = [f"{n}.png" for n in range(300)]
    facts, examined, findings = saying(reported_run, registry, classes=classes, names=names)
    html = page_of(facts, examined, findings, {})
    said = examined.predictions
    true, predicted = said.labels_N.numpy(), said.predicted_N.numpy()
    wanted = confusion_matrix(true, predicted, labels=range(7))
    (data,) = re.findall(r'id="matrix-data">(.*?)</script>', html)
    assert json.loads(data)["counts"] == wanted.tolist()
    (body,) = re.findall(r'<table class="matrix.*?<tbody>(.*?)</tbody>', html, flags=re.DOTALL)
    cells = [int(n) for n in re.findall(r"<td[^>]*>(\d+)</td>", body)]
    assert np.array_equal(np.reshape(cells, (7, 7)), wanted)
    scores = precision_recall_fscore_support(true, predicted, labels=range(7), zero_division=0)
    rows = re.findall(r'<tr><td class="name">(class \d)</td>(.*?)</tr>', html, flags=re.DOTALL)
    assert [name for name, _ in rows] == classes
    for index, (_, cells_text) in enumerate(rows):
        shown = re.findall(r'data-value="([^"]*)"', cells_text)
        given = [float(shown[place]) for place in (0, 1, 2, 4)]
        assert given == pytest.approx([column[index] for column in scores], abs=1e-6)
    right = int((true == predicted).sum())
    assert f"{right} of 300 test images are right." in html


def test_the_commands_train_the_same_again(zoo_command, reported_run, registry, tmp_path):
    html = make_report(reported_run, output=tmp_path / "p.html", registry=registry, explainer=None)
    commands = re.findall(r"<pre><code>(.*?)</code>", html.page.read_text(), flags=re.DOTALL)
    texts = [" ".join("".join(Page.of(c).texts[i][1] for i in range(len(Page.of(c).texts))).split())
             for c in commands]  # fmt: skip
    predict, by_flags, by_file = (shlex.split(text) for text in texts)
    assert predict == ["zoo", "predict", str(reported_run), "IMAGES..."]
    wanted = RunConfig.from_mapping(load_config(reported_run / "config.toml")).as_mapping()
    for words in (by_flags, by_file):
        outcome = zoo_command(*words[1:], "--dry-run", "--json")
        config = json.loads(outcome.out)["config"]
        apart = ("name", "runs", "threads")
        assert {k: v for k, v in config.items() if k not in apart} == {
            k: v if not isinstance(v, tuple) else list(v)
            for k, v in wanted.items() if k not in apart
        }  # fmt: skip


def test_figures_are_in_the_colours_of_the_page_only(reported_run):
    for name, figure in curve_figures(read_facts(reported_run)).items():
        svg = inlined(figure, title=name, description="what it shows")
        assert 'role="img"' in svg
        assert f">{name}</title>" in svg
        assert not re.findall(r"#[0-9a-fA-F]{6}", svg), "a colour that no theme changes"
        assert "style" not in svg
        assert "stroke-c1" in svg


def test_curves_mark_the_phase_and_the_best_epoch(reported_run):
    facts = read_facts(reported_run)
    assert [phase.name for phase in facts.phases] == ["freeze", "finetune"]
    assert [phase.first for phase in facts.phases] == [1, 2]
    svg = inlined(curve_figures(facts)["loss"], title="Loss", description="")
    texts = [text for _, text in Page.of(svg).texts]
    assert {"freeze", "finetune", "training", "validation"} <= set(texts)
    best = facts.best_row
    assert f"epoch {best['epoch']}, kept: {best['val_loss']:.3f}" in texts


def test_several_labels_an_image(reported_run, registry):
    classes = ["tree", "person", "dog", "sky"]
    names = [f"{n}.png" for n in range(120)]
    facts, examined, findings = saying(
        reported_run, registry, classes=classes, names=names, multi_label=True
    )
    html = page_of(facts, examined, findings, {})
    assert findings.counts_KK is None
    assert 'id="confusion"' not in html
    said = examined.predictions
    drawn = calibration(findings.before, None, title="Reliability", multi_label=True)
    below = drawn.axes[1]
    assert sum(bar.get_height() for bar in below.patches) == said.targets_NK.numel()
    assert below.get_ylabel() == "answers"
    assert drawn.axes[0].get_ylabel() == "share that holds"
    assert below.get_xlabel() == "probability that the network gives each label"
    right = int(((said.logits_NK > 0) == (said.targets_NK > 0.5)).all(1).sum())
    assert f"All labels are right for {right} of 120 test images." in html
    _, counts = np.unique(said.targets_NK.numpy(), axis=0, return_counts=True)
    assert commonest(said)[1] == pytest.approx(counts.max() / 120)
    for shot in mistakes.shots(said, mistakes.surest_mistakes(said, 5)):
        assert shot.said.removeprefix("no ") in classes
        assert shot.probability > 0.5


def test_one_class(reported_run, registry):
    facts, examined, findings = saying(
        reported_run, registry, classes=["cat"], names=[f"{n}.png" for n in range(20)]
    )
    html = page_of(facts, examined, findings, {})
    assert "20 of 20 test images are right." in html
    assert "not clearly better than always answering cat" in html


def test_a_thousand_classes_are_shown_in_part(reported_run, registry):
    classes = [f"class {k:03}" for k in range(1000)]
    names = [f"{n}.png" for n in range(2000)]
    facts, examined = answering(reported_run, registry, classes=classes, names=names, sharpness=5)
    said = examined.predictions
    few = find(
        dataclasses.replace(
            said,
            classes=said.classes[:3],
            logits_NK=said.logits_NK[:, :3],
            labels_N=said.labels_N % 3,
        ),
        registry=registry,
    )  # intervals for a thousand classes take seconds
    findings = dataclasses.replace(
        few, classes=per_class(said, registry), counts_KK=confusion(said).numpy(),
        common=commonest(said),
    )  # fmt: skip
    html = page_of(facts, examined, findings, {})
    assert len(html) < 2_000_000
    assert "The 25 of 1,000 classes" in html
    assert "All 1,000 classes" in html
    assert html.count('<td class="name">class ') == 1000


def test_images_without_labels_are_not_scored(reported_run, registry):
    facts, examined, _ = saying(reported_run, registry, classes=["a", "b"], names=["1", "2", "3"])
    unknown = dataclasses.replace(
        examined.predictions, labels_N=torch.full((3,), -1, dtype=torch.int64)
    )
    examined = dataclasses.replace(examined, predictions=unknown)
    assert "Validation accuracy of epoch" in page_of(facts, examined, None, {})
    (shot,) = mistakes.shots(unknown, [1])
    assert shot.true == "no label"


def test_heat_maps_or_the_reason_why_not(run_path, registry):
    html = make_report(run_path, registry=registry).page.read_text()
    (section,) = re.findall(r'<section id="heat">(.*?)</section>', html, flags=re.DOTALL)
    assert section.count('src="data:image/') >= 2 or "No heat maps: " in section
    html = make_report(run_path, registry=registry, explainer=None).page.read_text()
    assert 'id="heat"' not in html


def test_shades_tell_right_from_wrong():
    assert shade(0, right=True) == "zero"
    assert [shade(s, right=True) for s in (0.01, 0.5, 1)] == ["g1", "g5", "g9"]
    assert [shade(s, right=False) for s in (0.01, 0.25, 1)] == ["b1", "b5", "b9"]


def test_the_most_confused_classes_come_with_their_partners():
    counts_KK = np.diag(np.full(100, 10))
    counts_KK[7, 70], counts_KK[70, 7], counts_KK[3, 99] = 5, 2, 4
    chosen = most_confused_classes(counts_KK, 4)
    assert chosen.tolist() == [3, 7, 70, 99]
    view = view_of(counts_KK, [f"c{k}" for k in range(100)])
    assert (len(view.rows), view.whole) == (25, False)
    assert {"c3", "c7", "c70", "c99"} <= set(view.names)
    assert view.picture is not None


def test_mistakes_are_ranked(reported_run, registry):
    _, examined, findings = saying(
        reported_run, registry, classes=list("abcde"), names=[str(n) for n in range(200)]
    )
    said = examined.predictions
    chance_NK = torch.softmax(said.logits_NK, 1).numpy()
    true, answer = said.labels_N.numpy(), chance_NK.argmax(1)
    wrong = np.flatnonzero(true != answer)
    by_sureness = wrong[np.argsort(-chance_NK[wrong].max(1))][:9]
    assert mistakes.surest_mistakes(said, 9) == by_sureness.tolist()
    by_loss = np.argsort(chance_NK[np.arange(200), true])[:9]
    assert mistakes.greatest_losses(said, 9) == by_loss.tolist()
    pairs = mistakes.confused_pairs(said, findings.counts_KK, limit=3, each=4)
    assert len(pairs) == 3
    for pair, images in pairs:
        assert pair.count == int(((true == pair.true) & (answer == pair.predicted)).sum())
        assert 0 < len(images) <= 4
        assert all((true[i], answer[i]) == (pair.true, pair.predicted) for i in images)
    sample = mistakes.sample_to_explain(said, 8)
    assert len(sample) == len(set(sample)) == 8
    assert [bool(true[i] == answer[i]) for i in sample] == [False] * 4 + [True] * 4
