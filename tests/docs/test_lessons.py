"""docs/lessons.md is a script that runs; docs/recipes.md has the recipes that there are."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zoo_recipes

ROOT = Path(__file__).parents[2]
LESSONS = (ROOT / "docs/lessons.md").read_text(encoding="utf-8")
RECIPES = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
NAMES = [component.name for component in zoo_recipes.zoo_components()]

SMALL = {"run": ["--limit", "20", "--threads", "1"], "kfold": ["--limit", "20", "--threads", "1"]}


def blocks(text: str) -> list[tuple[str, str]]:
    """Returns the (language, text) of each block of code, in order."""
    return re.findall(r"```(sh|python)\n(.*?)```", text, flags=re.DOTALL)


def shortened(words: list[str]) -> list[str]:
    """Returns a command with one epoch on few images."""
    if words[0] in SMALL:
        words = [*words, *SMALL[words[0]], "--epochs", "1"]
    return words


def test_the_page_of_lessons_runs_from_top_to_bottom(zoo_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture = np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8)
    (tmp_path / "pictures").mkdir()
    for file in ("cat.jpg", "pictures/one.png", "pictures/two.png"):
        Image.fromarray(picture).save(file)
    names: dict[str, object] = {}
    for language, text in blocks(LESSONS):
        if language == "python":
            exec(compile(text, "docs/lessons.md", "exec"), names)
            continue
        for line in text.splitlines():
            program, *words = shlex.split(line, comments=True)
            assert program == "zoo"
            outcome = zoo_command(*shortened(words))
            assert outcome.code == 0, (line, outcome.err)
            assert outcome.out or outcome.err, line
    for made in ("loss.png", "lenet.pth", "compare.html", "pre.csv", "runs/first/report.html"):
        assert (tmp_path / made).stat().st_size > 0, made
    assert len(names["moments"]) == len(list(names["model"].parameters())) == 8
    table = (tmp_path / "pre.csv").read_text().splitlines()
    assert table[0].startswith("image_id,label,score")
    assert len(table) == 1 + 2


def test_the_moments_are_what_torch_takes(zoo_command, tmp_path):
    """The optimizer state of a checkpoint, in the words of the page, loads into torch's Adam."""
    import torch

    import zoo
    from zoo.runs import checkpoint

    words = [*shlex.split("--recipe lenet-mnist --data fashion-mini --name one --runs"), tmp_path]
    outcome = zoo_command(*shortened(["run", *words]))
    assert outcome.code == 0, outcome.err
    saved = checkpoint.load(checkpoint.latest(tmp_path / "one" / "checkpoints")[0])
    model = zoo.load(tmp_path / "one").model
    adam = torch.optim.Adam(model.parameters(), lr=1.0)
    moments = saved.state["optimizer"]["state"]
    shapes = [tuple(state["exp_avg"].shape) for state in moments.values()]
    assert sorted(shapes) == sorted(tuple(p.shape) for p in adam.param_groups[0]["params"])
    assert all(float(state["step"]) == 1 for state in moments.values())  # 20 images, one batch


def test_the_table_of_recipes_has_each_of_them():
    rows = re.findall(r"^\| `([a-z0-9-]+)`", RECIPES, flags=re.MULTILINE)
    assert sorted(set(rows)) == sorted(NAMES)


@pytest.mark.parametrize(
    "line", [line for _, text in blocks(RECIPES) for line in text.splitlines() if "zoo " in line]
)
def test_each_command_of_the_page_of_recipes_reads(line, registry):
    from zoo.cli.list import kind_named
    from zoo.cli.run import run as run_command
    from zoo.config import RunConfig
    from zoo.config.recipes import with_recipe
    from zoo.registry import parse_choice

    program, command, *words = shlex.split(line, comments=True)
    assert program == "zoo"
    if command == "show":
        assert parse_choice(registry, kind_named(words[0]), words[1])
    elif command == "list":
        assert kind_named(words[0]) == "recipe"
    elif command == "run":
        given = run_command.make_context("run", words).params
        own = ("config_file", "settings", "dry_run", "as_json")
        table = {key: v for key, v in given.items() if key not in own and v is not None}
        assert RunConfig.from_mapping(with_recipe(table, registry))
    else:
        from zoo.cli.main import cli

        assert command in cli.list_commands(None)


def test_the_recipe_of_a_plugin_on_the_page_works(make_plugin, zoo_command, shapes_folder):
    (example,) = [text for language, text in blocks(RECIPES) if language == "python"]
    make_plugin("acme", example)
    (line,) = re.findall(r"`zoo (run --recipe house[^`]+)`", RECIPES)
    words = shlex.split(line.replace("photos", str(shapes_folder)))
    outcome = zoo_command(*words, "--weights", "none", "--dry-run", "--json")
    assert outcome.code == 0, outcome.err
    config = json.loads(outcome.out)["config"]
    assert (config["epochs"], config["aug"]) == (5, "standard+mixup-0.2")
    outcome = zoo_command("run", "--recipe", "house")
    assert outcome.code == 2
    assert "the recipe house needs --data" in outcome.err
