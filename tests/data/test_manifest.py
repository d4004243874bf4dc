"""Manifests: columns, labels of every kind, splits and groups."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
from manifest_files import COUNT, animals, check_animals, truth, write
from PIL import Image

from zoo.data.reading.columns import Wanted
from zoo.data.reading.manifest import read_manifest
from zoo.data.reading.sources import read_path
from zoo.errors import DataError, PluginError


@pytest.mark.parametrize(
    "header",
    ["path,label", "image,class", "File Name,Category", "FILENAME,target", "img-path,label_name"],
)
def test_columns_by_their_usual_names(folder, header):
    check_animals(read_path(write(folder, [header, *animals()]), seed=0))


@pytest.mark.parametrize(
    ("name", "separator"), [("a.csv", ","), ("a.csv", ";"), ("a.csv", "\t"), ("a.tsv", "\t")]
)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_separators_line_ends_and_byte_order_marks(folder, name, separator, ending, mark):
    lines = [f"path{separator}label", *animals(separator)]
    (folder / name).write_bytes((mark + ending.join(lines)).encode())
    check_animals(read_path(folder / name, seed=0))


@pytest.mark.parametrize("suffix", ["jsonl", "ndjson"])
def test_json_lines(folder, suffix):
    rows = [json.dumps({"label": "cat" if n % 2 else "dog", "path": f"{n}.png"})
            for n in range(COUNT)]  # fmt: skip
    check_animals(read_path(write(folder, [*rows, ""], f"a.{suffix}"), seed=0))


def parquet(folder, **columns):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), folder / "a.parquet")
    return folder / "a.parquet"


def test_parquet(folder):
    labels = ["cat" if n % 2 else "dog" for n in range(COUNT)]
    paths = [f"{n}.png" for n in range(COUNT)]
    check_animals(read_path(parquet(folder, path=paths, label=labels), seed=0))
    numbers = read_path(
        parquet(folder, path=paths, label=[n % 3 for n in range(COUNT)], weight=[0.5] * COUNT,
                thumb=[b"x"] * COUNT),
        seed=0,
    )  # fmt: skip
    assert numbers.classes == ("0", "1", "2")
    assert set(numbers.splits["train"].weights_N.tolist()) == {0.5}
    assert any("no simple type are not read: thumb" in note for note in numbers.notes)
    several = parquet(folder, path=paths, label=[["cat", "dog"][: n % 3] for n in range(COUNT)])
    assert read_path(several, seed=0).multi_label
    arrow = pytest.importorskip("pyarrow")
    views = arrow.array(labels).cast(arrow.string_view())
    check_animals(read_path(parquet(folder, path=paths, label=views), seed=0))
    bad = parquet(folder, path=[*paths[:-1], None], label=labels)
    with pytest.raises(DataError, match="row 12: no path"):
        read_path(bad, seed=0)


@pytest.mark.parametrize("content", [b"x", b"PAR1" + bytes(100) + b"PAR1", b"PAR1PAR1"])
def test_no_parquet_file(folder, content):
    pytest.importorskip("pyarrow")
    (folder / "a.parquet").write_bytes(content)
    with pytest.raises(DataError, match="not a readable Parquet file"):
        read_path(folder / "a.parquet", seed=0)


def test_parquet_without_its_package(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (folder / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(PluginError, match=r"pyarrow is not installed") as caught:
        read_path(folder / "a.parquet", seed=0)
    assert "pip install 'classifier-zoo[parquet]'" in str(caught.value)


def test_columns_that_the_user_names(folder):
    rows = [f"{n},{n}.png,{'cat' if n % 2 else 'dog'},wrong" for n in range(COUNT)]
    path = write(folder, ["id,where,what,label", *rows])
    data = read_manifest(path, seed=0, columns=Wanted(image="where", label="what"))
    check_animals(data)
    with pytest.raises(DataError) as caught:
        read_manifest(path, seed=0, columns=Wanted(image="wher", weight="w"))
    for part in ("wher, named as image", "w, named as weight", "columns id, where, what, label"):
        assert part in str(caught.value)


def test_a_choice_of_columns_is_told(folder):
    rows = [f"{n}.png,{'cat' if n % 2 else 'dog'},{n}" for n in range(COUNT)]
    data = read_path(write(folder, ["path,label,class", *rows]), seed=0)
    check_animals(data)
    assert "column label is the label, not class" in data.notes


def test_whole_numbers_are_names_by_value(folder):
    rows = [f"{n}.png,{(n % 6) * 2}" for n in range(COUNT)]
    data = read_path(write(folder, ["path,label", *rows]), seed=0, split=(0.5, 0.5))
    assert data.classes == ("0", "2", "4", "6", "8", "10")
    assert all(label == str(number % 6 * 2) for number, (_, label) in truth(data).items())


def test_splits_by_any_of_their_names_and_rows_without_one(folder):
    names = ["train", "Training", "TRAIN", "train", "dev", "valid", "test", "testing"]
    rows = [f"{n}.png,{n % 2},{names[n] if n < 8 else ''}" for n in range(COUNT)]
    data = read_path(write(folder, ["path,label,split", *rows]), seed=0, split=(0.5, 0.5))
    found = truth(data)
    assert [found[n][0] for n in range(8)] == ["train"] * 4 + ["val"] * 2 + ["test"] * 2
    assert sorted(found[n][0] for n in range(8, 12)) == ["train", "train", "val", "val"]
    assert "4 images without a split were divided by the fractions" in data.notes


def test_validation_is_taken_from_train(folder):
    rows = [f"{n}.png,{n % 2},{'test' if n > 9 else 'train'}" for n in range(COUNT)]
    data = read_path(write(folder, ["path,label,split", *rows]), seed=0)
    assert {s: len(p.images) for s, p in data.splits.items()} == {"train": 9, "val": 1, "test": 2}
    assert "validation was split from training" in data.notes


def test_groups_stay_together(folder):
    rows = [f"{n}.png,{n % 2},g{n // 2}" for n in range(COUNT)]
    path = write(folder, ["path,label,group", *rows])
    for seed in range(5):
        found = truth(read_path(path, seed=seed, split=(0.6, 0.2, 0.2)))
        assert {found[n][0] for n in range(COUNT)} == {"train", "val", "test"}
        for group in range(COUNT // 2):
            assert found[2 * group][0] == found[2 * group + 1][0]


def test_a_group_that_is_more_than_its_share_is_validated_on_all_the_same(folder):
    rows = [f"{n}.png,{n % 2},{n % 6}" for n in range(COUNT)]  # six groups of two of one class
    path = write(folder, ["path,label,patient_id", *rows])
    chosen = set()
    for seed in range(8):
        data = read_path(path, seed=seed)
        assert {split: len(part.images) for split, part in data.splits.items()} == {
            "train": 10, "val": 2,
        }  # fmt: skip
        validated = {number % 6 for number, (split, _) in truth(data).items() if split == "val"}
        assert len(validated) == 1
        chosen |= validated
    assert len(chosen) > 1
    few = write(folder, ["path,label,group", *(f"{n}.png,{n % 2},{n % 2}" for n in range(COUNT))])
    with pytest.raises(DataError, match="too few groups for a validation split"):
        read_path(few, seed=0)


def test_groups_across_named_splits_are_told_and_followed(folder):
    split = ["train", "val", "train", "train", "val", "val", "", "", "", "", "", ""]
    group = ["a", "a", "b", "b", "c", "c", "c", "c", "b", "b", "", ""]
    rows = [f"{n}.png,{n % 2},{split[n]},{group[n]}" for n in range(COUNT)]
    data = read_path(write(folder, ["path,label,split,group", *rows]), seed=0)
    assert "1 group in several splits: a" in data.notes
    assert "images of a group were kept in one split" not in data.notes
    found = truth(data)
    assert [found[n][0] for n in (6, 7, 8, 9)] == ["val", "val", "train", "train"]


def test_a_class_that_its_groups_take_out_of_training_is_refused(folder):
    rows = [f"{n}.png,{n % 2},{'val' if n > 8 else 'train'},{n}" for n in range(10)]
    rows += ["10.png,2,,9", "11.png,2,,9"]
    with pytest.raises(DataError) as caught:
        read_path(write(folder, ["path,label,split,group", *rows]), seed=0)
    assert "2 in val (line 12, as others of its group)" in str(caught.value)


def test_a_class_whose_files_cannot_be_read_is_refused(folder):
    (folder / "11.png").write_bytes(b"no image")
    rows = ["path,label", *animals()[:10], "10.png,gnu", "11.png,emu", "12.png,gnu", "13.png,ape"]
    path = write(folder, rows)
    with pytest.raises(DataError, match=r"no image of ape, emu in .* can be read") as caught:
        read_path(path, seed=0, on_bad="skip")
    assert "13.png: no such file (line 15)" in str(caught.value)
    fewer = [row for row in rows if row[-3:] not in ("ape", "emu")]
    data = read_path(write(folder, fewer), seed=0, on_bad="skip")
    assert (data.classes, set(data.bad)) == (("cat", "dog", "gnu"), {"12.png"})


def test_sample_weights(folder):
    rows = [f"{n}.png,{n % 2},{n / 2 if n else ''}" for n in range(COUNT)]
    data = read_path(write(folder, ["path,label,weight", *rows]), seed=0)
    for part in data.splits.values():
        assert part.weights_N.dtype == np.float32
        for index, weight in enumerate(part.weights_N):
            number = part.images.read(index).getpixel((0, 0))[0]
            assert weight == (number / 2 if number else 1.0)
    zero = write(folder, ["path,label,weight", *(f"{n}.png,{n % 2},0" for n in range(COUNT))])
    with pytest.raises(DataError, match="all training weights"):
        read_path(zero, seed=0)


def test_soft_labels(folder):
    rows = [f"{n}.png,{n / 11},{1 - n / 11},0" for n in range(COUNT)]
    data = read_path(write(folder, ["path,label:cat,label:dog,label:emu", *rows]), seed=0)
    assert data.classes == ("cat", "dog", "emu")
    assert not data.multi_label
    for part in data.splits.values():
        assert part.targets_NK.dtype == np.float32
        for index, shares_K in enumerate(part.targets_NK):
            number = part.images.read(index).getpixel((0, 0))[0]
            assert shares_K == pytest.approx([number / 11, 1 - number / 11, 0], abs=1e-6)
            assert part.labels_N[index] == shares_K.argmax()
    assert "train has no images of emu" in data.notes


def test_several_labels_by_a_separator(folder):
    cells = ["a|b", "b", "a| c ", "", "b|b", "a", "c", "a|b|c", "b|c", "a", "b", "c"]
    rows = [f"{n}.png,{cells[n]}" for n in range(COUNT)]
    path = write(folder, ["path,label", *rows])
    for separator in ("|", "pipe"):
        data = read_manifest(path, seed=0, separator=separator)
        assert data.multi_label
        assert data.classes == ("a", "b", "c")
        for part in data.splits.values():
            for index, held_K in enumerate(part.targets_NK):
                number = part.images.read(index).getpixel((0, 0))[0]
                expected = {c.strip() for c in cells[number].split("|") if c.strip()}
                assert {data.classes[k] for k in np.flatnonzero(held_K)} == expected
                assert held_K[part.labels_N[index]] == bool(expected)
    single = read_path(write(folder, ["path,label", *[f"{n}.png,a|{n % 2}" for n in range(COUNT)]]),
                       seed=0)  # fmt: skip
    assert single.classes == ("a|0", "a|1")
    assert any("labels hold |" in note for note in single.notes)


def test_several_labels_by_columns_and_by_lists(folder):
    rows = [f"{n}.png,{n % 2},{n // 2 % 2}" for n in range(COUNT)]
    path = write(folder, ["path,label:odd,label:half", *rows])
    data = read_manifest(path, seed=0, multi_label=True)
    lines = [json.dumps({"path": f"{n}.png", "label": ["odd"] * (n % 2) + ["half"] * (n // 2 % 2)})
             for n in range(COUNT)]  # fmt: skip
    lists = read_path(write(folder, lines, "a.jsonl"), seed=0)
    for found in (data, lists):
        assert found.multi_label
        for part in found.splits.values():
            for index, held_K in enumerate(part.targets_NK):
                number = part.images.read(index).getpixel((0, 0))[0]
                named = dict(zip(found.classes, held_K.tolist(), strict=True))
                assert named == {"odd": number % 2, "half": number // 2 % 2}
    with pytest.raises(DataError, match=r"the shares sum to 2.*multi_label=true"):
        read_path(path, seed=0)


def test_ids_without_a_suffix_and_paths_of_windows(folder):
    (folder / "in").mkdir()
    for number in range(COUNT):
        (folder / f"{number}.png").rename(folder / "in" / f"{number}.png")
    for form in ("in/{}", "in\\{}.png", "./in/../in/{}.png", " in/{}.png "):
        rows = [f"{form.format(n)},{'cat' if n % 2 else 'dog'}" for n in range(COUNT)]
        check_animals(read_path(write(folder, ["image_id,label", *rows]), seed=0))
    ids = [f"{n},{'cat' if n % 2 else 'dog'}" for n in range(COUNT)]
    path = write(folder, ["image_id,label", *ids])
    check_animals(read_manifest(path, seed=0, folder=folder / "in"))
    shutil.copy(folder / "in" / "3.png", folder / "in" / "3.jpg")
    with pytest.raises(DataError, match=r"line 5: 3 is 3\.jpg or 3\.png"):
        read_manifest(path, seed=0, folder=folder / "in")


def test_the_same_row_twice_is_a_note(folder):
    path = write(folder, ["path,label", *animals(), *animals()[:3]])
    data = read_path(path, seed=0)
    check_animals(data)
    assert "3 rows name an image again: counted once" in data.notes


def test_labels_of_a_row_that_comes_again_are_joined(folder):
    names = write(folder, ["path,label,split", *(
        "0.png,cat,train", "1.png,dog,train", "2.png,dog,val", "0.png,dog,train"
    )])  # fmt: skip
    columns = write(folder, ["path,label:cat,label:dog,split", *(
        "0.png,1,0,train", "1.png,0,1,train", "2.png,0,1,val", "0.png,0,1,train"
    )], "columns.csv")  # fmt: skip
    for data in (
        read_manifest(names, seed=0, separator="|"),
        read_manifest(columns, seed=0, multi_label=True),
    ):
        found = {
            part.images.name(row): part.targets_NK[row].tolist()
            for part in data.splits.values()
            for row in range(len(part.images))
        }
        assert found == {"0.png": [1, 1], "1.png": [0, 1], "2.png": [0, 1]}
        assert "1 rows name an image again: their labels were joined" in data.notes


def test_a_file_by_its_absolute_and_its_relative_path_is_one_image(folder):
    twice = [f"{folder / row}" for row in animals()]
    data = read_path(write(folder, ["path,label", *animals(), *twice]), seed=0)
    check_animals(data)
    assert sum(len(part.images) for part in data.splits.values()) == COUNT
    assert "12 rows name an image again: counted once" in data.notes
    other = f"{folder / '0.png'},cat"
    with pytest.raises(DataError, match=r"line 14: .*0\.png is also at line 2, with another label"):
        read_path(write(folder, ["path,label", *animals(), other]), seed=0)


def test_the_fingerprint_follows_labels_weights_and_files(folder):
    path = write(folder, ["path,label,weight", *(f"{line},1" for line in animals())])
    first = read_path(path, seed=0).fingerprint
    assert read_path(path, seed=0).fingerprint == first
    assert len({read_path(path, seed=seed).fingerprint for seed in range(5)}) > 1
    path.write_text(path.read_text().replace("3.png,cat,1", "3.png,cat,2"))
    second = read_path(path, seed=0).fingerprint
    path.write_text(path.read_text().replace("3.png,cat", "3.png,dog"))
    assert len({first, second, read_path(path, seed=0).fingerprint}) == 3
    Image.new("RGB", (70, 50)).save(folder / "3.png")
    assert read_path(path, seed=0).fingerprint != first


def test_blank_rows_as_spreadsheets_write_them_are_none(folder):
    check_animals(read_path(write(folder, ["path,label", *animals(), "", ",", " ,", "  "]), seed=0))
