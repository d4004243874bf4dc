"""WebDataset shards: read in place, alike to the library's own reading, and never extracted."""

from __future__ import annotations

import json
import os
import pickle
import random
import tarfile
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from shard_files import build_shards, png, read_all, samples, tar_bytes

from zoo.data.reading.shards import index_shard, read_span, sample_key
from zoo.errors import DataError
from zoo.registry import build, parse_choice
from zoo_datasets.shards import webdataset

pytest.importorskip("webdataset")


@pytest.fixture
def shards(tmp_path, monkeypatch):
    """The working folder, with tiny shards and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    build_shards(tmp_path)
    return tmp_path


def test_shards_by_name_as_the_library_reads_them(shards, registry):
    from webdataset.tariterators import group_by_keys, tar_file_expander

    choice = parse_choice(
        registry, "dataset", "webdataset:train=train-{000..001}.tar,val=val-000.tar"
    )
    data = build(choice, seed=0, split=(0.8, 0.1, 0.1), on_bad="fail")
    assert data.classes == ("cat", "dog")
    assert data.name == "train"
    assert data.typical_side == 6
    assert {name: len(split.images) for name, split in data.splits.items()} == {
        "train": 20, "val": 4,
    }  # fmt: skip
    paths = [shards / f"train-{number:03d}.tar" for number in range(2)]
    with paths[0].open("rb") as first, paths[1].open("rb") as second:
        streams = [{"url": str(path), "stream": file}
                   for path, file in zip(paths, (first, second), strict=True)]  # fmt: skip
        reference = list(group_by_keys(tar_file_expander(streams)))
    images = data.splits["train"].images
    assert len(reference) == len(images)
    for index, sample in enumerate(reference):
        assert images.content(index) == sample["png"]
        assert data.classes[data.splits["train"].labels_N[index]] == sample["cls"].decode()
        expected = np.asarray(Image.open(BytesIO(sample["png"])))
        np.testing.assert_array_equal(np.asarray(images.read(index)), expected)
    assert images.name(11) == "train-001.tar/0011.png"


def test_any_order_from_many_threads_and_in_another_process(shards):
    data = webdataset(train="train-*.tar", val="val-000.tar")
    images = data.splits["train"].images
    expected = dict(read_all(data.splits["train"]))
    order = random.Random(0).choices(range(len(images)), k=400)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(images.read, order))
    for index, image in zip(order, found, strict=True):
        assert np.asarray(image).tobytes() == expected[images.name(index)]
    again = pickle.loads(pickle.dumps(images))  # as spawned workers receive it
    assert again.content(3) == images.content(3)


def test_validation_from_training_by_fractions(shards):
    whole = webdataset(train="train-*.tar")
    assert {n: len(s.images) for n, s in whole.splits.items()} == {"train": 16, "val": 2, "test": 2}
    names = [name for split in whole.splits.values() for name, _ in read_all(split)]
    assert len(set(names)) == 20
    tested = webdataset(train="train-*.tar", test="val-000.tar", split=(0.8, 0.2, 0.0))
    assert {n: len(s.images) for n, s in tested.splits.items()} == {
        "train": 16, "val": 4, "test": 4,
    }  # fmt: skip
    assert "validation was split from training" in tested.notes


def test_images_of_shards_of_one_file_name_have_names_of_their_own(shards):
    for folder in ("one", "two"):
        (shards / folder).mkdir()
        (shards / folder / "000.tar").write_bytes(
            tar_bytes([*samples(0, 4), ("0009.png", b"no image"), ("0009.cls", b"cat")])
        )
    data = webdataset(train="one/000.tar", val="two/000.tar", on_bad="skip")
    names = [name for split in data.splits.values() for name, _ in read_all(split)]
    assert len(set(names)) == 8
    assert names[0] == "one/000.tar/0000.png"
    assert set(data.bad) == {"one/000.tar/0009.png", "two/000.tar/0009.png"}
    with pytest.raises(DataError, match="2 of 10 images"):
        webdataset(train="one/000.tar", val="two/000.tar")


def test_the_fingerprint_tells_changes(shards):
    def mark(**options):
        return webdataset(train="train-*.tar", **options).fingerprint

    first = mark()
    assert mark() == first
    assert mark(seed=1) != first
    assert mark(split=(0.6, 0.4)) != first
    members = samples(10, 10)
    for change in (("0010.png", png(77)), ("0010.cls", b"dog"), ("0099.png", members[0][1])):
        changed = [change if name[:4] == "0010" and name[4:] == change[0][4:] else (name, content)
                   for name, content in members]  # fmt: skip
        if change[0] == "0099.png":
            changed[1] = ("0099.cls", b"cat")
        (shards / "train-001.tar").write_bytes(tar_bytes(changed))
        assert mark() != first


@pytest.mark.parametrize(
    ("label", "content", "options"),
    [
        ("txt", b" 3 \n", {}),
        ("json", b'{"width": 4, "label": 3}', {}),
        ("json", b"3", {}),
        ("json", b'{"kind": "3"}', {"key": "kind"}),
        ("meta.json", b'{"label": 3}', {"label": "meta.json"}),
        ("CLS", b"3", {}),
    ],
)
def test_where_labels_can_be(shards, label, content, options):
    members = [("a.jpg", png(1)), (f"a.{label}", content), ("b.jpg", png(2)),
               (f"b.{label}", content.replace(b"3", b"12"))]  # fmt: skip
    for name in ("x.tar", "y.tar"):
        (shards / name).write_bytes(tar_bytes(members))
    data = webdataset(train="x.tar", val="y.tar", **options)
    assert data.classes == ("3", "12")  # numbers in the order of numbers
    assert data.splits["train"].labels_N.tolist() == [0, 1]


def test_numbers_get_names_from_a_file(shards):
    (shards / "x.tar").write_bytes(tar_bytes(samples(0, 8, classes=("0", "2"))))
    (shards / "names.txt").write_text("ant\nbee\ncow\n", encoding="utf-8")
    data = webdataset(train="x.tar", classes="names.txt", split=(0.5, 0.5))
    assert data.classes == ("ant", "cow")
    assert any("bee" in note for note in data.notes)
    (shards / "names.txt").write_text("ant\nbee\n", encoding="utf-8")
    with pytest.raises(DataError, match="label 2 is not a number below 2"):
        webdataset(train="x.tar", classes="names.txt", split=(0.5, 0.5))
    (shards / "names.txt").write_text("ant\nant\n", encoding="utf-8")
    with pytest.raises(DataError, match="does not name classes"):
        webdataset(train="x.tar", classes="names.txt")


def test_several_images_in_a_sample_need_a_choice(shards):
    members = []
    for number in range(6):
        members += [(f"{number}.jpg", png(number)), (f"{number}.seg.png", png(99)),
                    (f"{number}.cls", b"ab"[number % 2 : number % 2 + 1])]  # fmt: skip
    (shards / "x.tar").write_bytes(tar_bytes(members))
    with pytest.raises(DataError, match=r"several images.*image=jpg"):
        webdataset(train="x.tar")
    data = webdataset(train="x.tar", image="seg.png", split=(0.5, 0.5))
    assert np.asarray(data.splits["train"].images.read(0))[0, 0].tolist() == [99, 7, 200]
    with pytest.raises(DataError, match=r"no part 'tif'; it has cls, jpg, seg.png"):
        webdataset(train="x.tar", image="tif")


def test_bad_samples_are_all_named_or_skipped(shards):
    members = [
        *samples(0, 8),
        ("only-image.png", png(1)),
        ("only-label.cls", b"cat"),
        ("broken.png", b"not an image"),
        ("broken.cls", b"cat"),
        ("empty.png", b""),
        ("empty.cls", b"dog"),
        ("blank.png", png(4)),
        ("blank.cls", b"  "),
        ("caption.png", png(4)),
        ("caption.txt", b"A dog\nthat sleeps"),
        ("LICENSE", b"MIT"),
    ]
    (shards / "x.tar").write_bytes(tar_bytes(members))
    with pytest.raises(DataError) as caught:
        webdataset(train="x.tar")
    wrong = ("only-image", "only-label", "broken", "empty", "blank", "caption")
    assert all(name in caught.value.what for name in wrong)
    assert caught.value.what.startswith("6 of 14 images")
    assert "LICENSE" not in caught.value.what
    data = webdataset(train="x.tar", on_bad="skip", split=(0.5, 0.5))
    assert sum(len(split.images) for split in data.splits.values()) == 8
    assert {name.partition("/")[2].partition(".")[0] for name in data.bad} == set(wrong)
    assert any("LICENSE" in note for note in data.notes)


def test_links_and_strange_names_are_named_and_lead_nowhere(shards):
    before = sorted(os.listdir(shards.parent)), sorted(os.listdir(shards))
    members = [*samples(0, 4), ("../../up.png", png(5)), ("../../up.cls", b"cat"),
               ("/abs.png", png(6)), ("/abs.cls", b"dog")]  # fmt: skip
    members.append(("link.png", None))
    (shards / "x.tar").write_bytes(tar_bytes(members))
    data = webdataset(train="x.tar", split=(0.5, 0.5))
    notes = " ".join(data.notes)
    assert "link.png" in notes
    assert "../../up.png" in notes
    assert "/abs.png" in notes
    names = {name for split in data.splits.values() for name, _ in read_all(split)}
    assert "x.tar/../../up.png" in names
    assert sorted(os.listdir(shards.parent)) == before[0]
    assert sorted(os.listdir(shards)) == sorted([*before[1], "x.tar"])


def test_every_broken_shard_is_named(shards):
    whole = (shards / "train-000.tar").read_bytes()
    (shards / "train-002.tar").write_bytes(whole[: len(whole) // 2])
    (shards / "train-003.tar").write_bytes(b"")
    (shards / "train-004.tar").write_bytes(b"hello" * 500)
    (shards / "train-005.tar").mkdir()
    os.mkfifo(shards / "train-006.tar")
    with pytest.raises(DataError) as caught:
        webdataset(train="train-{000..007}.tar")
    assert caught.value.what.startswith("6 shards cannot be read")
    for number in range(2, 8):
        assert f"train-{number:03d}.tar" in caught.value.what
    assert "train-001.tar" not in caught.value.what


def test_every_truncation_is_noticed():
    whole = tar_bytes(samples(0, 3))
    content_ends = len(whole.rstrip(b"\0"))
    for length in range(0, content_ends, 97):
        with pytest.raises(DataError):
            index_shard(whole[:length], name="x.tar")
    assert len(index_shard(whole, name="x.tar").samples) == 3


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_formats_of_tar(format):
    long = "folder/" * 12 + "image" if format != tarfile.USTAR_FORMAT else "folder/image"
    shard = index_shard(
        tar_bytes([(f"{long}.JPG", b"abc"), (f"{long}.cls", b"1")], format), name="x.tar"
    )
    (sample,) = shard.samples
    assert sample.key == long
    assert {part: read_span(shard.source, span) for part, span in sample.parts.items()} == {
        "jpg": b"abc", "cls": b"1",
    }  # fmt: skip


def test_twins_within_a_shard_are_refused():
    with pytest.raises(DataError) as caught:
        index_shard(tar_bytes([("a.jpg", b"1"), ("a.jpg", b"2")]), name="x")
    assert "there twice" in caught.value.found
    with pytest.raises(DataError) as caught:
        index_shard(tar_bytes([("a.jpg", b"1"), ("b.jpg", b"2"), ("a.cls", b"2")]), name="x")
    assert "twice, apart" in caught.value.found


def test_a_negative_size_does_not_send_it_round_in_a_circle():
    info = tarfile.TarInfo("a.jpg")
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = b"\xff" * 8 + (-1024 & 0xFFFFFFFF).to_bytes(4, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    with pytest.raises(DataError):
        index_shard(tar_bytes([("b.jpg", b"x")])[:1024] + bytes(block) + bytes(1024), name="x")


@given(st.binary(max_size=300), st.integers(0, 4000), st.integers(0, 30))
@settings(max_examples=150)
def test_damaged_bytes_never_raise_anything_else(noise, place, cut):
    content = bytearray(tar_bytes([("a.png", b"0" * 700), ("a.cls", b"1"), ("b.png", b"2")]))
    content[place : place + len(noise)] = noise
    try:
        shard = index_shard(bytes(content[: len(content) - 400 * cut]), name="x")
    except DataError:
        return
    for sample in shard.samples:
        for offset, size in sample.parts.values():
            assert 0 <= offset <= offset + size <= len(content)


@given(st.text(alphabet="abc./_-é ", min_size=1, max_size=20))
def test_keys_are_those_of_webdataset(name):
    from webdataset.tariterators import base_plus_ext

    key, part = base_plus_ext(name)
    if key is not None and key.rpartition("/")[2]:
        assert sample_key(name) == (key, part.lower())


def test_json_that_holds_no_label_says_what_it_holds(shards):
    for content, expected in (
        ({"width": 3}, "none of the keys"),
        ({"label": [1, 2]}, "a list"),
        ({"label": True}, "a bool"),
        ([1], "a list"),
    ):
        members = [*samples(0, 4), ("z.png", png(1)), ("z.json", json.dumps(content).encode())]
        (shards / "x.tar").write_bytes(tar_bytes(members))
        with pytest.raises(DataError, match=expected):
            webdataset(train="x.tar")
    members = [*samples(0, 4), ("z.png", png(1)), ("z.json", b"[" * 100_000)]
    (shards / "x.tar").write_bytes(tar_bytes(members))
    with pytest.raises(DataError, match="cannot be read"):
        webdataset(train="x.tar")
