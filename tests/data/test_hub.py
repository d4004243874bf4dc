"""Hugging Face data sets: columns and splits found by type and name, images as the library's."""

from __future__ import annotations

import json
import pickle
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from threading import Thread

import numpy as np
import pytest
from PIL import Image

datasets = pytest.importorskip("datasets")

from zoo.errors import (  # noqa: E402  # only where the extra is installed
    DataError,
    MachineError,
    PluginError,
    RefusedError,
    UsageError,
)
from zoo.registry import build, parse_choice  # noqa: E402
from zoo_datasets.hub import HubImages, hugging_face  # noqa: E402


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")
    monkeypatch.chdir(tmp_path)


def picture(number, side=6):
    pixels = np.full((side, side + 3, 3), 7 * number % 256, dtype=np.uint8)
    pixels[0, 0] = (255, number, 0)
    return Image.fromarray(pixels)


def table(first=0, count=10, names=("cat", "dog"), **more):
    """A split with ``count`` pictures whose class is the number modulo the number of classes."""
    columns = {
        "picture": [picture(first + i) for i in range(count)],
        "kind": [i % len(names) for i in range(count)],
        "note": [f"number {i}" for i in range(count)],
    }
    features = {
        "picture": datasets.Image(),
        "kind": datasets.ClassLabel(names=list(names)),
        "note": datasets.Value("string"),
    }
    for key, (feature, values) in more.items():
        features[key], columns[key] = feature, values
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


@pytest.fixture
def saved(tmp_path):
    """A folder with train (10), validation (4) and test (4), as ``save_to_disk`` writes it."""
    tables = {"train": table(), "validation": table(50, 4), "test": table(70, 4)}
    datasets.DatasetDict(tables).save_to_disk(tmp_path / "saved")
    return tmp_path / "saved"


def counts(data):
    return {name: len(split.images) for name, split in data.splits.items()}


def test_a_saved_folder_by_its_component(saved, registry):
    choice = parse_choice(registry, "dataset", f"hf:name={saved}")
    data = build(choice, seed=0, split=(0.8, 0.1, 0.1), on_bad="fail")
    assert counts(data) == {"train": 10, "val": 4, "test": 4}
    assert data.classes == ("cat", "dog")
    assert data.typical_side == 6
    reference = datasets.load_from_disk(saved)
    for ours, theirs in (("train", "train"), ("val", "validation"), ("test", "test")):
        split = data.splits[ours]
        assert split.labels_N.tolist() == reference[theirs]["kind"]
        for index, row in enumerate(reference[theirs]):
            expected = np.asarray(row["picture"].convert("RGB"))
            np.testing.assert_array_equal(np.asarray(split.images.read(index)), expected)
    assert data.splits["val"].images.name(2) == "validation/2"


def test_any_order_from_many_threads(saved):
    images = hugging_face(name=str(saved)).splits["train"].images
    expected = [np.asarray(images.read(i)).tobytes() for i in range(10)]
    order = random.Random(0).choices(range(10), k=400)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: np.asarray(images.read(i)).tobytes(), order))
    assert found == [expected[i] for i in order]
    again = pickle.loads(pickle.dumps(images))  # as spawned workers receive it
    assert np.asarray(again.read(7)).tobytes() == expected[7]


def test_rows_that_the_library_moved_keep_their_labels(tmp_path):
    moved = table().shuffle(seed=3).select(range(1, 9))
    moved.save_to_disk(tmp_path / "moved")
    data = hugging_face(name="moved", split=(0.5, 0.25, 0.25))
    assert counts(data) == {"train": 4, "val": 2, "test": 2}
    for split in data.splits.values():
        for index, label in enumerate(split.labels_N):
            number = split.images.read(index).getpixel((0, 0))[1]
            assert number % 2 == label
    numbers = [
        split.images.read(i).getpixel((0, 0))[1]
        for split in data.splits.values()
        for i in range(len(split.images))
    ]
    assert sorted(numbers) == sorted(row["picture"].getpixel((0, 0))[1] for row in moved)


def test_parquet_files_and_folders(tmp_path):
    (tmp_path / "pq").mkdir()
    table().to_parquet(tmp_path / "pq" / "train-00000-of-00001.parquet")
    table(50, 4).to_parquet(tmp_path / "pq" / "test-00000-of-00001.parquet")
    folder = hugging_face(name="pq", split=(0.6, 0.4, 0.0))
    assert counts(folder) == {"train": 6, "val": 4, "test": 4}
    assert "validation was split from training" in folder.notes
    single = hugging_face(name="pq/train-00000-of-00001.parquet")
    assert counts(single) == {"train": 8, "val": 1, "test": 1} or sum(counts(single).values()) == 10
    several = hugging_face(name="pq/*.parquet")
    assert sum(counts(several).values()) == 14


def test_plain_parquet_without_the_types_of_the_library(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    def png(number):
        content = BytesIO()
        picture(number).save(content, "PNG")
        return content.getvalue()

    words = ["ant", "bee", "cow"] * 4
    for image in ([png(i) for i in range(12)], [{"bytes": png(i), "path": "x"} for i in range(12)]):
        pq.write_table(pa.table({"image": image, "species": words}), tmp_path / "x.parquet")
        data = hugging_face(name="x.parquet", split=(0.5, 0.5))
        assert data.classes == ("ant", "bee", "cow")
        assert data.splits["train"].images.read(0).size == (9, 6)


def test_whole_numbers_are_names_in_the_order_of_numbers(tmp_path):
    numbers = (datasets.Value("int64"), [10, 9, 2, 10, 9] * 2)
    table(label=numbers).remove_columns("kind").save_to_disk(tmp_path / "x")
    data = hugging_face(name="x", split=(0.5, 0.5))
    assert data.classes == ("2", "9", "10")


def test_lists_of_classes_are_several_labels(tmp_path):
    feature = datasets.List(datasets.ClassLabel(names=["red", "round", "sweet"]))
    cells = [[0], [0, 1], [], [2, 1], [0, 1, 2]] * 2
    table(tags=(feature, cells)).remove_columns("kind").save_to_disk(tmp_path / "x")
    data = hugging_face(name="x", split=(0.8, 0.2))
    assert data.multi_label
    assert data.classes == ("red", "round", "sweet")
    for split in data.splits.values():
        for index, row in enumerate(split.targets_NK):
            number = split.images.read(index).getpixel((0, 0))[1]
            assert np.flatnonzero(row).tolist() == sorted(cells[number])


def test_misspelt_columns_list_the_columns(saved):
    with pytest.raises(UsageError) as caught:
        hugging_face(name=str(saved), image="pictur")
    assert "picture (Image), kind (ClassLabel), note (Value string)" in caught.value.found
    assert caught.value.hint == "image=picture"
    with pytest.raises(UsageError, match="cannot be it"):
        hugging_face(name=str(saved), label="picture")
    data = hugging_face(name=str(saved), label="kind", image="picture")
    assert data.classes == ("cat", "dog")


def test_columns_that_cannot_be_told_apart_need_a_choice(tmp_path):
    classes = datasets.ClassLabel(names=["small", "large"])
    two = table(size=(classes, [0, 0, 1, 1, 0] * 2))
    two.save_to_disk(tmp_path / "x")
    with pytest.raises(UsageError, match="several columns that could be the label") as caught:
        hugging_face(name="x")
    assert caught.value.hint == "label=kind"
    assert hugging_face(name="x", label="size").classes == ("small", "large")
    two.rename_column("size", "label").save_to_disk(tmp_path / "y")  # the usual name decides
    assert hugging_face(name="y").classes == ("small", "large")
    table().remove_columns("kind").save_to_disk(tmp_path / "z")
    with pytest.raises(UsageError, match="no columns that could be the label"):
        hugging_face(name="z")
    words = (datasets.Value("string"), ["ant", "bee"] * 5)
    table(word=words).remove_columns("kind").save_to_disk(tmp_path / "v")
    assert hugging_face(name="v", label="word", split=(0.8, 0.2)).classes == ("ant", "bee")
    table().remove_columns("picture").save_to_disk(tmp_path / "w")
    with pytest.raises(UsageError, match="no columns that could be the image"):
        hugging_face(name="w")


def test_splits_by_name_and_when_they_are_missing(tmp_path, saved):
    with pytest.raises(UsageError) as caught:
        hugging_face(name=str(saved), train="trian", val="nope")
    assert caught.value.found == "the splits train, validation, test"
    assert caught.value.hint == "train=train,val=SPLIT"
    assert "'trian' for train" in caught.value.what
    assert "'nope' for val" in caught.value.what
    swapped = hugging_face(name=str(saved), train="test", test="train")
    assert counts(swapped) == {"train": 4, "val": 4, "test": 10}
    with pytest.raises(UsageError, match="named twice"):
        hugging_face(name=str(saved), val="train")
    odd = datasets.DatasetDict({"fold1": table(), "fold2": table(50, 4)})
    odd.save_to_disk(tmp_path / "odd")
    with pytest.raises(UsageError, match="no split that is called train") as caught:
        hugging_face(name="odd")
    assert caught.value.found == "the splits fold1, fold2"
    data = hugging_face(name="odd", train="fold2", split=(0.5, 0.5))
    assert sum(counts(data).values()) == 4
    assert any("fold1" in note for note in data.notes)


def test_labels_that_are_kept_secret(tmp_path):
    feature = datasets.ClassLabel(names=["cat", "dog"])
    secret = table(50, 4).remove_columns("kind").add_column("kind", [-1] * 4)
    secret = secret.cast_column("kind", feature)
    datasets.DatasetDict({"train": table(), "test": secret}).save_to_disk(tmp_path / "x")
    data = hugging_face(name="x", split=(0.6, 0.4))
    assert counts(data) == {"train": 6, "val": 4}
    assert any("test has no labels" in note for note in data.notes)
    some = table().remove_columns("kind").add_column("kind", [-1, 1, 0, 1, None, 1, 0, 1, 0, 1])
    some.cast_column("kind", feature).save_to_disk(tmp_path / "y")
    with pytest.raises(DataError, match=r"train/0: no label(.|\n)*train/4: no label"):
        hugging_face(name="y")
    data = hugging_face(name="y", on_bad="skip", split=(0.5, 0.5))
    assert sum(counts(data).values()) == 8
    assert set(data.bad) == {"train/0", "train/4"}


def test_classes_that_train_lacks_are_an_error(tmp_path):
    train = table().filter(lambda row: row["kind"] == 0)
    datasets.DatasetDict({"train": train, "test": table()}).save_to_disk(tmp_path / "x")
    with pytest.raises(DataError, match="test has images of dog, which train has none of"):
        hugging_face(name="x")


def test_images_that_cannot_be_read(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "elsewhere.png"
    picture(1).save(path)
    content = path.read_bytes()
    cells = [{"bytes": content, "path": None}] * 6
    cells += [{"bytes": b"junk", "path": None}, {"bytes": None, "path": "elsewhere.png"},
              {"bytes": None, "path": "/gone.png"}, {"bytes": None, "path": str(path)}]  # fmt: skip
    pq.write_table(pa.table({"image": cells, "label": ["a", "b"] * 5}), tmp_path / "x.parquet")
    with pytest.raises(DataError) as caught:
        hugging_face(name="x.parquet")
    assert caught.value.what.startswith("3 of 10 images")
    assert all(f"train/{row}:" in caught.value.what for row in (6, 7, 8))
    data = hugging_face(name="x.parquet", on_bad="skip", split=(0.5, 0.5))
    assert sum(counts(data).values()) == 7


def test_the_fingerprint_tells_changes(tmp_path):
    def mark(data, **options):
        data.save_to_disk(tmp_path / "x")
        return hugging_face(name="x", split=(0.5, 0.5), **options).fingerprint

    first = mark(table())
    assert mark(table()) == first
    assert mark(table(), seed=1) != first
    assert mark(table(1)) != first
    assert mark(table(names=("cat", "cow"))) != first
    assert mark(table().select(range(9))) != first


def test_a_large_header_is_read_on():
    content = BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "x" * 40_000
    picture(3).save(content, "JPEG", exif=exif)
    cells = [{"bytes": content.getvalue(), "path": None}]
    features = datasets.Features(image=datasets.Image())
    made = datasets.Dataset.from_dict({"image": cells}, features=features).with_format("arrow")
    images = HubImages(table=made, column="image", rows_N=np.array([0]), split="train")
    assert images.peek(0)[0] == 6


def test_code_of_a_data_set_is_refused(tmp_path):
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "evil.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')\n")
    with pytest.raises((RefusedError, DataError)):
        hugging_face(name="evil")
    assert not (tmp_path / "canary").exists()


def test_names_that_are_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.csv").write_text("a,b\n")
    for name, error in (
        ("empty", DataError),
        ("x.csv", DataError),
        ("./nothing", DataError),
        ("a/b/c", DataError),
        ("no file.parquet", DataError),
        ("csv", UsageError),
        ("pandas", UsageError),
        (None, UsageError),
    ):
        with pytest.raises(error):
            hugging_face(name=name)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "dataset_dict.json").write_text(json.dumps({"splits": ["train"]}))
    with pytest.raises((DataError, MachineError)):
        hugging_face(name="damaged")


def test_offline_never_tries_and_says_what_to_do():
    with pytest.raises(MachineError) as caught:
        hugging_face(name="beans")
    assert caught.value.exit_code == 6
    assert "ZOO_OFFLINE" in caught.value.what
    assert "save_to_disk" in caught.value.hint


def test_what_the_library_has_in_its_cache_is_taken_offline(tmp_path):
    table().to_parquet(tmp_path / "x.parquet")
    hugging_face(name="x.parquet")  # leaves the files that a download leaves, under another name
    (info,) = (tmp_path / "hf-cache" / "parquet").rglob("dataset_info.json")
    place = tmp_path / "hf-cache" / "user___fruit" / "default" / "0.0.0" / "abc"
    place.mkdir(parents=True)
    told = json.loads(info.read_text()) | {"dataset_name": "fruit", "config_name": "default"}
    (place / "dataset_info.json").write_text(json.dumps(told))
    (info.parent / "parquet-train.arrow").rename(place / "fruit-train.arrow")
    data = hugging_face(name="user/fruit", split=(0.6, 0.4))
    assert counts(data) == {"train": 6, "val": 4}
    assert data.name == "user/fruit"


def test_no_network_is_told_at_once(monkeypatch):
    monkeypatch.setenv("ZOO_OFFLINE", "0")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens
    with pytest.raises(MachineError, match="no network"):
        hugging_face(name="beans")


def test_a_portals_page_in_the_place_of_the_hub_is_told(monkeypatch):
    class Portal(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.wfile.write(b"<html>\x1b[31mlog in first</html>\r\n")

        def log_message(self, *_):
            pass

    monkeypatch.setenv("ZOO_OFFLINE", "0")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Portal) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", address)
        try:
            with pytest.raises(MachineError, match=r"no network \(BadStatusLine: <html>\\x1b"):
                hugging_face(name="beans")
        finally:
            server.shutdown()
            thread.join()


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(PluginError) as caught:
        hugging_face(name="beans")
    assert caught.value.hint == "pip install 'classifier-zoo[hf]'"
