"""What a new plugin of each kind is given: a small component that works, with its paper.

None of them has the name of a built-in one, so that its bare name means it. Its files are in
``templates/kinds/KIND/``: ``module.py.j2``, ``component.py.j2`` (the declaration), ``test.py.j2``
and for some ``reference.py.j2``.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from zoo.plugin import plural

__all__ = ["EXAMPLES", "KindExample", "new_commands"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KindExample:
    """The component that a new plugin of a kind starts with.

    Args:
        kind: One of :data:`zoo.plugin.KINDS`.
        component: Its name.
        summary: A few words for the README.
        commands: What tries it, after the plugin is installed.
        reference: The function of ``tests/references.py`` that its author gives; empty for none.
        torch_reference: Whether that function has tensors.
        has_params: Whether the declaration has any.
    """

    kind: str
    component: str
    summary: str
    commands: tuple[str, ...]
    reference: str = ""
    torch_reference: bool = False
    has_params: bool = True

    @property
    def module(self) -> str:
        """Name of the module that it is implemented in."""
        return plural(self.kind)


_TRIED = "zoo run --model lenet --limit 500 --name tried"
"""A run for the commands that need one."""

_ALL = (
    KindExample(
        kind="model", component="all-cnn", summary="convolutions alone (Springenberg et al. 2015)",
        commands=("zoo run --model all-cnn-16 --limit 500 --epochs 2",),
    ),
    KindExample(
        kind="head", component="maxout",
        summary="the largest of several linear maps (Goodfellow et al. 2013)",
        commands=("zoo run --model lenet --head maxout-3 --limit 500",),
    ),
    KindExample(
        kind="loss", component="gce", summary="generalised cross-entropy (Zhang & Sabuncu 2018)",
        commands=("zoo run --model lenet --loss gce-0.7 --limit 500",),
        reference="gce", torch_reference=True,
    ),
    KindExample(
        kind="optimizer", component="signum",
        summary="the sign of the momentum (Bernstein et al. 2018)",
        commands=("zoo run --model lenet --optim signum --lr 0.001 --limit 500",),
    ),
    KindExample(
        kind="scheduler", component="triangular",
        summary="up and down in straight lines (Smith 2017)",
        commands=(
            "zoo explain triangular-4 --epochs 12",
            "zoo run --model lenet --sched triangular-4 --limit 500",
        ),
        reference="triangular",
    ),
    KindExample(
        kind="transform", component="hide-and-seek",
        summary="patches are hidden at random (Singh & Lee 2017)",
        commands=("zoo run --model lenet --aug flip+hide-and-seek-0.25 --limit 500",),
    ),
    KindExample(
        kind="dataset", component="drawn-shapes", summary="discs and squares, drawn when asked for",
        commands=("zoo run --model lenet --data drawn-shapes-50",),
    ),
    KindExample(
        kind="metric", component="g-mean",
        summary="geometric mean of the recalls (Kubat & Matwin 1997)",
        commands=("zoo run --model lenet --metric g-mean --limit 500",),
        reference="g_mean", torch_reference=True, has_params=False,
    ),
    KindExample(
        kind="explainer", component="saliency",
        summary="size of the gradient at each pixel (Simonyan et al. 2014)",
        commands=(_TRIED, "zoo heatmap runs/tried --explainer saliency"), has_params=False,
    ),
    KindExample(
        kind="projector", component="random-projection",
        summary="onto a plane at random (Dasgupta 2000)",
        commands=(_TRIED, "zoo embed runs/tried --projector random-projection --plot plane.png"),
        has_params=False,
    ),
    KindExample(
        kind="reviewer", component="likelihood-ratio",
        summary="labels less likely than the classifier's answer",
        commands=(_TRIED, "zoo review runs/tried --reviewer likelihood-ratio-0.5"),
    ),
    KindExample(
        kind="callback", component="loss-lines", summary="both losses as lines of JSON",
        commands=("zoo run --model lenet --callback loss-lines --limit 500",), has_params=False,
    ),
    KindExample(
        kind="exporter", component="npz", summary="the weights as NumPy arrays",
        commands=(_TRIED, "zoo export runs/tried --to npz"), has_params=False,
    ),
    KindExample(
        kind="recipe", component="super-convergence",
        summary="one cycle of a high rate (Smith & Topin 2018)",
        commands=(
            "zoo show recipe super-convergence",
            "zoo run --recipe super-convergence-0.1 --model lenet --limit 500 --epochs 3",
        ),
    ),
    KindExample(
        kind="command", component="class-counts", summary="counts images of each class",
        commands=("zoo class-counts fashion-mini",), has_params=False,
    ),
)  # fmt: skip

EXAMPLES: Mapping[str, KindExample] = MappingProxyType({one.kind: one for one in _ALL})
"""One for every kind."""


def new_commands(target: Path, kinds: Sequence[str]) -> tuple[str, ...]:
    """Returns what to type after a plugin of these kinds was written to a folder."""
    enter = () if target.resolve() == Path.cwd() else (f"cd {shlex.quote(str(target))}",)
    listed = tuple(f"zoo list {plural(kind)} {EXAMPLES[kind].component}" for kind in kinds)
    tried = tuple(command for kind in kinds for command in EXAMPLES[kind].commands)
    return (*enter, "pip install -e '.[test]'", "pytest", *listed, *dict.fromkeys(tried))
