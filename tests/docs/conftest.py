"""Two runs for the commands that pages show after training, and those commands made small."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import zoo

TINY = ("--model", "lenet", "--img-size", "16", "--epochs", "1", "--freeze-epochs", "0",
        "--threads", "1", "--workers", "0", "--batch-size", "8")  # fmt: skip


@pytest.fixture(scope="session")
def _two_runs(shapes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("trained")
    for name, seed in (("A", 0), ("B", 1)):
        zoo.run(
            model="lenet", data=str(shapes_folder), img_size=16, epochs=2, freeze_epochs=0,
            threads=1, workers=0, batch_size=8, seed=seed, name=name, runs=str(runs),
        )  # fmt: skip
    return runs


@pytest.fixture
def after_training(
    _two_runs: Path, shapes_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[list[str]], list[str]]:
    """Lays out what a page speaks of in an empty folder; makes a command's words small."""
    monkeypatch.chdir(tmp_path)
    for name, source in (("A", "A"), ("B", "B"), ("NAME", "A"), ("other", "B")):
        shutil.copytree(_two_runs / source, tmp_path / "runs" / name)
    (tmp_path / "photos").mkdir()
    for index, picture in enumerate(sorted(shapes_folder.glob("test/*/*.png"))[:4]):
        Image.open(picture).save(tmp_path / "photos" / f"{index}.png")
    shutil.copy(tmp_path / "photos" / "0.png", tmp_path / "photo.jpg")

    def small(words: list[str]) -> list[str]:
        words = [str(shapes_folder) if word == "other/images" else word for word in words]
        if words[0] in ("run", "kfold", "sweep"):
            words += [*TINY, "--data", str(shapes_folder)]
        if words[0] == "heatmap":
            words += ["--count", "2"]
        if words[:2] == ["runs", "prune"]:
            words += ["--yes"]
        return words

    return small
