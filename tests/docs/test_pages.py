"""The pages under docs/ name options, specs and plans that exist."""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
from pathlib import Path

import click
import pytest

from zoo.cli.main import cli
from zoo.config import RunConfig
from zoo.config.defaults import default_epochs, default_image_size, settle
from zoo.config.run_config import option_of
from zoo.engine.assembly.phases import PHASE_PARAMS, parse_phases
from zoo.registry import parse_choice, parse_choices

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
OTHER = {"extra-index-url", "force-reinstall", "lf", "multi", "no-deps", "nproc-per-node", "num"}
# pip's, pytest's, torchrun's, and how --multi_gpu and --num_processes of accelerate begin


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


@pytest.mark.parametrize("page", PAGES)
def test_every_model_parses(page, registry):
    text = (ROOT / page).read_text(encoding="utf-8")
    for spec in re.findall(r"--model '?([a-zA-Z][\w/.:=,@-]*)", text):
        assert parse_choice(registry, "model", spec)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_another_page_leads_somewhere(page):
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    for path, anchor in re.findall(r"\]\((?!\w+:)([^)#\s]*)#?([\w-]*)\)", text):
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), path
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in anchors, (path, anchor)


@pytest.mark.parametrize("page", PAGES)
def test_every_configuration_and_settings_file_reads(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for block in re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL):
        table = tomllib.loads(block)
        if "pins" in table:
            assert set(table) <= {"disabled", "pins"}
        elif "model" in table:
            assert RunConfig.from_mapping(table)


TRAINING = (ROOT / "docs/training.md").read_text(encoding="utf-8")


def _rows(first, last):
    """The rows of a table of docs/training.md: the options of the first cell, then the others."""
    table = TRAINING[TRAINING.index(first) : TRAINING.index(last)]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()]
    return {row[0]: row[1:] for row in cells[2:] if len(row) > 1}


def test_the_table_of_phases_is_that_of_the_code():
    rows = {name.strip("`"): cells for name, cells in _rows("| argument of", "`last-2`").items()}
    assert list(rows) == [param.name for param in PHASE_PARAMS]
    assert (rows["epochs"][1], rows["lr"][1]) == ("1", "1")
    config = RunConfig(
        warmup=1.5, sched_scope="phase", patience=7, layer_decay=0.7, norm="train", freeze_views=2
    )
    for plan in ("head", "last-2", "all"):
        (phase,) = parse_phases(plan, config)
        assert (phase.epochs, phase.lr) == (1, 1.0)
        assert phase.warmup == (0 if plan == "head" else 1.5)
        assert (phase.restarts, phase.patience, phase.layer_decay) == (True, 7, 0.7)
        assert phase.hold_statistics == (plan == "head")
        assert phase.augment
    assert not parse_phases("head", RunConfig())[0].augment


@pytest.mark.parametrize("pretrained", [True, False])
def test_the_table_of_defaults_is_that_of_the_code(pretrained):
    rows = {
        re.match(r"`--([\w-]+)`", name)[1].replace("-", "_"): cells[0 if pretrained else 1]
        for name, cells in _rows("| option | pretrained", "The size is the images").items()
    }
    many, few = (
        settle(RunConfig(), pretrained=pretrained, num_train=count, image_size=96, sched_ends=True)
        for count in (10**6, 10)
    )
    decided = {
        field.name
        for field in dataclasses.fields(RunConfig)
        if getattr(RunConfig(), field.name) != getattr(many, field.name)
    }
    assert set(rows) == {*decided, "workers"}
    images, least, most = map(int, re.findall(r"\d+", rows.pop("epochs").replace(",", "")))
    assert (many.epochs, few.epochs) == (least, most)
    middle = 2 * images // (least + most)
    assert default_epochs(middle, pretrained=pretrained) == math.ceil(images / middle)
    for key, cell in rows.items():
        if key not in ("img_size", "sched_scope", "workers"):
            assert cell.strip("`") == str(getattr(many, key)), key


def test_the_help_of_an_option_has_its_defaults():
    for pretrained in (True, False):
        settled = settle(
            RunConfig(), pretrained=pretrained, num_train=10**6, image_size=96, sched_ends=True
        )
        for key in ("lr", "backbone_lr", "warmup", "weight_decay", "freeze_epochs", "epochs"):
            said = map(float, re.findall(r"\d[\d.e-]*", option_of(key).summary.replace(";", " ")))
            assert float(getattr(settled, key)) in list(said), key
        assert settled.aug in option_of("aug").summary


def test_the_image_size_is_what_the_page_says():
    assert "rounded up to a multiple of 32: 64 at least" in TRAINING
    for side, size in ((28, 64), (64, 64), (65, 96), (96, 96), (500, 224), (None, 224)):
        assert default_image_size(preferred=224, typical_side=side) == size
