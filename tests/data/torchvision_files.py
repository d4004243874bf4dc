"""Tiny files of every torchvision data set in the table, where torchvision expects them."""

from __future__ import annotations

import bz2
import csv
import json
import pickle
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image


def pixels(number: int, height: int = 8, width: int = 9) -> np.ndarray:
    """A picture that no other number has, without symmetry."""
    picture = np.full((height, width, 3), number % 251, dtype=np.uint8)
    picture[0, 1] = (number // 251, 255, 7)
    picture[2, 0] = (3, number % 251, 200)
    return picture


def grey(number: int, side: int = 6) -> np.ndarray:
    picture = np.full((side, side), number % 251, dtype=np.uint8)
    picture[0, 1], picture[2, 0] = 255, 17
    return picture


def put(path: Path, number: int, *, colour: bool = True) -> None:
    """Writes a picture without loss, whatever the suffix says: readers go by content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(number) if colour else grey(number)).save(path, "PNG")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def idx(path: Path, array: np.ndarray, code: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(">HBB", 0, code, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(head + array.astype(">u1" if code == 8 else ">i4").tobytes())


def stack(first: int, count: int, side: int = 6) -> np.ndarray:
    return np.stack([grey(first + index, side) for index in range(count)])


def _mnist(folder: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        for part, first, count in (("train", 0, 20), ("t10k", 60, 8)):
            idx(root / folder / "raw" / f"{part}-images-idx3-ubyte", stack(first, count))
            idx(root / folder / "raw" / f"{part}-labels-idx1-ubyte", np.arange(count) % 4)

    return make


def _qmnist(root: Path) -> None:
    for part, first, count in (("train", 0, 20), ("test", 60, 8)):
        raw = root / "QMNIST" / "raw"
        labels = np.zeros((count, 8), dtype=np.int64)
        labels[:, 0] = np.arange(count) % 4
        idx(raw / f"qmnist-{part}-images-idx3-ubyte", stack(first, count))
        idx(raw / f"qmnist-{part}-labels-idx2-int", labels, 12)


def _emnist(root: Path) -> None:
    for part, first, count in (("train", 0, 20), ("test", 60, 8)):
        raw = root / "EMNIST" / "raw"
        idx(raw / f"emnist-letters-{part}-images-idx3-ubyte", stack(first, count))
        idx(raw / f"emnist-letters-{part}-labels-idx1-ubyte", 1 + np.arange(count) % 4)


def _usps(root: Path) -> None:
    for name, first, count in (("usps.bz2", 0, 20), ("usps.t.bz2", 60, 8)):
        lines = []
        for index in range(count):
            values = grey(3 * (first + index), 16).reshape(-1) / 127.5 - 1
            cells = " ".join(f"{i + 1}:{value:.6f}" for i, value in enumerate(values))
            lines.append(f"{index % 4 + 1} {cells} \n")
        (root / name).write_bytes(bz2.compress("".join(lines).encode()))


def _semeion(root: Path) -> None:
    lines = []
    for index in range(20):
        bits = [int(bit) for bit in f"{index:0256b}"]
        label = [int(index % 4 == place) for place in range(10)]
        lines.append(" ".join(f"{value:.4f}" for value in bits) + " " + " ".join(map(str, label)))
    write(root / "semeion.data", "\n".join(lines))


def _cifar(folder: str, names: Mapping[str, int], key: str, meta: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        (root / folder).mkdir(parents=True)
        first = 0
        for name, count in names.items():
            rows = np.stack(
                [pixels(first + i, 32, 32).transpose(2, 0, 1).reshape(-1) for i in range(count)]
            )
            batch = {b"data": rows, key.encode(): [i % 4 for i in range(count)]}
            if key == "fine_labels":
                batch[b"coarse_labels"] = [i % 2 for i in range(count)]
            (root / folder / name).write_bytes(pickle.dumps(batch, protocol=2))
            first += 20
        words = ["ant", "bee", "cow", "dog"]
        told = {
            b"label_names": words,
            b"fine_label_names": words,
            b"coarse_label_names": ["x", "y"],
        }
        (root / folder / meta).write_bytes(pickle.dumps(told, protocol=2))

    return make


def _svhn(root: Path) -> None:
    from scipy.io import savemat

    for part, first, count in (("train", 0, 20), ("test", 60, 8)):
        images = np.stack([pixels(first + i, 32, 32) for i in range(count)], axis=-1)
        labels = np.array([[i % 4 or 10] for i in range(count)], dtype=np.uint8)
        savemat(root / f"{part}_32x32.mat", {"X": images, "y": labels})


def _stl10(root: Path) -> None:
    folder = root / "stl10_binary"
    folder.mkdir()
    for part, first, count in (("train", 0, 20), ("test", 60, 8)):
        images = np.stack([pixels(first + i, 96, 96).transpose(2, 1, 0) for i in range(count)])
        images.tofile(folder / f"{part}_X.bin")
        (1 + np.arange(count) % 4).astype(np.uint8).tofile(folder / f"{part}_y.bin")
    (folder / "unlabeled_X.bin").write_bytes(b"")
    write(folder / "class_names.txt", "ant\nbee\ncow\ndog\n")


def _fer2013(root: Path) -> None:
    (root / "fer2013").mkdir()
    with (root / "fer2013" / "fer2013.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["emotion", "pixels", "Usage"])
        for part, first, count in (("Training", 0, 20), ("PublicTest", 60, 8)):
            for index in range(count):
                rows.writerow([index % 4, " ".join(map(str, grey(first + index, 48).flat)), part])


def _pcam(root: Path) -> None:
    import h5py

    (root / "pcam").mkdir()
    for part, first, count in (("train", 0, 20), ("valid", 40, 8), ("test", 60, 8)):
        prefix = root / "pcam" / f"camelyonpatch_level_2_split_{part}"
        with h5py.File(f"{prefix}_x.h5", "w") as file:
            file["x"] = np.stack([pixels(first + i, 96, 96) for i in range(count)])
        with h5py.File(f"{prefix}_y.h5", "w") as file:
            file["y"] = (np.arange(count) % 2).reshape(-1, 1, 1, 1).astype(np.uint8)


def _pets(root: Path) -> None:
    folder, number = root / "oxford-iiit-pet", 0
    for part, count in (("trainval", 20), ("test", 8)):
        lines = []
        for index in range(count):
            breed = ("Abyssinian", "great_dane")[index % 2]
            put(folder / "images" / f"{breed}_{number}.jpg", number)
            lines.append(f"{breed}_{number} {index % 2 + 1} {index % 2 + 1} 1")
            number += 1
        write(folder / "annotations" / f"{part}.txt", "\n".join(lines) + "\n")


def _flowers102(root: Path) -> None:
    from scipy.io import savemat

    folder = root / "flowers-102"
    for number in range(1, 29):
        put(folder / "jpg" / f"image_{number:05}.jpg", number)
    savemat(folder / "imagelabels.mat", {"labels": [1 + number % 2 for number in range(1, 29)]})
    ids = {"trnid": range(1, 13), "valid": range(13, 21), "tstid": range(21, 29)}
    savemat(folder / "setid.mat", {key: list(value) for key, value in ids.items()})


def _food101(root: Path) -> None:
    number = 0
    for part, count in (("train", 10), ("test", 4)):
        told: dict[str, list[str]] = {"waffles": [], "apple_pie": []}
        for name, listed in told.items():
            for _ in range(count):
                put(root / "food-101" / "images" / name / f"{number}.jpg", number)
                listed.append(f"{name}/{number}")
                number += 1
        write(root / "food-101" / "meta" / f"{part}.json", json.dumps(told))


def _dtd(root: Path) -> None:
    folder, number = root / "dtd" / "dtd", 0
    for part in ("train", "val", "test"):
        lines = []
        for index in range(8):
            name = ("zigzagged", "banded")[index % 2]
            put(folder / "images" / name / f"{name}_{number}.jpg", number)
            lines.append(f"{name}/{name}_{number}.jpg")
            number += 1
        write(folder / "labels" / f"{part}1.txt", "\n".join(lines) + "\n")


def _folders(*tops: str, names: tuple[str, ...] = ("bee", "ant"), suffix: str = "jpg",
             file: str = "", colour: bool = True) -> Callable[[Path], None]:  # fmt: skip
    """Images in TOP/NAME/, ten in the first top and four in the others."""

    def make(root: Path) -> None:
        number = 0
        for top in tops:
            for name in names:
                for index in range(10 if top == tops[0] else 4):
                    stem = file.format(name=name, index=index + 1) or f"{number}"
                    put(root / top / name / f"{stem}.{suffix}", number, colour=colour)
                    number += 1

    return make


def _aircraft(root: Path) -> None:
    data, number = root / "fgvc-aircraft-2013b" / "data", 0
    write(data / "variants.txt", "Yak-42\n707-320\n")
    for part in ("train", "val", "test"):
        lines = []
        for index in range(8):
            put(data / "images" / f"{number:07}.jpg", number)
            lines.append(f"{number:07} {('Yak-42', '707-320')[index % 2]}")
            number += 1
        write(data / f"images_variant_{part}.txt", "\n".join(lines) + "\n")


def _cars(root: Path) -> None:
    from scipy.io import savemat

    folder, number = root / "stanford_cars", 0
    places = {"train": folder / "devkit" / "cars_train_annos.mat",
              "test": folder / "cars_test_annos_withlabels.mat"}  # fmt: skip
    (folder / "devkit").mkdir(parents=True)
    for part, place in places.items():
        told = np.zeros(10, dtype=[("fname", object), ("class", np.int64)])
        for index in range(10):
            put(folder / f"cars_{part}" / f"{number:05}.jpg", number)
            told[index] = (f"{number:05}.jpg", index % 2 + 1)
            number += 1
        savemat(place, {"annotations": told})
    names = np.array(["Audi A4", "VW Golf"], dtype=object)
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": names})


def _gtsrb(root: Path) -> None:
    _folders("gtsrb/GTSRB/Training", names=("00000", "00001"), suffix="ppm")(root)
    lines = ["Filename;Width;ClassId"]
    for index in range(6):
        put(root / "gtsrb" / "GTSRB" / "Final_Test" / "Images" / f"{index:05}.ppm", 50 + index)
        lines.append(f"{index:05}.ppm;9;{index % 2}")
    write(root / "gtsrb" / "GT-final_test.csv", "\n".join(lines) + "\n")


def _caltech256(root: Path) -> None:
    number = 0
    for label, name in enumerate(("001.ak47", "002.bee")):
        for index in range(10):
            folder = root / "caltech256" / "256_ObjectCategories" / name
            put(folder / f"{label + 1:03}_{index + 1:04}.jpg", number)
            number += 1


def _caltech101(root: Path) -> None:
    folder = "caltech101/101_ObjectCategories"
    names = ("ant", "BACKGROUND_Google", "bonsai")
    _folders(folder, names=names, file="image_{index:04}")(root)


def _imagenet(root: Path) -> None:
    # Two classes of one name, as there are two kinds of crane.
    _folders("train", "val", names=("n01", "n02", "n03"), suffix="JPEG")(root)
    told = {"n01": ("crane",), "n02": ("tench", "Tinca tinca"), "n03": ("crane",)}
    torch.save((told, []), root / "meta.bin")


def _species(root: Path) -> None:
    names = ("00000_A_B_C_D_E_f_g", "00001_A_B_C_D_E_f_h")
    _folders("2021_train_mini", "2021_valid", names=names)(root)


def _places365(root: Path) -> None:
    write(root / "categories_places365.txt", "/a/airfield 0\n/z/zen_garden 1\n")
    number = 0
    for part, folder in (("train_standard", "data_256_standard"), ("val", "val_256")):
        lines = []
        for index in range(10):
            put(root / folder / "a" / f"{number}.jpg", number)
            lines.append(f"/a/{number}.jpg {index % 2}")
            number += 1
        write(root / f"places365_{part}.txt", "\n".join(lines) + "\n")


def _sun397(root: Path) -> None:
    write(root / "SUN397" / "ClassName.txt", "/a/abbey\n/z/zoo/indoor\n")
    for number in range(20):
        place = ("a/abbey", "z/zoo/indoor")[number % 2]
        put(root / "SUN397" / place / f"sun_{number:03}.jpg", number)


def _lfw(root: Path) -> None:
    folder = root / "lfw-py"
    names = ("Ada_Lovelace", "Emmy_Noether")
    _folders("lfw-py/lfw_funneled", names=names, file="{name}_{index:04}")(root)
    write(folder / "lfw-funneled.tgz", "")
    write(folder / "lfw-names.txt", "".join(f"{name}\t10\n" for name in names))
    write(folder / "people.txt", f"2\n1\n{names[0]}\t10\n1\n{names[1]}\t10\n")


def _omniglot(root: Path) -> None:
    folder = "omniglot-py/images_background"
    names = ("Greek/character01", "Greek/character02", "Arcadian/character01")
    _folders(folder, names=names, suffix="png", colour=False)(root)
    write(root / f"{folder}.zip", "")


def _celeba(root: Path) -> None:
    folder = root / "celeba"
    parts, told, other = [], ["12", "Bald Smiling Young "], []
    for number in range(12):
        name = f"{number:06}.jpg"
        put(folder / "img_align_celeba" / name, number)
        parts.append(f"{name} {0 if number < 6 else 1 if number < 9 else 2}")
        told.append(name + "".join(f" {1 if number >> bit & 1 else -1}" for bit in range(3)))
        other.append(f"{name} 1")
    for name, lines in (("list_eval_partition", parts), ("list_attr_celeba", told),
                        ("identity_CelebA", other), ("list_bbox_celeba", ["12", "x", *other]),
                        ("list_landmarks_align_celeba", ["12", "x", *other])):  # fmt: skip
        write(folder / f"{name}.txt", "\n".join(lines) + "\n")


def _clevr(root: Path) -> None:
    folder, number = root / "clevr" / "CLEVR_v1.0", 0
    for part in ("train", "val"):
        scenes = []
        for index in range(10):
            put(folder / "images" / part / f"CLEVR_{part}_{number:06}.png", number)
            scenes.append({"image_filename": f"CLEVR_{part}_{number:06}.png",
                           "objects": [{}] * (3 + index % 2)})  # fmt: skip
            number += 1
        write(folder / "scenes" / f"CLEVR_{part}_scenes.json", json.dumps({"scenes": scenes}))


_BATCHES = {f"data_batch_{n}": 4 for n in range(1, 6)} | {"test_batch": 8}
BUILDERS: Mapping[str, Callable[[Path], None]] = {
    "mnist": _mnist("MNIST"),
    "fashion-mnist": _mnist("FashionMNIST"),
    "kmnist": _mnist("KMNIST"),
    "qmnist": _qmnist,
    "emnist": _emnist,
    "usps": _usps,
    "semeion": _semeion,
    "cifar10": _cifar("cifar-10-batches-py", _BATCHES, "labels", "batches.meta"),
    "cifar100": _cifar("cifar-100-python", {"train": 20, "test": 8}, "fine_labels", "meta"),
    "svhn": _svhn,
    "stl10": _stl10,
    "fer2013": _fer2013,
    "pcam": _pcam,
    "oxford-iiit-pet": _pets,
    "flowers102": _flowers102,
    "food101": _food101,
    "dtd": _dtd,
    "eurosat": _folders("eurosat/2750"),
    "fgvc-aircraft": _aircraft,
    "stanford-cars": _cars,
    "gtsrb": _gtsrb,
    "caltech101": _caltech101,
    "caltech256": _caltech256,
    "country211": _folders("country211/train", "country211/valid", "country211/test"),
    "rendered-sst2": _folders(
        "rendered-sst2/train", "rendered-sst2/valid", "rendered-sst2/test",
        names=("negative", "positive"), suffix="png",
    ),
    "imagenette": _folders(
        "imagenette2-160/train", "imagenette2-160/val", names=("n01440764", "n02102040"),
        suffix="jpeg",
    ),
    "imagenet": _imagenet,
    "inaturalist": _species,
    "places365": _places365,
    "sun397": _sun397,
    "lfw-people": _lfw,
    "omniglot": _omniglot,
    "celeba": _celeba,
    "clevr-count": _clevr,
}  # fmt: skip
"""What writes the files of each data set below a root."""
