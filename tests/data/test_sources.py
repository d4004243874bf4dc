"""A path decides which reader reads it; what is not read says what is."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from PIL import Image

from zoo.data.reading.idx import write_idx_file
from zoo.data.reading.sources import read_path
from zoo.errors import DataError, UsageError
from zoo.protocols import DataSet
from zoo.registry import parse_choice
from zoo.registry.loading import build

PIXELS = np.arange(20 * 4 * 4, dtype=np.uint8).reshape(20, 4, 4)
LABELS = (np.arange(20) % 2).astype(np.uint8)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The same twenty images in every form that needs no package."""
    root = tmp_path_factory.mktemp("sources")
    rows = ["path,label"]
    for row, label in enumerate(LABELS):
        folder = root / "folder" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS[row]).save(folder / f"{row}.png")
        rows.append(f"folder/{label}/{row}.png,{label}")
    (root / "table.csv").write_text("\n".join(rows))
    (root / "idx").mkdir()
    write_idx_file(root / "idx" / "train-images-idx3-ubyte.gz", PIXELS)
    write_idx_file(root / "idx" / "train-labels-idx1-ubyte.gz", LABELS)
    np.savez(root / "arrays.npz", x=PIXELS, y=LABELS)
    return root


FORMS = {"folder": "folder", "manifest": "table.csv", "idx": "idx", "npz": "arrays.npz"}


def contents(data):
    """Returns the (pixels, class) pairs of all splits."""
    return sorted(
        (np.asarray(part.images.read(i)).tobytes(), data.classes[part.labels_N[i]])
        for part in data.splits.values()
        for i in range(len(part.images))
    )


@pytest.mark.parametrize("name", FORMS)
def test_a_path_and_its_component_read_the_same(sources, registry, name):
    path = sources / FORMS[name]
    by_path = read_path(str(path), seed=3, split=(0.5, 0.25, 0.25), on_bad="fail")
    choice = parse_choice(registry, "dataset", f"{name}:path={path}")
    component = build(choice, seed=3, split=(0.5, 0.25, 0.25), on_bad="fail")
    assert isinstance(component, DataSet)
    assert component.fingerprint == by_path.fingerprint
    sizes = {split: len(part.images) for split, part in by_path.splits.items()}
    assert sizes == {"train": 10, "val": 5, "test": 5}
    assert by_path.classes == ("0", "1")
    expected = sorted(
        (np.repeat(pixels[..., None], 3, axis=2).tobytes(), str(label))
        for pixels, label in zip(PIXELS, LABELS, strict=True)
    )
    assert contents(by_path) == expected
    for part in by_path.splits.values():
        assert part.labels_N.dtype == np.int64


@pytest.mark.parametrize("name", [*FORMS, "cifar"])
def test_a_component_without_a_path_says_so(registry, name):
    with pytest.raises(UsageError, match="needs a path") as caught:
        build(parse_choice(registry, "dataset", name), seed=0, split=(0.8, 0.1, 0.1))
    assert f"{name}:path=" in str(caught.value)


def test_a_manifest_with_all_its_params(sources, registry):
    rows = [f"{row},{label}|x,g{row // 2},1" for row, label in enumerate(LABELS)]
    (sources / "odd.csv").write_text("\n".join(["where,what,whose,much", *rows]))
    for label in (0, 1):
        for row in range(label, 20, 2):
            content = (sources / "folder" / str(label) / f"{row}.png").read_bytes()
            (sources / "all").mkdir(exist_ok=True)
            (sources / "all" / f"{row}.png").write_bytes(content)
    choice = parse_choice(
        registry,
        "dataset",
        f"manifest:path={sources / 'odd.csv'},image=where,label=what,group=whose,weight=much,"
        f"separator=|,folder={sources / 'all'}",
    )
    data = build(choice, seed=0, split=(0.8, 0.1, 0.1), on_bad="fail")
    assert data.multi_label
    assert data.classes == ("0", "1", "x")
    assert data.splits["train"].weights_N is not None


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("a.png", b"x", ["is a single image", "the folder above", ".parquet"]),
        ("a.zip", b"x", ["is an archive", "unpack it"]),
        ("a.tar", b"x", ["is an archive", "unpack it"]),
        ("a.xlsx", b"x", ["is not data that is read", ".csv, .tsv"]),
        ("noise", b"", ["is not data that is read", "a folder of images"]),
        ("train-images-idx3-ubyte.gz", gzip.compress(b"x", mtime=0), ["one of several IDX files"]),
        ("a.npz", b"x", ["not a readable .npz file"]),
        ("a.tar.gz", b"x", ["cannot be read as an archive"]),
        ("missing", None, ["there is no data at", "nothing of that name"]),
        ("n" * 300, None, ["there is no data at"]),
        ("nul\0", None, ["there is no data at", r"nul\x00"]),
    ],
)
def test_what_is_not_read(tmp_path, name, content, parts):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_path(tmp_path / name, seed=0)
    assert caught.value.exit_code == 3
    for part in parts:
        assert part in str(caught.value)


def test_a_pipe_is_no_data(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match="there is no data at"):
        read_path(tmp_path / "pipe.csv", seed=0)


def test_an_unknown_policy(tmp_path):
    with pytest.raises(UsageError, match="on_bad is ignore"):
        read_path(tmp_path, seed=0, on_bad="ignore")
