"""The two embedded data sets: what is in them, where it comes from, and that they are intact."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import re
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zoo_datasets
from zoo.data.pixels.decode import open_image
from zoo.data.reading.packed import StackedImages, read_packed
from zoo.errors import DataError, UsageError
from zoo.protocols import Images, PixelImages
from zoo_datasets.embedded import clipart10, fashion_mini
from zoo_datasets.folders import folder

FILES = Path(zoo_datasets.__file__).parent / "files"
SCRIPTS = Path(__file__).parents[2] / "scripts" / "build_datasets"
ORIGINALS = Path("/usr/share/datasets/fashion-mnist")
CLIPART = {
    "animal": (182, 39, 39),
    "building": (40, 8, 8),
    "flag": (210, 45, 45),
    "food": (210, 45, 45),
    "music": (44, 10, 9),
    "people": (134, 29, 29),
    "plant": (56, 12, 12),
    "playing_card": (158, 36, 33),
    "tool": (58, 13, 12),
    "vehicle": (63, 13, 13),
}


@pytest.fixture(scope="module")
def fashion():
    return fashion_mini()


@pytest.fixture(scope="module")
def clipart():
    return clipart10()


@pytest.fixture
def script(monkeypatch):
    """Imports a build script."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield importlib.import_module
    for name in ("pack", "fashion_mini", "clipart10"):
        sys.modules.pop(name, None)


def test_fashion_mini_counts_and_pixels(fashion):
    assert fashion.name == "fashion-mini"
    assert len(fashion.classes) == 10
    for split, count in (("train", 600), ("val", 100), ("test", 100)):
        part = fashion.splits[split]
        assert isinstance(part.images, PixelImages)
        assert part.images.pixels.shape == (count * 10, 28, 28)
        assert part.images.pixels.dtype == np.uint8
        assert not part.images.pixels.flags.writeable
        assert part.labels_N.dtype == np.int64
        assert np.bincount(part.labels_N).tolist() == [count] * 10
        image = part.images.read(7)
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image)[..., 2], part.images.pixels[7])


def test_fashion_mini_has_no_image_twice(fashion):
    every = [image.tobytes() for part in fashion.splits.values() for image in part.images.pixels]
    assert len(set(every)) == len(every) == 8000


@pytest.mark.skipif(not ORIGINALS.is_dir(), reason="needs Debian's dataset-fashion-mnist")
def test_fashion_mini_is_a_part_of_the_original(fashion):
    # The IDX header is 16 bytes before images and 8 before labels.
    original = {
        origin: (
            gzip.decompress((ORIGINALS / f"{origin}-images-idx3-ubyte.gz").read_bytes())[16:],
            gzip.decompress((ORIGINALS / f"{origin}-labels-idx1-ubyte.gz").read_bytes())[8:],
        )
        for origin in ("train", "t10k")
    }
    for split, part in fashion.splits.items():
        for index, label in enumerate(part.labels_N):
            _, origin, row = part.images.name(index).split("/")
            assert origin == ("t10k" if split == "test" else "train")
            pixels, labels = original[origin]
            assert labels[int(row)] == label
            start = int(row) * 784
            assert pixels[start : start + 784] == part.images.pixels[index].tobytes()


@pytest.mark.skipif(not ORIGINALS.is_dir(), reason="needs Debian's dataset-fashion-mnist")
def test_fashion_mini_is_built_again(script, tmp_path, fashion):
    build = script("fashion_mini").build
    assert build(ORIGINALS, tmp_path) == fashion.fingerprint
    # Another deflate may pack the same content differently, so only what is packed is compared.
    with (
        zipfile.ZipFile(tmp_path / "fashion-mini.npz") as built,
        zipfile.ZipFile(FILES / "fashion-mini.npz") as shipped,
    ):
        assert built.namelist() == shipped.namelist()
        for name in built.namelist():
            assert built.read(name) == shipped.read(name)


def test_clipart10_counts_and_pictures(clipart):
    assert clipart.classes == tuple(CLIPART)
    for column, part in enumerate(clipart.splits.values()):
        assert np.bincount(part.labels_N).tolist() == [row[column] for row in CLIPART.values()]
        assert not isinstance(part.images, PixelImages)
        for index in range(len(part.images)):
            image = part.images.read(index)
            assert (image.mode, image.size) == ("RGB", (96, 96))
            # There is something on it.
            assert np.asarray(image).std() > 3, part.images.name(index)


def test_clipart10_split_is_stratified(clipart):
    for counts in CLIPART.values():
        shares = np.array(counts) / sum(counts)
        assert np.abs(shares - [0.7, 0.15, 0.15]).max() < 0.03


def test_clipart10_twins_stay_together(clipart, script):
    tools = script("clipart10")
    names, splits, groups, rows, digests = [], [], [], [], []
    for split, part in clipart.splits.items():
        for index in range(len(part.images)):
            image = part.images.read(index)
            names.append(part.images.name(index))
            splits.append(split)
            groups.append(tools.name_group(names[-1]))
            rows.append(tools.ink(image))
            digests.append(hashlib.sha256(image.tobytes()).digest())
    assert len(set(names)) == len(set(digests)) == sum(map(sum, CLIPART.values()))
    where = {}
    for group, split in zip(groups, splits, strict=True):
        where.setdefault(group, set()).add(split)
    assert {group: found for group, found in where.items() if len(found) > 1} == {}
    # A little below the threshold of the script, which saw the pictures before WebP.
    every, part_of = np.stack(rows), np.array(splits)
    card = np.array([name.startswith("card ") for name in groups])
    for index in range(len(names) - 1):
        near = tools.ink_distances(every[index], every[index + 1 :]) < tools.TWINS - 0.02
        near &= (part_of[index + 1 :] != splits[index]) & ~(card[index + 1 :] & card[index])
        assert not near.any(), (names[index], names[index + 1 + int(near.argmax())])


def test_name_groups(script):
    group = script("clipart10").name_group
    assert (
        group("food/desserts/cone1_bw_ganson.png") == group("food/desserts/cone_alt3.png") == "cone"
    )
    assert group("a/glace_2_jean-victor_bali_01.png") == group("a/glace_01_bw_jean-victor__01.png")
    assert group("cards/white/white_h_10.png") == group("cards/simple/simple_h_10.png")
    assert group("cards/white/white_h_10.png") != group("cards/white/white_h_9.png")
    assert group("tools/simple_shovel_jeff_simps_01.png") == "shovel"


def drawn(path, seed):
    """A picture of a few rectangles on a transparent page, no two alike."""
    random = np.random.default_rng(seed)
    picture = np.zeros((120, 90, 4), dtype=np.uint8)
    for _ in range(6):
        top, left = random.integers(0, 60, 2)
        height, width = random.integers(5, 50, 2)
        picture[top : top + height, left : left + width] = [*random.integers(0, 230, 3), 255]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def words(count):
    """Names without digits, so that each is a group of its own."""
    return [f"{chr(97 + number // 26)}{chr(97 + number % 26)}q" for number in range(count)]


def test_clipart10_script_is_deterministic_and_skips_what_it_says(script, tmp_path):
    tools = script("clipart10")
    source = tmp_path / "png"
    for number, name in enumerate(words(40)):
        drawn(source / "one" / f"{name}_01.png", number)
        drawn(source / "two" / "deep" / f"{name}x.png", 1000 + number)
    drawn(source / "two" / "aaqx_02.png", 5000)
    shutil.copy(source / "one" / "aaq_01.png", source / "one" / "zz_copy.png")
    (source / "one" / "zz_link.png").symlink_to("aaq_01.png")
    (source / "one" / "zz_broken.png").write_bytes(b"\x89PNG")
    Image.new("RGB", (300, 300), "white").save(source / "one" / "zz_blank.png")
    (source / "two" / "not_this.png").write_bytes(b"never opened")
    table = tmp_path / "clipart10.toml"
    table.write_text(
        '[one]\ntake = ["one"]\nleave = []\n[two]\ntake = ["two"]\nleave = ["two/not_*.png"]\n'
    )
    rules = tools.select(source, table)
    results = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        results.append(tools.build(source, tmp_path / name, classes=rules))
        results.append((tmp_path / name / "clipart10.npz").read_bytes())
    assert results[0] == results[2]
    assert results[1] == results[3]
    assert list(results[0][1].values()) == [1, 1, 1, 0]
    data = read_packed(tmp_path / "first" / "clipart10.npz")
    assert data.classes == ("one", "two")
    assert sum(len(part.images) for part in data.splits.values()) == 81
    twins = {"two/aaqx_02.png", "two/deep/aaqx.png"}
    assert any(twins <= set(part.images.names) for part in data.splits.values())


@pytest.mark.parametrize("name", ["fashion-mini", "clipart10"])
def test_the_page_beside_each_file_is_right(name):
    page = (FILES / f"{name}.md").read_text(encoding="utf-8")
    content = (FILES / f"{name}.npz").read_bytes()
    data = read_packed(FILES / f"{name}.npz")
    assert hashlib.sha256(content).hexdigest() in page
    assert f"{len(content):,}" in page
    assert data.fingerprint in page
    for index, label in enumerate(data.classes):
        counts = [int((part.labels_N == index).sum()) for part in data.splits.values()]
        assert "| " + " | ".join([label, *map(str, counts), str(sum(counts))]) + " |" in page
    total = sum(len(part.images) for part in data.splits.values())
    assert f"{total:,}" in page
    assert ("Zalando SE" in page) == (name == "fashion-mini")
    assert "## Licence" in page
    assert "## Provenance" in page


def test_summaries_and_docstrings_state_the_true_count(clipart):
    total = f"{sum(len(part.images) for part in clipart.splits.values()):,}"
    summaries = {item.name: item.summary for item in zoo_datasets.zoo_components()}
    assert total in summaries["clipart10"]
    assert total in clipart10.__doc__


def test_both_fit_in_eight_megabytes():
    assert sum(path.stat().st_size for path in FILES.glob("*.npz")) < 8_000_000


def test_nothing_in_them_needs_pickle():
    for path in FILES.glob("*.npz"):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                header = archive.read(name)[:128].decode("latin-1")
                assert re.search(r"'descr': '[|<](u1|i8)'", header), (path, name)


def corrupt(kind, content):
    if kind == "cut short":
        return content[: len(content) // 2]
    if kind == "empty":
        return b""
    if kind == "text":
        return b"no archive"
    changed = bytearray(content)
    changed[len(changed) // 2] ^= 1
    return bytes(changed)


@pytest.mark.parametrize("kind", ["cut short", "empty", "text", "one bit"])
@pytest.mark.parametrize("name", ["fashion-mini", "clipart10"])
def test_damage_is_found(tmp_path, name, kind):
    path = tmp_path / "damaged\x1b.npz"
    path.write_bytes(corrupt(kind, (FILES / f"{name}.npz").read_bytes()))
    with pytest.raises(DataError, match="cannot read the packed data set") as caught:
        read_packed(path)
    assert "\x1b" not in str(caught.value)


def test_other_content_under_the_old_digest_is_found(tmp_path):
    with np.load(FILES / "fashion-mini.npz") as archive:
        members = dict(archive)
    members["val.labels"] = members["val.labels"][::-1]
    np.savez(tmp_path / "changed.npz", **members)
    with pytest.raises(DataError, match="does not match its own SHA-256"):
        read_packed(tmp_path / "changed.npz")
    with pytest.raises(DataError, match="no such file"):
        read_packed(tmp_path / "missing.npz")


def test_objects_are_not_unpickled(tmp_path):
    np.savez(tmp_path / "objects.npz", about=np.array([{"format": 1}], dtype=object))
    with pytest.raises(DataError, match="found: about is an array of Python objects"):
        read_packed(tmp_path / "objects.npz")


def test_stacked_colour_images():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    images: Images = StackedImages(pixels=pixels, names=["a", "b"])
    np.testing.assert_array_equal(np.asarray(images.read(1)), pixels[1])
    assert (len(images), images.name(1)) == (2, "b")


def test_components_declare_what_exists(tmp_path, clipart):
    from zoo.data.reading.folder import FileImages

    components = {component.name: component for component in zoo_datasets.zoo_components()}
    assert set(components) >= {"fashion-mini", "clipart10", "folder", "manifest", "npz"}
    for component in components.values():
        module, _, attribute = component.target.partition(":")
        assert callable(getattr(importlib.import_module(module), attribute))
    for label in range(2):
        for index in range(4):
            path = tmp_path / clipart.classes[label] / f"{index}.png"
            path.parent.mkdir(exist_ok=True)
            clipart.splits["train"].images.read(index).save(path)
    data = folder(path=str(tmp_path), seed=3, split=(0.5, 0.5))
    assert isinstance(data.splits["train"].images, FileImages)
    assert [len(part.images) for part in data.splits.values()] == [4, 4]
    with pytest.raises(UsageError, match="needs a path"):
        folder()


def test_encoded_images_count_from_the_end_too(clipart):
    images = clipart.splits["val"].images
    assert images.read(-1).tobytes() == images.read(len(images) - 1).tobytes()
    with pytest.raises(IndexError):
        images.read(len(images))
    assert open_image(images.content[: images.offsets[1]].tobytes(), name="x").size == (96, 96)
