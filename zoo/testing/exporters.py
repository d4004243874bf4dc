"""What is required of an exporter.

Shapes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from zoo.protocols import Preprocessing
from zoo.testing.requiring import Snapshot, equal_bits, require
from zoo.testing.subject import Subject

__all__ = ["CHECKS", "pickles_in"]

_SIZE, _CLASSES = 16, ("bar", "dot", "ring")
_TOLERANCE = 1e-4
"""Of the greatest logit. What zoo export allows."""

_MOST_DEEP = 3
"""Archives within archives that are looked into."""


class _Network(nn.Module):
    """What networks are made of: convolution, batch norm, dropout, a pool and a head."""

    zoo_head = "head"

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(),
            nn.Conv2d(6, 8, 3, stride=2, groups=2), nn.Hardswish(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5),
        )  # fmt: skip
        self.head = nn.Linear(8, len(_CLASSES))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Returns logits_BK."""
        logits_BK: Tensor = self.head(self.body(images_BCHW))
        return logits_BK


def _network() -> _Network:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(7)
        network = _Network()
        network(torch.randn(16, 3, _SIZE, _SIZE) + 0.5)  # statistics that are not 0 and 1
    for parameter in network.body[0].parameters():
        parameter.requires_grad_(False)  # as a frozen phase leaves it
    return network.eval()


def _images(num: int, seed: int = 1) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(num, 3, _SIZE, _SIZE, generator=draw)


@dataclass(frozen=True, slots=True)
class _Export:
    """What was written, and what of."""

    exporter: Any
    network: _Network
    folder: Path
    target: Path


def _build(subject: Subject) -> Any:
    preprocessing = Preprocessing(image_size=_SIZE)
    exporter = subject.build(
        classes=_CLASSES, preprocessing=preprocessing, rebuild=lambda: _Network().eval()
    )
    kind = type(exporter).__name__
    for method in ("__call__", "load"):
        require(callable(getattr(exporter, method, None)), f"{kind} has no method {method}")
    suffix = getattr(exporter, "suffix", None)
    good = isinstance(suffix, str) and (not suffix or (suffix[0] == "." and len(suffix) > 1))
    require(good, f"its suffix is {suffix!r}, neither an ending such as '.onnx' nor ''")
    return exporter


@contextmanager
def _exported(subject: Subject) -> Iterator[_Export]:
    exporter = _build(subject)
    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name, "é 1")  # a name with a space and an accent, as users have them
        folder.mkdir()
        target = folder / f"model{exporter.suffix}"
        network = _network()
        exporter(network, _images(2), target)
        require(target.exists(), f"there is no {target.name} after the export")
        yield _Export(exporter, network, folder, target)


def writes_the_target_alone(subject: Subject) -> None:
    """It writes its target, a file with its suffix or a folder without, and nothing beside it."""
    with _exported(subject) as made:
        beside = sorted(path.name for path in made.folder.iterdir() if path != made.target)
        require(not beside, f"beside {made.target.name} it wrote {beside[:5]}")
        if made.exporter.suffix:
            require(made.target.is_file(), f"with a suffix it made no file {made.target.name}")
            size = made.target.stat().st_size
        else:
            require(made.target.is_dir(), "without a suffix its target is a folder, and is none")
            size = sum(path.stat().st_size for path in made.target.rglob("*") if path.is_file())
        require(size > 0, "what it wrote is empty")


def answers_as_the_network(subject: Subject) -> None:
    """What ``load`` opens gives the network's logits to 1e-4, for 1 and 3 images at a time."""
    with _exported(subject) as made:
        opened = made.exporter.load(made.target)
        for num in (1, 3):
            images_BCHW = _images(num, seed=num)
            with torch.no_grad():
                expected_BK = made.network(images_BCHW)
            found_BK = opened(images_BCHW.clone())
            if not isinstance(found_BK, Tensor):
                raise AssertionError(f"what load opens gives a {type(found_BK).__name__}")
            shape = tuple(expected_BK.shape)
            shown = tuple(found_BK.shape)
            require(shown == shape, f"for {num} images it gives logits {shown}, not {shape}")
            scale = float(expected_BK.abs().max())
            off = float((found_BK.detach().double() - expected_BK.double()).abs().max()) / scale
            require(
                off <= _TOLERANCE, f"for {num} images logits are off by {off:.2g} of {scale:.2g}"
            )


def opens_in_another_place(subject: Subject) -> None:
    """What it wrote opens where it was moved to, by an exporter that was built anew."""
    with _exported(subject) as made:
        images_BCHW = _images(2, seed=5)
        expected = made.exporter.load(made.target)(images_BCHW)
        moved = made.folder / "elsewhere"
        moved.mkdir()
        moved = moved / f"other{made.exporter.suffix}"
        made.target.rename(moved)
        found = _build(subject).load(moved)(images_BCHW)
        require(torch.allclose(found, expected, atol=1e-6), "moved, it gives other logits")


def leaves_the_network_alone(subject: Subject) -> None:
    """The network's weights, modes, gradients and hooks are as they were, as are the images."""
    exporter, network, example_BCHW = _build(subject), _network(), _images(2)
    network.head.weight.grad = torch.ones_like(network.head.weight)
    before, given = Snapshot(network), example_BCHW.clone()
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        target = Path(folder, f"model{exporter.suffix}")
        exporter(network, example_BCHW, target)
        changed = before.differences()
        require(not changed, f"the export changed {', '.join(changed)}")
        require(equal_bits(given, example_BCHW), "the export wrote into the example images")
        images_BCHW = _images(3)
        given = images_BCHW.clone()
        exporter.load(target)(images_BCHW)
        require(equal_bits(given, images_BCHW), "what load opens writes into the images")


def holds_no_pickle(subject: Subject) -> None:
    """Nothing that it writes is a pickle or an archive with one inside: reading runs no code."""
    with _exported(subject) as made:
        files = [made.target] if made.target.is_file() else sorted(made.target.rglob("*"))
        found = [
            where
            for path in files
            if path.is_file()
            for where in pickles_in(path.read_bytes(), path.relative_to(made.folder).as_posix())
        ]
    require(not found, f"there are pickles in what it writes: {', '.join(found[:5])}")


def pickles_in(content: bytes, name: str, *, depth: int = 0) -> list[str]:
    """Returns where in a file there are pickles: itself, or members of archives.

    >>> import pickle
    >>> pickles_in(pickle.dumps([1]), "model.bin"), pickles_in(b"weights", "model.bin")
    (['model.bin'], [])
    """
    if zipfile.is_zipfile(BytesIO(content)) and depth < _MOST_DEEP:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            return [
                where
                for member in archive.namelist()
                for where in pickles_in(archive.read(member), f"{name}/{member}", depth=depth + 1)
            ]
    return [name] if name.endswith((".pkl", ".pickle")) or _is_pickle(content) else []


def _is_pickle(content: bytes) -> bool:
    """Whether the content reads as opcodes of a pickle. Every one since 2003 starts alike."""
    if content[:1] != b"\x80" or len(content) < 4:
        return False
    try:
        for _opcode, _argument, _position in pickletools.genops(content):
            pass
    except Exception:
        return False
    return True


CHECKS = (
    writes_the_target_alone,
    answers_as_the_network,
    opens_in_another_place,
    leaves_the_network_alone,
    holds_no_pickle,
)
