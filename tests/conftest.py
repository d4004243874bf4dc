"""What many tests need: third-party plugins as real packages, a tiny data set, the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

from zoo.registry import Registry, discover
from zoo.registry.settings import Settings

# One thread: tests share two cores, and results are promised to the bit per thread count only.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["ZOO_OFFLINE"] = "1"

# A machine that is shared may take seconds for what took milliseconds a moment ago.
settings.register_profile("zoo", deadline=None)
settings.load_profile("zoo")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes stay out of the names of tests: an archive holds the time at which it was made.

    Processes that share a run must collect the same names, and would not.
    """
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Fixtures that outlive a test leave the cache of whoever runs it alone, too."""
    os.environ["ZOO_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the settings or the cache of whoever runs it."""
    monkeypatch.setenv("ZOO_SETTINGS", str(tmp_path / "settings" / "settings.toml"))
    monkeypatch.setenv("ZOO_CACHE", f"{tmp_path}-cache")
    monkeypatch.delenv("ZOO_PLUGINS", raising=False)


@pytest.fixture(scope="session")
def registry() -> Registry:
    """The built-in components."""
    return Registry(discover(Settings(only=frozenset())))


@pytest.fixture
def make_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Installs a package with one plugin, as pip would leave it on disk."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    made: list[str] = []

    def make(
        namespace: str,
        code: str,
        *,
        distribution: str | None = None,
        version: str = "1.0",
        group: str = "zoo.v1",
    ) -> str:
        distribution = distribution or f"zoo-{namespace}"
        package = f"{distribution.replace('-', '_')}_plugin"
        (site / package).mkdir()
        (site / package / "__init__.py").write_text(code, encoding="utf-8")
        info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n", encoding="utf-8"
        )
        (info / "entry_points.txt").write_text(
            f"[{group}]\n{namespace} = {package}\n", encoding="utf-8"
        )
        (info / "RECORD").write_text("", encoding="utf-8")
        made.append(package)
        return package

    yield make
    for name in [n for n in sys.modules if n.partition(".")[0] in made]:
        del sys.modules[name]


@dataclass(frozen=True)
class Outcome:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def zoo_command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs the command line in this process."""
    from zoo.cli.main import main

    def call(*args: object) -> Outcome:
        capsys.readouterr()
        code = main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def shapes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two easy classes with train, val and test: 24, 8 and 8 images of 24 pixels."""
    import numpy as np
    from PIL import Image

    root = tmp_path_factory.mktemp("shapes")
    generator = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 4), ("test", 4)):
        for label in ("bar", "dot"):
            folder = root / split / label
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 60, (24, 24, 3), dtype=np.uint8)
                at = int(generator.integers(4, 16))
                if label == "bar":
                    pixels[:, at : at + 4] = 230
                else:
                    pixels[at : at + 5, at : at + 5] = 230
                Image.fromarray(pixels).save(folder / f"{label}-{index}.png")
    return root
