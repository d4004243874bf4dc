"""What the tests of the report share: a tiny run, and the same run saying something else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoo.evaluation.examined import Examined, examine
from zoo.evaluation.predictions import Predictions
from zoo.evaluation.report.facts import RunFacts, read_facts
from zoo.evaluation.report.findings import Findings, find
from zoo.protocols import DataSet, Split
from zoo.registry import Registry

TINY = {"model": "lenet", "img_size": 16, "batch_size": 8, "threads": 1, "freeze_epochs": 1}


@dataclass(frozen=True)
class Pixels:
    """Images that are noise, of any number and name."""

    pixels: np.ndarray
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.pixels)

    def name(self, index: int) -> str:
        return self.names[index]


def saying(path: Path, registry: Registry, **options: Any) -> tuple[RunFacts, Examined, Findings]:
    """Returns a real run with made-up answers, and what there is to say about them."""
    facts, examined = answering(path, registry, **options)
    return facts, examined, find(examined.predictions, registry=registry)


def answering(
    path: Path,
    registry: Registry,
    *,
    classes: Sequence[str],
    names: Sequence[str],
    seed: int = 0,
    multi_label: bool = False,
    sharpness: float = 2.0,
) -> tuple[RunFacts, Examined]:
    """Returns a real run with made-up answers about noise, drawn with a seed."""
    facts, examined = read_facts(path), examine(path, registry=registry)
    generator = torch.Generator().manual_seed(seed)
    num, num_classes = len(names), len(classes)
    labels_N = torch.randint(num_classes, (num,), generator=generator)
    logits_NK = torch.randn(num, num_classes, generator=generator)
    logits_NK[torch.arange(num), labels_N] += sharpness
    targets_NK = None
    if multi_label:
        targets_NK = (torch.rand(num, num_classes, generator=generator) < 0.3).float()
        logits_NK = logits_NK + 3 * targets_NK - 2
    predictions = Predictions(
        names=tuple(names), classes=tuple(classes), logits_NK=logits_NK, labels_N=labels_N,
        targets_NK=targets_NK, facts={"split": "test", "engine": "torch"},
    )  # fmt: skip
    noise = np.random.default_rng(seed).integers(0, 255, (num, 12, 12, 3), dtype=np.uint8)
    part = Split(
        images=Pixels(noise, names), labels_N=labels_N.numpy(),
        targets_NK=None if targets_NK is None else targets_NK.numpy(),
    )  # fmt: skip
    data = DataSet(
        name="noise", classes=tuple(classes), splits={"train": part, "test": part},
        fingerprint="0" * 64, multi_label=multi_label,
    )  # fmt: skip
    return facts, replace(examined, data=data, part=part, split="test", predictions=predictions)


@dataclass
class Page(HTMLParser):
    """A page taken apart: its elements in order, its attributes and its texts."""

    tags: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[str] = []

    @classmethod
    def of(cls, html: str) -> Page:
        page = cls()
        page.feed(html)
        page.close()
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))

    def text_of(self, tag: str) -> list[str]:
        return [text for where, text in self.texts if where == tag]
