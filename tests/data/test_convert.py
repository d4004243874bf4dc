"""Import and export: what goes out comes back, whatever the names, and nothing half done stays."""

from __future__ import annotations

import csv
import json
import os
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import zoo.api
from zoo.data.exchange.convert import export_images, import_images
from zoo.data.exchange.safe_names import SafeNames
from zoo.data.reading.folder import read_folder
from zoo.data.reading.idx import read_idx_file
from zoo.data.reading.manifest import read_manifest
from zoo.data.reading.packed import StackedImages
from zoo.data.reading.sources import read_path
from zoo.data.subset import subset
from zoo.errors import DataError, MachineError, UsageError
from zoo.protocols import DataSet, Split

GENERATOR = np.random.default_rng(11)


class Named:
    """Images in memory with any names."""

    def __init__(self, pixels, names):
        self.all, self.names = pixels, names

    def __len__(self):
        return len(self.names)

    def read(self, index):
        return Image.fromarray(self.all[index]).convert("RGB")

    def name(self, index):
        return self.names[index]


def stacked(classes=("ant", "bee", "cat"), *, colour=False, count=9, side=(6, 5), **more):
    """A data set of arrays with every class in every split."""
    splits = {}
    for split in ("train", "val", "test"):
        shape = (count, *side, 3) if colour else (count, *side)
        pixels = GENERATOR.integers(0, 256, shape, dtype=np.uint8)
        names = [f"{split}-{index}" for index in range(count)]
        splits[split] = Split(
            images=StackedImages(pixels=pixels, names=names),
            labels_N=np.arange(count) % len(classes),
            **{key: value(count) for key, value in more.items() if key.endswith(("_N", "_NK"))},
        )
    return DataSet(name="made", classes=tuple(classes), splits=splits, fingerprint="",
                   multi_label=more.get("multi_label", False))  # fmt: skip


def contents(data):
    """Returns split -> the sorted (pixels, class) pairs."""
    return {
        split: sorted(
            (np.asarray(part.images.read(i)).tobytes(), data.classes[part.labels_N[i]])
            for i in range(len(part.images))
        )
        for split, part in data.splits.items()
    }


def by_pixels(part, values):
    """Returns what belongs to each image, whatever the order of the images."""
    return {
        np.asarray(part.images.read(index)).tobytes(): np.asarray(value).tolist()
        for index, value in enumerate(values)
    }


def picture_sizes(folder):
    sizes = set()
    for path in folder.rglob("*.png"):
        with Image.open(path) as image:
            sizes.add(image.size)
    return sizes


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("format", ["png", "webp"])
def test_an_import_comes_back(tmp_path, colour, format):
    data = stacked(colour=colour)
    told = []
    written = import_images(data, tmp_path / "out", format=format,
                            progress=lambda done, total: told.append((done, total)))  # fmt: skip
    assert written.path == tmp_path / "out"
    assert dict(written.splits) == {"train": 9, "val": 9, "test": 9}
    assert (written.num_images, written.num_classes, written.notes) == (27, 3, ())
    assert told[-1] == (27, 27)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "classes.json",
        "test",
        "train",
        "val",
    ]
    assert (tmp_path / "out" / "val" / "bee" / f"val-1.{format}").is_file()
    back = read_path(tmp_path / "out", seed=0)
    assert back.classes == data.classes
    assert contents(back) == contents(data)
    assert not back.notes


def test_a_jpeg_import_is_near(tmp_path):
    pixels = np.full((4, 16, 16, 3), (200, 60, 30), dtype=np.uint8)
    split = Split(images=Named(pixels, ["a", "b", "c", "d"]), labels_N=np.array([0, 1, 0, 1]))
    data = DataSet(name="x", classes=("p", "q"), splits={"train": split, "val": split},
                   fingerprint="")  # fmt: skip
    import_images(data, tmp_path / "out", format="jpg")
    with Image.open(tmp_path / "out" / "train" / "p" / "a.jpg") as image:
        assert image.format == "JPEG"
        assert np.abs(np.asarray(image).astype(int) - pixels[0]).max() <= 2


@pytest.mark.parametrize(
    ("side", "size", "expected"),
    [
        ((60, 30), 20, (20, 10)),
        ((30, 60), 20, (10, 20)),
        ((9, 9), 20, (9, 9)),
        ((100, 1), 10, (10, 1)),
    ],
)
def test_the_longer_side_becomes_at_most_the_size(tmp_path, side, size, expected):
    data = stacked(side=side[::-1])
    import_images(data, tmp_path / "out", size=size)
    assert picture_sizes(tmp_path / "out") == {expected}


HOSTILE = [
    "../../etc",
    "/absolute",
    "a/b",
    "..",
    ".",
    "",
    ".hidden",
    "-rf",
    "con",
    "NUL.txt",
    "nul\0byte",
    "new\nline",
    "c:\\windows",
    "trailing. ",
    "x" * 300,
    "Cat",
    "cat",
    "cät",
    "ca\u0308t",
    "🦊",
    "\udcff",
    "b\u202eidi",
    "__MACOSX",
    "train",
    "quo'te\"s",
    "*?|<>",
    "name with space",
]


def test_hostile_class_and_file_names_stay_inside_and_come_back(tmp_path):
    pixels = GENERATOR.integers(0, 256, (len(HOSTILE), 4, 4), dtype=np.uint8)
    labels_N = np.arange(len(HOSTILE))
    splits = {s: Split(images=Named(pixels, HOSTILE), labels_N=labels_N) for s in ("train", "val")}
    data = DataSet(name="h", classes=tuple(HOSTILE), splits=splits, fingerprint="")
    (tmp_path / "in").mkdir()
    written = import_images(data, tmp_path / "in" / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    assert [p.name for p in (tmp_path / "in").iterdir()] == ["out"]
    parts = {part for p in (tmp_path / "in" / "out").rglob("*") for part in p.parts}
    folded = [p.name.casefold() for p in (tmp_path / "in" / "out" / "train").iterdir()]
    assert len(set(folded)) == len(HOSTILE)
    assert not parts & {"..", ".", ""}
    assert all(part.isprintable() and len(part.encode()) < 200 for part in parts if part != "/")
    assert "class names are in classes.json" in written.notes[0]
    back = read_folder(tmp_path / "in" / "out", seed=0)
    assert set(back.classes) == set(HOSTILE)
    assert contents(back) == contents(data)
    table = json.loads((tmp_path / "in" / "out" / "classes.json").read_bytes())
    assert table["classes"] == HOSTILE


def test_images_of_one_name_all_stay(tmp_path):
    names = ["a/1.png", "b/1.png", "1.jpg", "1", "1", "1.PNG"]
    pixels = GENERATOR.integers(0, 256, (6, 4, 4), dtype=np.uint8)
    split = Split(images=Named(pixels, names), labels_N=np.array([0, 0, 0, 0, 0, 1]))
    data = DataSet(name="x", classes=("p", "q"), splits={"train": split, "val": split},
                   fingerprint="")  # fmt: skip
    import_images(data, tmp_path / "out")
    assert contents(read_folder(tmp_path / "out", seed=0)) == contents(data)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.characters(), max_size=120), max_size=8))
def test_safe_names(names):
    maker, again = SafeNames(), SafeNames()
    parts = [maker.part(name) for name in names]
    assert parts == [again.part(name) for name in names]
    assert len({part.casefold() for part in parts}) == len(parts)
    for part in parts:
        assert part
        assert part.isprintable()
        assert not re.search(r'[<>:"/\\|?*\0]|^[. ~-]|[. ]$', part)
        assert len(part.encode()) <= 180
        assert part.partition(".")[0].lower() not in ("con", "nul", "com1", "lpt9")
    for name in ("cat", "tabby cat", "Größe 3", "n02123045", "a_b-c.d", "猫"):
        assert SafeNames().part(name) == name


def test_a_used_destination_is_refused(tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("keep")
    (tmp_path / "file").write_text("keep")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "empty").mkdir()
    for name in ("used", "file", "link"):
        with pytest.raises(UsageError, match="is there already"):
            import_images(stacked(), tmp_path / name)
    assert (tmp_path / "used" / "mine.txt").read_text() == "keep"
    import_images(stacked(), tmp_path / "empty")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "file", "link", "used"]
    with pytest.raises(UsageError, match="is there already"):
        export_images(stacked(), tmp_path / "empty")


def test_a_failure_leaves_nothing(tmp_path):
    class Broken(Named):
        def read(self, index):
            if index in (3, 5):
                raise DataError(f"cannot read the image {index}", found="truncated")
            return super().read(index)

    pixels = np.zeros((9, 4, 4), np.uint8)
    split = Split(images=Broken(pixels, [f"{i}" for i in range(9)]), labels_N=np.arange(9) % 2)
    data = DataSet(name="x", classes=("a", "b"), splits={"train": split}, fingerprint="")
    for name in ("out", "out.npz", "out.csv", "idx"):
        convert = import_images if name == "out" else export_images
        with pytest.raises(DataError, match="2 of 9 images") as caught:
            convert(data, tmp_path / name)
        assert "cannot read the image 3: truncated" in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(MachineError, match="cannot be written"):
        import_images(stacked(), tmp_path / "no" / "such" / "place")


def test_a_kill_leaves_no_destination(tmp_path):
    child = os.fork()
    if child == 0:

        def stop(done, total):
            os._exit(137)

        import_images(stacked(count=90), tmp_path / "out", progress=stop)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 137
    assert not (tmp_path / "out").exists()
    assert all(p.name.startswith(".zoo-partial-") for p in tmp_path.iterdir())
    import_images(stacked(), tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("*.png"))) == 27


@pytest.mark.parametrize("size", [0, -1, 10_000])
def test_sizes_out_of_range(tmp_path, size):
    for convert, name in ((import_images, "a"), (export_images, "a.npz")):
        with pytest.raises(UsageError, match="out of range"):
            convert(stacked(), tmp_path / name, size=size)


def test_unknown_forms(tmp_path):
    with pytest.raises(UsageError, match="not written as bmp"):
        import_images(stacked(), tmp_path / "a", format="bmp")
    with pytest.raises(UsageError, match="nothing is exported to"):
        export_images(stacked(), tmp_path / "a.xlsx")


@pytest.mark.parametrize("colour", [False, True])
def test_arrays_come_back(tmp_path, colour):
    data = stacked(("zebra", "ant"), colour=colour)
    export_images(data, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as archive:
        assert archive["train_images"].shape == ((9, 6, 5, 3) if colour else (9, 6, 5))
        assert np.array_equal(archive["val_labels"], data.splits["val"].labels_N)
        assert archive["classes"].tolist() == ["zebra", "ant"]
    back = read_path(tmp_path / "a.npz", seed=0)
    assert back.classes == data.classes
    assert contents(back) == contents(data)


def test_idx_files_come_back(tmp_path):
    data = stacked(("zebra", "ant"))
    export_images(data, tmp_path / "a")
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [
        "classes.txt",
        *(f"{s}-{w}-ubyte.gz" for s in ("t10k", "train", "val") for w in ("images-idx3",
                                                                        "labels-idx1")),
    ]  # fmt: skip
    stored = read_idx_file(tmp_path / "a" / "train-images-idx3-ubyte.gz")
    assert np.array_equal(stored, data.splits["train"].images.pixels)
    back = read_path(tmp_path / "a", seed=0)
    assert back.classes == data.classes
    assert contents(back) == contents(data)


def test_colours_become_grey_in_idx_files_and_that_is_told(tmp_path):
    data = stacked(colour=True)
    written = export_images(data, tmp_path / "a")
    assert written.notes == ("colours became grey: IDX files hold one channel",)
    found = read_idx_file(tmp_path / "a" / "t10k-images-idx3-ubyte.gz")
    for row, pixels in enumerate(data.splits["test"].images.pixels):
        luma = pixels.astype(float) @ (0.299, 0.587, 0.114)
        assert np.abs(found[row] - luma).max() <= 1


def test_a_folder_of_grey_images_becomes_grey_arrays(tmp_path):
    import_images(stacked(), tmp_path / "folder")
    folder = read_folder(tmp_path / "folder", seed=0)
    for name in ("a.npz", "idx"):
        written = export_images(folder, tmp_path / name)
        assert written.notes == ()
        back = read_path(tmp_path / name, seed=0)
        assert back.splits["val"].images.pixels.ndim == 3
        assert contents(back) == contents(folder)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_table_of_a_folder_names_its_files(tmp_path, name):
    (tmp_path / "in").mkdir()
    import_images(stacked(colour=True), tmp_path / "in" / "folder")
    folder = read_folder(tmp_path / "in" / "folder", seed=0)
    written = export_images(folder, tmp_path / "in" / name)
    assert written.notes == ()
    assert sorted(p.name for p in (tmp_path / "in").iterdir()) == [name, "folder"]
    with (tmp_path / "in" / name).open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t" if name.endswith("tsv") else ","))
    assert rows[0] == ["path", "label", "split"]
    assert rows[1] == ["folder/train/ant/train-0.png", "ant", "train"]
    back = read_path(tmp_path / "in" / name, seed=0)
    assert back.classes == folder.classes
    assert contents(back) == contents(folder)
    (tmp_path / "elsewhere").mkdir()
    far = export_images(folder, tmp_path / "elsewhere" / name)
    assert any("absolute" in note for note in far.notes)
    assert contents(read_path(tmp_path / "elsewhere" / name, seed=0)) == contents(folder)


def test_a_table_of_odd_file_names_comes_back(tmp_path):
    names = ["with space", "new\nline", "quo'te\"s", "emoji 🦊", "-rf", "=1+1", " lead", "a,b;c\td"]
    for label in ("x", "y"):
        (tmp_path / "f" / label).mkdir(parents=True)
        for index, name in enumerate(names):
            Image.new("RGB", (3, 3), (index, 0, 9)).save(tmp_path / "f" / label / f"{name}.png")
    folder = read_folder(tmp_path / "f", seed=0)
    export_images(folder, tmp_path / "a.csv")
    back = read_path(tmp_path / "a.csv", seed=0)
    assert contents(back) == contents(folder)
    Image.new("RGB", (3, 3)).save(tmp_path / "f" / "x" / "plain.png")
    (tmp_path / "f" / "x" / "plain.png").rename(tmp_path / "f" / "x" / "\udcff.png")
    with pytest.raises(UsageError, match="not UTF-8"):
        export_images(read_folder(tmp_path / "f", seed=0), tmp_path / "b.csv")
    assert not (tmp_path / "b.csv").exists()


def test_a_table_of_images_in_memory_writes_them_beside(tmp_path):
    data = stacked()
    export_images(data, tmp_path / "a.csv")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a-images", "a.csv"]
    assert contents(read_path(tmp_path / "a.csv", seed=0)) == contents(data)
    export_images(data, tmp_path / "b.csv", size=3)
    assert picture_sizes(tmp_path / "b-images") == {(2, 3)}
    with pytest.raises(UsageError, match="is there already"):
        export_images(data, tmp_path / "a.csv")


def test_soft_labels_and_weights_come_back_from_a_table(tmp_path):
    data = stacked(
        targets_NK=lambda n: np.full((n, 3), (0.5, 0.25, 0.25), np.float32),
        weights_N=lambda n: np.arange(n, dtype=np.float32) / 3,
    )
    export_images(data, tmp_path / "a.csv")
    back = read_path(tmp_path / "a.csv", seed=0)
    assert back.classes == data.classes
    for split, part in back.splits.items():
        before = data.splits[split]
        assert by_pixels(part, part.targets_NK) == by_pixels(before, before.targets_NK)
        assert by_pixels(part, part.weights_N) == by_pixels(before, before.weights_N)
    for name in ("a.npz", "idx"):
        with pytest.raises(UsageError, match="soft labels"):
            export_images(data, tmp_path / name)
    notes = import_images(data, tmp_path / "folder").notes
    assert any("soft labels were lost" in note for note in notes)
    assert any("weights were lost" in note for note in notes)


def test_groups_come_back_from_a_table(tmp_path):
    data = stacked(groups_N=lambda n: np.arange(n, dtype=np.int64) // 2)
    export_images(data, tmp_path / "a.csv")
    back = read_path(tmp_path / "a.csv", seed=0)
    for split, part in back.splits.items():
        together = part.groups_N[:, None] == part.groups_N
        before = by_pixels(data.splits[split], data.splits[split].groups_N)
        numbers = [before[np.asarray(part.images.read(i)).tobytes()] for i in range(9)]
        assert together.tolist() == np.equal.outer(numbers, numbers).tolist()
    for written in (
        export_images(data, tmp_path / "a.npz"),
        export_images(data, tmp_path / "idx"),
        import_images(data, tmp_path / "folder"),
    ):
        assert any("groups were lost" in note for note in written.notes)


def test_a_table_names_the_files_of_a_part_of_a_folder(tmp_path):
    import_images(stacked(), tmp_path / "folder")
    whole = read_folder(tmp_path / "folder", seed=0)
    some = whole.splits | {"train": subset(whole.splits["train"], np.array([0, 4, 8]))}
    export_images(replace(whole, splits=some), tmp_path / "a.csv")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "folder"]
    back = read_path(tmp_path / "a.csv", seed=0)
    assert contents(back) == contents(replace(whole, splits=some))


def test_several_labels_come_back(tmp_path):
    held = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1]] * 3, np.float32)
    data = stacked(count=12, targets_NK=lambda n: held, multi_label=True)
    with pytest.raises(UsageError, match="several labels an image"):
        import_images(data, tmp_path / "folder")
    with pytest.raises(UsageError, match="cannot be written as IDX"):
        export_images(data, tmp_path / "idx")
    export_images(data, tmp_path / "a.npz")
    written = export_images(data, tmp_path / "a.csv")
    assert f"manifest:path={tmp_path / 'a.csv'},separator=pipe" in written.notes[0]
    table = read_manifest(tmp_path / "a.csv", seed=0, separator="|")
    for back in (read_path(tmp_path / "a.npz", seed=0), table):
        assert back.multi_label
        assert back.classes == data.classes
        for split, part in back.splits.items():
            before = by_pixels(data.splits[split], held)
            assert by_pixels(part, part.targets_NK) == before


@pytest.mark.parametrize("classes", [("a", "b", "c"), ("a|b", "c", "d"), ("a|b", "c;d", "e")])
def test_a_table_of_several_labels_is_read_as_its_note_says(tmp_path, classes):
    held = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1]] * 3, np.float32)
    data = stacked(classes, count=12, targets_NK=lambda n: held, multi_label=True)
    written = export_images(data, tmp_path / "a.csv")
    back = zoo.api.read_data(written.notes[0].partition("--data ")[2])
    assert (back.classes, back.multi_label) == (classes, True)


def test_images_of_different_sizes_need_a_size(tmp_path):
    for label in ("a", "b"):
        (tmp_path / "f" / label).mkdir(parents=True)
        for index in range(10):
            Image.new("RGB", (20 + index, 16), (index * 9, 0, 0)).save(
                tmp_path / "f" / label / f"{index}.png"
            )
    folder = read_folder(tmp_path / "f", seed=0)
    for name in ("a.npz", "idx"):
        with pytest.raises(UsageError, match="of different sizes") as caught:
            export_images(folder, tmp_path / name)
        assert "--size" in str(caught.value)
        export_images(folder, tmp_path / name, size=8)
        back = read_path(tmp_path / name, seed=0)
        assert back.splits["train"].images.pixels.shape[1:3] == (8, 8)


@pytest.mark.parametrize("classes", [("a\nb", "c"), ("", "c"), (" a", "b"), range(257)])
def test_class_names_that_idx_files_cannot_hold(tmp_path, classes):
    data = stacked(tuple(map(str, classes)), count=300 if len(classes) > 2 else 9, side=(2, 2))
    with pytest.raises(UsageError, match="cannot be written as IDX"):
        export_images(data, tmp_path / "a")


def test_class_names_that_a_table_cannot_tell_apart(tmp_path):
    data = stacked((" a", "a", "b"))
    with pytest.raises(UsageError, match="class names with spaces around them"):
        export_images(data, tmp_path / "a.csv")
    export_images(data, tmp_path / "a.npz")
    assert read_path(tmp_path / "a.npz", seed=0).classes == data.classes
