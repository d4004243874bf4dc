"""`zoo embed` as a person uses it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import zoo


@pytest.fixture(scope="module")
def run(shapes_folder, tmp_path_factory, registry):
    return zoo.run(
        model="lenet", img_size=28, batch_size=8, threads=1, epochs=1, freeze_epochs=0, workers=1,
        data=str(shapes_folder), runs=str(tmp_path_factory.mktemp("runs")), registry=registry,
    ).path  # fmt: skip


def test_a_file_and_a_plot(zoo_command, run, tmp_path):
    outcome = zoo_command("embed", run, "-o", tmp_path / "out.npz", "--plot", tmp_path / "out.png",
                          "--split", "all")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "40 images, 500 numbers each, in" in outcome.out
    with np.load(tmp_path / "out.npz", allow_pickle=False) as arrays:
        assert arrays["embeddings"].shape == (40, 500)
        assert sorted(set(arrays["labels"].tolist())) == ["bar", "dot"]
    with Image.open(tmp_path / "out.png") as plot:
        assert plot.format == "PNG"
    first = (tmp_path / "out.png").read_bytes()
    again = zoo_command("embed", run, "--plot", tmp_path / "out.png", "--split", "all", "--force")
    assert again.code == 0
    assert (tmp_path / "out.png").read_bytes() == first


def test_images_by_path_into_parquet(zoo_command, run, shapes_folder, tmp_path):
    from pyarrow import parquet

    (tmp_path / "bad.png").write_bytes(b"no image")
    outcome = zoo_command("embed", run, shapes_folder / "val" / "bar", tmp_path / "bad.png",
                          "-o", tmp_path / "out.parquet", "--json")  # fmt: skip
    assert outcome.code == 3
    said = json.loads(outcome.out)
    assert (said["images"], said["size"], len(said["bad"])) == (4, 500, 1)
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table["labels"].to_pylist() == ["bar"] * 4


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        ([], 2, "nothing to write"),
        (["-o", "out.csv"], 2, ".npz"),
        (["-o", "out.npz", "--projector", "tsne"], 2, "no effect without --plot"),
        (["--plot", "out.png", "--projector", "umap"], 2, "no projector"),
        (["--plot", "no/such/out.png"], 2, "no folder"),
    ],
)
def test_what_cannot_be_written_is_said_before_any_work(
    zoo_command, run, tmp_path, monkeypatch, options, code, word
):
    monkeypatch.chdir(tmp_path)
    outcome = zoo_command("embed", run, *options)
    assert outcome.code == code
    assert word in outcome.err
    assert list(tmp_path.iterdir()) == []
