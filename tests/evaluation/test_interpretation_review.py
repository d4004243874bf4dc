"""Labels to look at: confident learning by hand, injected noise, several runs, files."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import zoo
from zoo.errors import DataError, PluginError, UsageError
from zoo.evaluation.examined import examine
from zoo.evaluation.interpretation.review import review, write_review
from zoo.evaluation.interpretation.sheets import review_sheet
from zoo.registry import Registry, build, parse_choice
from zoo_interpretation.reviewers import (
    class_thresholds,
    confident_joint,
    confident_learning,
    margin,
    self_confidence,
)

REVIEWERS = ("confident-learning", "self-confidence", "margin")


def reviewer(registry, spec):
    return build(parse_choice(registry, "reviewer", spec))


PROBABILITIES = np.array(
    [
        [0.90, 0.10, 0.00],  # labelled 0
        [0.60, 0.30, 0.10],
        [0.15, 0.75, 0.10],
        [0.10, 0.80, 0.10],  # labelled 1
        [0.30, 0.60, 0.10],
        [0.20, 0.20, 0.60],  # labelled 2
    ]
)
LABELS = np.array([0, 0, 0, 1, 1, 2])


def test_confident_learning_by_hand(registry):
    # Thresholds: (0.9 + 0.6 + 0.15) / 3, (0.8 + 0.6) / 2, 0.6.
    assert np.allclose(class_thresholds(PROBABILITIES, LABELS), [0.55, 0.7, 0.6])
    # The third image reaches the threshold of class 1; the fifth none, so the one image of class 1
    # that does stands for both.
    joint = confident_joint(PROBABILITIES, LABELS)
    assert np.allclose(joint, [[2, 1, 0], [0, 2, 0], [0, 0, 1]])
    # One image labelled 0 is expected to be really 1: that with the largest margin, 0.75 - 0.15.
    # It is as suspicious as its label is improbable.
    review = reviewer(registry, "confident-learning")
    suspicion = review(PROBABILITIES.astype(np.float32), LABELS)
    assert np.allclose(suspicion, [0, 0, 1 - 0.15, 0, 0, 0])


def test_simple_reviewers_by_hand(registry):
    probabilities = PROBABILITIES.astype(np.float32)
    own = reviewer(registry, "self-confidence")(probabilities, LABELS)
    assert np.allclose(own, [0, 0, 0.85, 0, 0, 0])
    own = reviewer(registry, "self-confidence-0.65")(probabilities, LABELS)
    assert np.allclose(own, [0, 0.4, 0.85, 0, 0.4, 0.4])
    own = reviewer(registry, "margin")(probabilities, LABELS)
    assert np.allclose(own, [0, 0, 0.8, 0, 0, 0])
    own = reviewer(registry, "margin:above=-0.35")(probabilities, LABELS)
    assert np.allclose(own, [0, 0.35, 0.8, 0, 0.35, 0])


def test_a_class_that_no_image_is_confident_of_and_a_class_without_images():
    probabilities = np.array([[0.5, 0.4, 0.1], [0.6, 0.3, 0.1], [0.7, 0.2, 0.1]])
    joint = confident_joint(probabilities, np.array([1, 1, 1]))
    assert np.allclose(class_thresholds(probabilities, np.array([1, 1, 1])), [np.inf, 0.3, np.inf])
    assert np.allclose(joint, [[1, 0, 0], [0, 3, 0], [0, 0, 1]] * np.array([[0], [1], [0]]))


BUILT = {
    "confident-learning": confident_learning(),
    "self-confidence": self_confidence(below=0.5),
    "margin": margin(above=0.0),
}


@pytest.mark.parametrize("spec", REVIEWERS)
@given(
    logits=arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 12), st.integers(1, 5)),
        elements=st.floats(-60, 60),
    ),
    data=st.data(),
)
@settings(max_examples=60)
def test_suspicion_is_a_share_and_unlabelled_images_are_none(spec, logits, data):
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = (exponentials / exponentials.sum(1, keepdims=True)).astype(np.float32)
    num, classes = probabilities.shape
    labels = np.array(data.draw(st.lists(st.integers(-1, classes - 1), min_size=num, max_size=num)))
    before = probabilities.copy(), labels.copy()
    suspicion = BUILT[spec](probabilities, labels)
    assert suspicion.shape == (num,)
    assert suspicion.dtype == np.float32
    assert ((suspicion >= 0) & (suspicion <= 1)).all()
    assert (suspicion[labels < 0] == 0).all()
    assert np.array_equal(before[0], probabilities)
    assert np.array_equal(before[1], labels)
    if spec != "self-confidence":  # whose label may be improbable and still the most probable
        assert (suspicion[labels == probabilities.argmax(1)] == 0).all()


@pytest.mark.parametrize(("spec", "precise"), list(zip(REVIEWERS, (0.8, 0.6, 0.6), strict=True)))
def test_injected_noise_is_found(registry, spec, precise):
    random = np.random.default_rng(0)
    true = random.integers(0, 5, 2000)
    logits = random.normal(size=(2000, 5))
    logits[np.arange(2000), true] += 4  # right for 96 %
    probabilities = torch.from_numpy(logits).softmax(1).numpy().astype(np.float32)
    given_labels, flipped = true.copy(), random.choice(2000, 100, replace=False)
    given_labels[flipped] = (true[flipped] + random.integers(1, 5, 100)) % 5
    found = np.flatnonzero(reviewer(registry, spec)(probabilities, given_labels))
    hits = np.intersect1d(found, flipped)
    assert len(hits) >= 90
    assert len(hits) / len(found) >= precise


# ---- of runs ----------------------------------------------------------------------------------

TINY = {"model": "lenet", "img_size": 16, "batch_size": 8, "threads": 1, "freeze_epochs": 0,
        "epochs": 1, "workers": 1}  # fmt: skip


@pytest.fixture(scope="module")
def run(shapes_folder, tmp_path_factory, registry):
    place = str(tmp_path_factory.mktemp("runs"))
    return zoo.run(**TINY, data=str(shapes_folder), runs=place, registry=registry).path


@pytest.fixture(scope="module")
def examined(run, registry):
    return examine(run, split="test", registry=registry)


def saying(examined, probabilities, labels, **changes):
    """The same run saying something else about its images."""
    predictions = replace(
        examined.predictions, logits_NK=torch.tensor(probabilities).clamp(1e-9).log(),
        labels_N=torch.tensor(labels), **changes,
    )  # fmt: skip
    return replace(examined, predictions=predictions)


def test_candidates_are_ranked_and_say_what_is_suggested(examined, registry):
    sure, unsure, wrong = [0.99, 0.01], [0.4, 0.6], [0.05, 0.95]
    said = saying(examined, [sure, unsure, wrong, sure, sure, sure, sure, [0.02, 0.98]],
                  [0, 0, 0, 0, -1, 1, 0, 1])  # fmt: skip
    found = review([said], reviewer="margin", registry=registry)
    assert [one.place for one in found.candidates] == [(0, 5), (0, 2), (0, 1)]
    assert found.num_images == 7
    first = found.candidates[0]
    assert (first.label, first.suggested, first.split) == ("dot", "bar", "test")
    assert first.name == said.predictions.names[5]
    assert first.suspicion == pytest.approx(0.99)
    assert first.probability_suggested == pytest.approx(0.99)
    assert first.probability_label == pytest.approx(0.01)
    assert found.picture(first).size == (24, 24)
    assert found.reviewer == "interpretation/margin"
    assert not found.notes


def test_what_was_trained_on_is_said_to_be_optimistic(run, registry):
    from zoo.api import review as of_run

    everything = of_run(run, registry=registry)
    assert everything.num_images == 40
    assert any(note.startswith("24 of these images were trained on") for note in everything.notes)
    assert any("zoo kfold" in note for note in everything.notes)
    assert of_run(run, split="test", registry=registry).notes == ()
    splits = {one.name: one.split for one in everything.candidates}
    assert all(name.startswith(split) for name, split in splits.items())


def test_data_that_is_named_again_is_said_to_be_trained_on(shapes_folder, tmp_path, registry):
    from zoo.api import review as of_run

    flat = shutil.copytree(shapes_folder / "train", tmp_path / "flat")
    rows = [f"{p.relative_to(flat)},{p.parent.name}" for p in sorted(flat.rglob("*.png"))]
    (flat / "labels.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    for data in (str(flat), str(flat / "labels.csv")):
        path = zoo.run(**TINY, data=data, runs=str(tmp_path), registry=registry).path
        notes = of_run(path, data=data, split="all", registry=registry).notes
        assert any(note.startswith("some of these images were trained on") for note in notes), data
    other = shutil.copytree(flat, tmp_path / "other")
    (other / "bar" / "bar-0.png").unlink()
    assert of_run(path, data=str(other), registry=registry).notes == ()


def test_folds_are_reviewed_out_of_fold(shapes_folder, tmp_path, registry):
    from zoo.api import review as of_runs

    made = zoo.kfold(**TINY, data=str(shapes_folder), runs=str(tmp_path), folds=2, name="folds",
                     registry=registry)  # fmt: skip
    found = of_runs(made.path, reviewer="self-confidence:below=1", registry=registry)
    assert found.num_images == 32  # train and val, each once
    assert len({one.name for one in found.candidates}) == len(found.candidates)
    assert {one.place[0] for one in found.candidates} == {0, 1}
    assert found.notes == ()
    for one in found.candidates:
        held_out = found.examined[one.place[0]]
        assert held_out.predictions.names[one.place[1]] == one.name
    assert found.data.endswith("val of 2 runs")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "experiment.json").write_text("{}")
    with pytest.raises(UsageError, match="has no run in it"):
        of_runs(tmp_path / "empty", registry=registry)


def test_what_several_runs_say_of_an_image_is_averaged(examined, registry):
    labels = [0] * 8
    one = saying(examined, [[0.1, 0.9]] * 8, labels)
    two = saying(examined, [[0.5, 0.5]] * 8, labels)
    found = review([one, two], reviewer="margin", registry=registry)
    assert found.num_images == 8
    assert [c.probability_suggested for c in found.candidates] == pytest.approx([0.7] * 8)


def test_what_cannot_be_reviewed_has_a_clear_word(examined, registry, make_plugin):
    several = saying(examined, [[0.1, 0.9]] * 8, [0] * 8, targets_NK=torch.ones(8, 2))
    with pytest.raises(UsageError, match="several labels"):
        review([several], registry=registry)
    with pytest.raises(DataError, match="no labels"):
        review([saying(examined, [[0.1, 0.9]] * 8, [-1] * 8)], registry=registry)
    with pytest.raises(DataError, match="one class"):
        review([saying(examined, [[1.0]] * 8, [0] * 8, classes=("a",))], registry=registry)
    other = saying(examined, [[0.1, 0.9]] * 8, [0] * 8, classes=("a", "b"))
    with pytest.raises(UsageError, match="same classes"):
        review([examined, other], registry=registry)
    package = make_plugin(
        "odd",
        "from zoo.plugin import Component, hookimpl\n"
        "def make():\n    return lambda p, l: p\n"
        "@hookimpl\ndef zoo_components():\n"
        "    yield Component(kind='reviewer', name='odd', target=__name__ + ':make')\n",
    )
    assert package
    with pytest.raises(PluginError, match="a suspicion for each image"):
        review([examined], reviewer="odd", registry=Registry.installed())


def test_no_cell_of_the_list_is_a_formula(examined, registry, tmp_path):
    names = ("=cmd|' /C calc'!A0", "+1", "-1", "@x", 'a,b\n"c"', "caf\udce9.png", "ok.png", "'=1")
    said = saying(examined, [[0.1, 0.9]] * 8, [0] * 8, names=names, classes=("=evil()", "@b"))
    found = review([said], reviewer="margin", registry=registry)
    write_review(tmp_path / "list.csv", found)
    with (tmp_path / "list.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == [str(i) for i in range(1, 9)]
    cells = {cell for row in rows for cell in row.values()}
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t", "\r", "\n")]
    back = {row["image_id"].removeprefix("'") for row in rows}
    assert back == {n.replace("\udce9", "\\xe9") for n in names}
    assert rows[0]["label"] == "'=evil()"
    assert rows[0]["suggested"] == "'@b"
    assert float(rows[0]["suspicion"]) == pytest.approx(0.9)


def test_the_sheet_shows_candidates_or_says_that_there_are_none(examined, registry):
    found = review([saying(examined, [[0.1, 0.9]] * 8, [0] * 8)], reviewer="margin",
                   registry=registry)  # fmt: skip
    page = review_sheet(found, most=8)
    assert page.width > 8 * 150
    assert page.convert("L").getextrema()[0] < 60
    none = review([saying(examined, [[0.9, 0.1]] * 8, [0] * 8)], registry=registry)
    assert none.candidates == []
    assert review_sheet(none).height < 200
