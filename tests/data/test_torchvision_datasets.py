"""torchvision's data sets by name: its own images and labels, and no half downloads."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torchvision.datasets
from torchvision_files import BUILDERS, put
from torchvision_reading import SPLIT, contents, needed, read, trust

from zoo.errors import DataError, MachineError, RefusedError, UsageError
from zoo.plugin import fold
from zoo.registry import build as build_choice
from zoo.registry import parse_choice
from zoo_torchvision._datasets import EXCLUDED, KNOWN, dataset_components

ARGUMENTS = {
    "emnist": {"split": "letters"},
    "imagenette": {"size": "160px"},
    "inaturalist": {"version": "2021_train_mini"},
    "places365": {"small": True},
}
"""What makes torchvision itself read the same."""


@pytest.fixture
def trusted(monkeypatch):
    trust(monkeypatch)


def own_objects(name, root):
    """What torchvision itself makes of the files, by split."""
    known = KNOWN[name]
    create = getattr(torchvision.datasets, known.cls)
    made = {
        ours: create(root=str(root), **{**ARGUMENTS.get(name, {}), **arguments},
                     **({"download": False} if known.fetches else {}))
        for ours, arguments in known.splits.items()
    }  # fmt: skip
    if name == "inaturalist":
        made["val"] = create(root=str(root), version="2021_valid")
    return made


def test_every_class_of_torchvision_is_known_or_left_out_for_a_reason():
    known = {entry.cls for entry in KNOWN.values()} | {"ImageNet"}
    there = set(torchvision.datasets.__all__) | {"ImageNet"}
    assert there - known == set(EXCLUDED) & there
    assert not known & set(EXCLUDED)
    assert known <= there
    assert set(BUILDERS) == set(KNOWN)
    assert all(EXCLUDED.values())


def test_the_table_is_read_without_torchvision():
    code = (
        "import sys; from zoo_torchvision._datasets import dataset_components as c\n"
        "print(len(list(c())), sorted({'torch', 'torchvision', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == f"{len(KNOWN)} []"


def test_names_are_unique():
    names = [fold(n) for c in dataset_components() for n in (c.name, *c.aliases)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", KNOWN)
def test_images_and_labels_are_those_of_torchvision(name, tmp_path, trusted):
    needed(name)
    BUILDERS[name](tmp_path)
    data = read(name, tmp_path)
    assert {"train", "val"} <= set(data.splits)
    assert data.name == name
    if name.startswith("cifar"):
        return  # its own test: torchvision would compare checksums and unpickle
    if name == "celeba":
        return  # its own test: several labels
    official = own_objects(name, tmp_path)
    names_of: dict[int, set[str]] = {}
    for theirs, made in official.items():
        parts = [theirs]
        if theirs == "train":
            parts = [part for part in data.splits if part == "train" or part not in official]
        found = {}
        for part in parts:
            split = data.splits[part]
            labels = [data.classes[label] for label in split.labels_N]
            for content, label in zip(contents(split), labels, strict=True):
                assert content not in found
                found[content] = label
        assert len(found) == len(made)
        for index in range(len(made)):
            image, label = made[index]
            array = np.asarray(image.convert("RGB"))
            if KNOWN[name].sideways:
                array = array.swapaxes(0, 1)
            names_of.setdefault(int(label), set()).add(found[array.tobytes()])
    # The same classes: a name for each of torchvision's numbers, and each name once.
    assert all(len(names) == 1 for names in names_of.values())
    used = [names.pop() for _, names in sorted(names_of.items())]
    assert sorted(used) == sorted(data.classes)
    own = getattr(official["train"], "classes", None) or getattr(
        official["train"], "categories", None
    )
    if name not in ("imagenet", "imagenette", "places365") and own:
        assert used == [own[label] for label in sorted(names_of)]


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("mnist", ("0 - zero", "1 - one", "2 - two", "3 - three")),
        ("emnist", ("a", "b", "c", "d")),
        ("usps", ("0", "1", "2", "3")),
        ("fer2013", ("angry", "disgust", "fear", "happy")),
        ("gtsrb", ("0", "1")),
        ("oxford-iiit-pet", ("Abyssinian", "Great Dane")),
        ("imagenet", ("crane (n01)", "tench", "crane (n03)")),
        ("places365", ("airfield", "zen_garden")),
        ("omniglot", ("Arcadian/character01", "Greek/character01", "Greek/character02")),
        ("clevr-count", ("3", "4")),
        ("lfw-people", ("Ada_Lovelace", "Emmy_Noether")),
        ("inaturalist", ("00000_A_B_C_D_E_f_g", "00001_A_B_C_D_E_f_h")),
        ("cifar10", ("ant", "bee", "cow", "dog")),
    ],
)
def test_classes(name, classes, tmp_path, trusted):
    BUILDERS[name](tmp_path)
    assert read(name, tmp_path).classes == classes


def test_cifar_is_read_without_unpickling(tmp_path):
    BUILDERS["cifar10"](tmp_path)
    data = read("cifar10", tmp_path)
    assert {n: len(s.images) for n, s in data.splits.items()} == {"train": 13, "val": 7, "test": 8}
    from torchvision_files import pixels

    assert contents(data.splits["test"])[3] == pixels(103, 32, 32).tobytes()
    assert data.splits["test"].labels_N.tolist() == [0, 1, 2, 3] * 2
    evil = tmp_path / "cifar-10-batches-py" / "data_batch_2"
    evil.write_bytes(b"cos\nsystem\n(S'touch " + os.fsencode(tmp_path / "canary") + b"'\ntR.")
    with pytest.raises(RefusedError):
        read("cifar10", tmp_path)
    assert not (tmp_path / "canary").exists()


def test_cifar100_has_two_kinds_of_labels(tmp_path):
    BUILDERS["cifar100"](tmp_path)
    assert read("cifar100", tmp_path).classes == ("ant", "bee", "cow", "dog")
    assert read("cifar100", tmp_path, labels="coarse").classes == ("x", "y")


def test_celeba_has_several_labels_an_image(tmp_path, trusted):
    BUILDERS["celeba"](tmp_path)
    data = read("celeba", tmp_path)
    assert data.multi_label
    assert data.classes == ("Bald", "Smiling", "Young")
    assert {n: len(s.images) for n, s in data.splits.items()} == {"train": 6, "val": 3, "test": 3}
    made = torchvision.datasets.CelebA(str(tmp_path), split="test")
    np.testing.assert_array_equal(data.splits["test"].targets_NK, made.attr.numpy())
    assert contents(data.splits["test"])[0] == np.asarray(made[0][0]).tobytes()


def test_by_its_component(registry, tmp_path):
    BUILDERS["mnist"](tmp_path)
    for text in ("torchvision/mnist", "mnist"):
        choice = parse_choice(registry, "dataset", f"{text}:root={tmp_path},download=false")
        data = build_choice(choice, seed=0, split=SPLIT, on_bad="fail")
        assert len(data.splits["test"].images) == 8
    BUILDERS["emnist"](tmp_path)
    choice = parse_choice(registry, "dataset", f"emnist:root={tmp_path},subset=letters")
    assert "a" in build_choice(choice, seed=0, split=SPLIT, on_bad="fail").classes


def test_the_seed_and_fractions_make_the_validation_split(tmp_path):
    BUILDERS["mnist"](tmp_path)
    one, same = read("mnist", tmp_path), read("mnist", tmp_path)
    other = read("mnist", tmp_path, seed=5)
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert set(contents(one.splits["val"])) != set(contents(other.splits["val"]))


def test_bad_images_are_named_or_skipped(tmp_path):
    BUILDERS["eurosat"](tmp_path)
    folder = tmp_path / "eurosat" / "2750" / "ant"
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "empty.jpg").touch()
    with pytest.raises(DataError, match=r"2 of 22 images(.|\n)*broken.jpg(.|\n)*empty.jpg"):
        read("eurosat", tmp_path)
    data = read("eurosat", tmp_path, on_bad="skip")
    assert sum(len(split.images) for split in data.splits.values()) == 20
    assert len(data.bad) == 2


def test_order_does_not_come_from_the_disk(tmp_path, monkeypatch):
    BUILDERS["sun397"](tmp_path / "a")
    (tmp_path / "b" / "SUN397").mkdir(parents=True)
    (tmp_path / "b" / "SUN397" / "ClassName.txt").write_text("/a/abbey\n/z/zoo/indoor\n")
    for number in reversed(range(20)):
        place = ("a/abbey", "z/zoo/indoor")[number % 2]
        put(tmp_path / "b" / "SUN397" / place / f"sun_{number:03}.jpg", number)
    one, other = read("sun397", tmp_path / "a"), read("sun397", tmp_path / "b")
    assert one.fingerprint == other.fingerprint
    for name in one.splits:
        assert contents(one.splits[name]) == contents(other.splits[name])


def test_arguments_that_do_not_go_together(tmp_path):
    BUILDERS["inaturalist"](tmp_path)
    with pytest.raises(UsageError, match="do not go together"):
        read("inaturalist", tmp_path, level="super")
    with pytest.raises(UsageError, match="coarse"):
        read("cifar10", tmp_path, labels="coarse")


def test_damaged_files_are_no_traceback(tmp_path):
    BUILDERS["mnist"](tmp_path)
    (tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03abc")
    with pytest.raises((DataError, MachineError)):
        read("mnist", tmp_path)
