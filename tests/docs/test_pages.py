"""The pages under docs/ name options, specs and plans that exist."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from zoo.cli.main import cli
from zoo.config import RunConfig
from zoo.engine.assembly.phases import PHASE_PARAMS, parse_phases
from zoo.registry import parse_choices

ROOT = Path(__file__).parents[2]
PAGES = (
    "docs/data.md", "docs/training.md", "docs/evaluation.md", "docs/recipes.md", "docs/lessons.md",
    "docs/export.md", "docs/plugins.md", "docs/testing-plugins.md", "docs/models.md",
    "README.md", "CHANGELOG.md",
)  # fmt: skip


def _flags(command: click.Command) -> set[str]:
    """Every flag of a command and of those below it, without the dashes."""
    found = {
        flag.removeprefix("--")
        for param in command.params
        for flag in (*param.opts, *param.secondary_opts)
        if flag.startswith("--")
    }
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found |= _flags(command.get_command(context, name))
    return found


FLAGS = _flags(cli) | {"help"}
OTHER = {"extra-index-url", "force-reinstall", "lf", "no-deps"}  # pip's and pytest's


@pytest.mark.parametrize("page", PAGES)
def test_every_option_that_a_page_names_exists(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w-])--([a-z][a-z0-9-]*)", text))
    assert named
    assert named <= FLAGS | OTHER, named - FLAGS - OTHER


@pytest.mark.parametrize("page", PAGES)
def test_every_augmentation_and_plan_parses(page, registry):
    text = (ROOT / page).read_text(encoding="utf-8")
    for spec in re.findall(r"--aug ([a-z][\w+.:=,-]*)", text):
        assert parse_choices(registry, "transform", spec)
    for plan in re.findall(r"--phases ((?:head|all|last)[\w+.:=,-]*)", text):
        assert parse_phases(plan, RunConfig())


def test_the_table_of_phases_is_that_of_the_code():
    text = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    table = text[text.index("| argument of a phase") : text.index("What a phase does not say")]
    assert set(re.findall(r"`([a-z_]+)`", table)) >= {param.name for param in PHASE_PARAMS}
