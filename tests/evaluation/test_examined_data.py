"""A run and data that it was not trained on: classes by name, splits, images without labels."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
from tests.evaluation.examined_runs import TINY, computed
from zoo.errors import DataError, UsageError
from zoo.evaluation.evaluated import evaluate
from zoo.evaluation.examined import examine


@pytest.fixture
def other(tmp_path):
    """Makes a folder of images: names with slashes to brightness."""

    def make(*names):
        root = tmp_path / "other <data>"
        for number, name in enumerate(names):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 20), (number, 0, 0)).save(root / name)
        return str(root)

    return make


def test_classes_of_other_data_are_matched_by_name(run, registry, other):
    found = examine(run, data=other("dot/1.png", "dot/2.png"), registry=registry)
    assert (found.split, found.own) == ("all", False)
    assert found.predictions.labels_N.tolist() == [1, 1]  # bar, dot: as the run has them
    assert found.stem.startswith("other-data-")
    assert (run / "predictions" / f"{found.stem}.json").is_file()
    assert not computed(run, registry, data=other())[1]
    assert computed(run, registry, data=other("dot/3.png"))[1]


def test_other_data_with_splits_of_its_own(run, registry, other):
    data = other("test/dot/1.png", "test/bar/2.png", "valid/bar/3.png", "loose.png")
    found = examine(run, data=data, registry=registry)
    assert (found.split, found.predictions.labels_N.tolist()) == ("test", [0, 1])
    assert any("1 image in no split" in note for note in found.data.notes)
    assert examine(run, data=data, split="val", registry=registry).split == "val"
    assert len(examine(run, data=data, split="all", registry=registry).predictions) == 3
    with pytest.raises(UsageError, match="no split 'train'"):
        examine(run, data=data, split="train", registry=registry)


def test_a_table_without_splits_is_examined_whole(run, registry, other, tmp_path):
    other("a.png", "b.png", "c.png", "d.png", "e.png", "f.png")
    table = tmp_path / "other <data>" / "labels.csv"
    rows = [f"{name}.png,{'bar' if name < 'd' else 'dot'}" for name in "abcdef"]
    table.write_text("path,label\n" + "\n".join(rows) + "\n")
    found = examine(run, data=str(table), registry=registry)
    assert (found.split, len(found.predictions)) == ("all", 6)
    by_name = dict(zip(found.predictions.names, found.predictions.labels_N.tolist(), strict=True))
    assert by_name == {f"{name}.png": int(name >= "d") for name in "abcdef"}


@pytest.mark.parametrize(
    ("rows", "split"),
    [
        (["a.png,dot,", "b.png,dot,"], "all"),
        (["a.png,bar,", "b.png,dot,"], "all"),
        (["a.png,bar,test", "b.png,dot,test"], "test"),
        (["a.png,bar,val", "b.png,dot,valid"], "all"),
        (["a.png,bar,val", "b.png,dot,"], "all"),
    ],
)
def test_a_table_need_not_be_one_to_train_on(run, registry, other, tmp_path, rows, split):
    other("a.png", "b.png")
    table = tmp_path / "other <data>" / "labels.csv"
    rows = [f"{row},patient 1" for row in rows]
    table.write_text("path,label,split,group\n" + "\n".join(rows) + "\n")
    found = examine(run, data=str(table), registry=registry)
    assert (found.split, len(found.predictions)) == (split, 2)
    labels = [found.predictions.classes[label] for label in found.predictions.labels_N]
    assert sorted(labels) == sorted(row.split(",")[1] for row in rows)


def test_unknown_classes_are_named(run, registry, other):
    data = other("dot/1.png", "<b>cat\x1b[31m/2.png", "eel/3.png")
    with pytest.raises(DataError) as caught:
        examine(run, data=data, registry=registry)
    assert "2 classes that the run does not know: <b>cat\\x1b[31m, eel" in caught.value.what
    assert "the run knows 2: bar, dot" in caught.value.found


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_bad_image_is_named_with_what_can_be_done(run, registry, other, share):
    data = other("dot/1.png", "dot/2.png")
    bad = Path(data) / "dot" / "1.png"
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(bad)
    content = bad.read_bytes()
    bad.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError) as caught:
        examine(run, data=data, registry=registry)
    assert "dot/1.png" in caught.value.what
    assert "--on-bad" not in caught.value.hint  # which zoo evaluate does not have
    assert "zoo data check" in caught.value.hint


def test_images_without_labels_are_predicted_and_not_evaluated(run, registry, other, tmp_path):
    data = other("test/1.png", "test/dot/2.png")
    found = examine(run, data=data, registry=registry)
    assert sorted(found.predictions.labels_N.tolist()) == [-1, 1]
    with pytest.raises(DataError) as caught:
        evaluate(run, data=data, registry=registry)
    assert "1 of 2 images have no label" in caught.value.found
    assert "zoo predict" in caught.value.hint
    (tmp_path / "paths.csv").write_text("path\nother/1.png\n")
    with pytest.raises(DataError, match="has no labels to compare with") as caught:
        evaluate(run, data=str(tmp_path / "paths.csv"), registry=registry)
    assert "zoo predict" in caught.value.hint


def test_a_class_named_train_is_no_split(tmp_path, registry):
    for label in ("plane", "train"):
        for number in range(8):
            path = tmp_path / "vehicles" / "train" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16), (9 * number, 99, 0)).save(path)
    flat = shutil.copytree(tmp_path / "vehicles" / "train", tmp_path / "flat")
    result = zoo.run(
        data=str(tmp_path / "vehicles"), epochs=1, name="v", runs=str(tmp_path), registry=registry,
        **TINY,
    )  # fmt: skip
    found = examine(result.path, data=str(flat), registry=registry)
    assert (found.split, len(found.predictions)) == ("all", 16)
    assert len(zoo.predict(result.path, data=str(flat), registry=registry)) == 16


def test_several_labels_are_matched_by_name(tmp_path, registry):
    generator = np.random.default_rng(0)
    rows = ["path,labels,split"]
    for number in range(40):
        pixels = generator.integers(0, 40, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        labels = ("a", "a|b", "b|c", "c")[number % 4]
        rows.append(f"{number}.png,{labels},{'train' if number < 32 else 'val'}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "more.csv").write_text(
        "path,labels\n0.png,b|c\n1.png,c\n2.png,c\n3.png,b\n4.png,c\n"
    )
    result = zoo.run(
        data=f"manifest:path={tmp_path / 'labels.csv'},separator=|", epochs=1, name="tags",
        runs=str(tmp_path), registry=registry, **TINY,
    )  # fmt: skip
    more = f"manifest:path={tmp_path / 'more.csv'},separator=|"
    found = examine(result.path, data=more, registry=registry).predictions
    assert found.classes == ("a", "b", "c")
    by_name = dict(zip(found.names, found.targets_NK.tolist(), strict=True))
    assert (by_name["0.png"], by_name["3.png"]) == ([0, 1, 1], [0, 1, 0])
    kept = examine(result.path, data=more, registry=registry).predictions
    assert torch.equal(kept.targets_NK, found.targets_NK)
    # Nothing to train on: the test split alone, of two images and one label, by other columns.
    (tmp_path / "some.csv").write_text("photo,tags,part\n1.png,b,test\n2.png,b,test\n")
    some = f"manifest:path={tmp_path / 'some.csv'},separator=pipe,image=photo,split_column=part"
    alone = examine(result.path, data=some, registry=registry)
    assert (alone.split, alone.predictions.targets_NK.tolist()) == ("test", [[0, 1, 0]] * 2)
    assert zoo.evaluate(result.path, registry=registry, resamples=0).confused == ()
    with pytest.raises(
        DataError, match=r"several labels in the run, one in the data\n.*separator="
    ):
        examine(result.path, data=str(tmp_path / "more.csv"), registry=registry)
