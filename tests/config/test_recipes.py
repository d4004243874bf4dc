"""Recipes: what they set, who wins over them, what a run keeps of them, and broken ones."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import zoo
import zoo_recipes
from zoo.cli.run import run as run_command
from zoo.config import RunConfig
from zoo.config.recipes import as_flags, read_recipe, with_recipe
from zoo.config.run_config import option_of
from zoo.errors import UsageError
from zoo.registry import Registry, discover, parse_choice
from zoo.registry.settings import Settings

ROOT = Path(__file__).parents[2]
COMPONENTS = list(zoo_recipes.zoo_components())
NAMES = [component.name for component in COMPONENTS]
LESSONS = [c.name for c in COMPONENTS if "lesson" in c.tags]
SCRATCH = [c.name for c in COMPONENTS if {"lesson", "from scratch"} <= set(c.tags)]

ACME = """
from zoo.plugin import Component, Param, hookimpl

SETTINGS = {settings}
def function(**given):
    return {returned}

@hookimpl
def zoo_components():
    for name in ("acme", "made"):
        yield Component(
            kind="recipe", name=name, params=({params}),
            target=__name__ + (":SETTINGS" if name == "acme" else ":function"),
        )
"""


def settings_for(spec: str, registry: Registry) -> dict[str, object]:
    return dict(read_recipe(parse_choice(registry, "recipe", spec)).settings)


def read_flags(words: list[str]) -> dict[str, object]:
    """Returns what the command line reads, without what was not given."""
    given = run_command.make_context("run", list(words)).params
    own = ("config_file", "settings", "dry_run", "as_json")
    return {key: value for key, value in given.items() if key not in own and value is not None}


# ---- the built-in ones ------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_each_names_components_that_exist(name, registry):
    from zoo.engine.assembly.choices import choose

    table = with_recipe({"recipe": name, "distill": "runs/teacher"}, registry)
    chosen = choose(RunConfig.from_mapping(table), registry)
    assert all(choice.entry.plugin.builtin for choice in chosen.all)


@pytest.mark.parametrize("name", NAMES)
def test_the_command_that_show_prints_says_the_same(name, zoo_command, registry):
    outcome = zoo_command("show", "recipe", name, "--json")
    assert outcome.code == 0, outcome.err
    facts = json.loads(outcome.out)
    program, command, *words = shlex.split(facts["same_as"].removesuffix("--distill ..."))
    assert [program, command] == ["zoo", "run"]
    assert RunConfig.from_mapping(read_flags(words)) == RunConfig.from_mapping(
        settings_for(name, registry)
    )


def test_show_has_a_line_for_each_option_and_a_command(zoo_command, registry):
    outcome = zoo_command("show", "recipes", "lenet-mnist-1e-5")
    assert outcome.code == 0, outcome.err
    for key in settings_for("lenet-mnist", registry):
        assert any(line.startswith(f"{key} ") for line in outcome.out.splitlines()), key
    assert "zoo run --recipe lenet-mnist-1e-5\n  is the same as\n  zoo run --model" in outcome.out
    assert "--lr 1e-05" in outcome.out


def test_the_lessons_are_as_taught(registry):
    def told(spec: str, *keys: str) -> list[object]:
        settings = settings_for(spec, registry)
        return [settings[key] for key in keys]

    what = ("model", "data", "optim", "lr", "batch_size", "epochs")
    assert told("lenet-mnist", *what) == ["lenet", "mnist", "adam", 1e-3, 100, 12]
    assert told("lenet-mnist-taught", *what) == ["lenet", "mnist", "adam", 1e-5, 100, 12]
    assert told("mnist-mlp", "optim", "lr", "epochs") == ["adam", 1e-3, 5]
    assert told("cifar10-mlp", "optim", "epochs") == ["adam", 25]
    for rate in (0.01, 0.05):
        quick = told(f"cifar10-quick-{rate}", "optim", "lr", "batch_size")
        assert quick == ["sgd:momentum=0.9", rate, 64]
    for name in ("digits", "fashion"):
        for sched in ("SGDR-10-2", "plateau"):
            keys = ("img_size", "freeze_epochs", "loss", "sched", "patience", "metric")
            assert told(f"mobilenetv3-{name}:sched={sched}", *keys) == [
                224, 2, "label-smoothing-0.1", sched, 7, "f1",
            ]  # fmt: skip


@pytest.mark.parametrize("name", SCRATCH)
def test_from_scratch_nothing_is_frozen(name, registry):
    from zoo.engine.assembly.phases import plan_of

    config = RunConfig.from_mapping(settings_for(name, registry))
    assert [phase.trainable for phase in plan_of(config)] == ["all"]
    assert config.weights == "none"


def test_the_sensible_rate_learns_what_the_taught_one_does_not(tmp_path, registry):
    small = {"data": "fashion-mini", "limit": 200, "threads": 1, "runs": str(tmp_path)}
    sensible = zoo.run(recipe="lenet-mnist", registry=registry, **small)
    taught = zoo.run(recipe="lenet-mnist-taught", registry=registry, **small, epochs=3)
    assert len(sensible.rows) == 12
    assert sensible.test_loss < 1.3
    assert taught.test_loss > 2.2  # the loss of a guess is 2.3


def test_a_student_learns_from_the_teacher_that_it_is_given(
    tmp_path, shapes_folder, zoo_command, registry
):
    tiny = ("--data", shapes_folder, "--img-size", 16, "--threads", 1, "--runs", tmp_path)
    assert zoo_command("run", "--model", "lenet", *tiny, "--epochs", 2, "--name", "big").code == 0
    outcome = zoo_command("run", "--recipe", "distillation", *tiny, "--epochs", 2)
    assert outcome.code == 2
    assert "needs --distill" in outcome.err
    assert "a run folder, or MODEL@WEIGHTS" in outcome.err
    teacher = tmp_path / "big"
    outcome = zoo_command("run", "--recipe", "distillation", *tiny, "--epochs", 2,
                          "--distill", teacher, "--name", "small")  # fmt: skip
    assert outcome.code == 0, outcome.err
    kept = tomllib.loads((tmp_path / "small" / "config.toml").read_text())
    assert (kept["distill"], kept["distill_weight"]) == (str(teacher), 0.9)


# ---- who wins ---------------------------------------------------------------------------------


def test_flags_win_over_set_over_config_over_recipe(zoo_command, shapes_folder, tmp_path):
    (tmp_path / "some.toml").write_text("batch_size = 11\nepochs = 11\nseed = 11\n")
    outcome = zoo_command(
        "run", "--recipe", "lenet-mnist", "--config", tmp_path / "some.toml", "--set", "epochs=12",
        "--set", "seed=12", "--seed", 13, "--data", shapes_folder, "--dry-run", "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    config = json.loads(outcome.out)["config"]
    assert [config[k] for k in ("lr", "batch_size", "epochs", "seed")] == [1e-3, 11, 12, 13]
    assert config["data"] == str(shapes_folder)
    assert config["recipe"] == "recipes/lenet-mnist:lr=0.001 (classifier-zoo 0.1.0)"


def test_a_file_can_start_from_a_recipe(zoo_command, shapes_folder, tmp_path):
    (tmp_path / "own.toml").write_text('recipe = "mnist-mlp"\nlr = 0.5\n')
    outcome = zoo_command("run", "--config", tmp_path / "own.toml", "--data", shapes_folder,
                          "--dry-run", "--json")  # fmt: skip
    assert outcome.code == 0, outcome.err
    config = json.loads(outcome.out)["config"]
    assert (config["model"], config["lr"], config["epochs"]) == ("mlp-mnist", 0.5, 5)


def test_a_plan_of_the_user_replaces_the_epochs_of_the_recipe(registry):
    plan = "head:epochs=1+all:epochs=2"
    table = with_recipe({"recipe": "strong-finetune", "phases": plan}, registry)
    assert "epochs" not in table
    assert "freeze_epochs" not in table
    table = with_recipe({"recipe": "strong-finetune", "freeze-epochs": 3}, registry)
    assert (table["freeze_epochs"], "epochs" in table) == (3, True)


# ---- what a run keeps -------------------------------------------------------------------------


def test_what_a_run_writes_repeats_it_and_names_the_recipe(zoo_command, shapes_folder, tmp_path):
    tiny = ("--data", shapes_folder, "--img-size", 16, "--epochs", 1, "--threads", 1)
    outcome = zoo_command("run", "--recipe", "lenet-mnist:lr=0.003", *tiny, "--runs", tmp_path,
                          "--name", "first")  # fmt: skip
    assert outcome.code == 0, outcome.err
    kept = tomllib.loads((tmp_path / "first" / "config.toml").read_text())
    assert kept["recipe"] == "recipes/lenet-mnist:lr=0.003 (classifier-zoo 0.1.0)"
    assert (kept["lr"], kept["batch_size"], kept["epochs"]) == (0.003, 100, 1)
    outcome = zoo_command("run", "--config", tmp_path / "first" / "config.toml", "--name", "second")
    assert outcome.code == 0, outcome.err
    again = tomllib.loads((tmp_path / "second" / "config.toml").read_text())
    assert {**again, "name": "first"} == kept
    one, two = (tmp_path / name / "best" / "model.safetensors" for name in ("first", "second"))
    assert one.read_bytes() == two.read_bytes()


def test_a_run_goes_on_and_repeats_without_the_plugin_of_its_recipe(
    make_plugin, zoo_command, shapes_folder, tmp_path, monkeypatch
):
    make_plugin("acme", ACME.format(settings="{'model': 'lenet', 'img_size': 16, 'epochs': 1}",
                                    returned="{}", params=""))  # fmt: skip
    outcome = zoo_command("run", "--recipe", "acme", "--data", shapes_folder, "--threads", 1,
                          "--runs", tmp_path, "--name", "one")  # fmt: skip
    assert outcome.code == 0, outcome.err
    monkeypatch.setenv("ZOO_PLUGINS", "")
    config = tmp_path / "one" / "config.toml"
    assert 'recipe = "acme/acme (zoo-acme 1.0)"' in config.read_text()
    assert zoo_command("resume", tmp_path / "one").code == 0
    assert zoo_command("run", "--config", config, "--name", "two").code == 0


# ---- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("lenet-minst", ["no recipe is named", "lenet-mnist"]),
        ("lenet-mnist:rate=1", ["has no argument 'rate'", "lr (float"]),
        ("lenet-mnist:lr=-1", ["lr is -1", "above 0"]),
        ("linear-probe-3", ["takes no values"]),
        ("recipes/lenet-mnist:lr=0.001 (classifier-zoo 0.1.0)", ["writes its recipe down",
                                                                  "--recipe recipes/lenet-mnist:"]),
        ("", ["the recipe is empty"]),
    ],
)  # fmt: skip
def test_wrong_names_and_arguments(zoo_command, spec, words):
    outcome = zoo_command("run", "--recipe", spec, "--dry-run")
    assert outcome.code == 2
    assert all(word in outcome.err for word in words), outcome.err


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("{'modle': 'lenet'}", ["'modle'", "did you mean model"]),
        ("{'epochs': 2.5}", ["acme/made: epochs is 2.5, and must be an int"]),
        ("{'lr': -1, 'seed': 'x'}", ["lr is -1", "seed is x"]),
        ("{'name': 'x', 'runs': '/etc'}", ["sets name, runs, which is for the user to say"]),
        ("{'resume': 'auto'}", ["sets resume"]),
        ("{'recipe': 'lenet-mnist'}", ["sets recipe"]),
        ("{'needs': 'distill'}", ["needs that are not a list"]),
        ("{'needs': ['teacher']}", ["no option 'teacher'"]),
        ("[('lr', 1)]", ["is a list, and must be a mapping"]),
        ("1 / 0", ["ZeroDivisionError"]),
        ("__import__('os')._exit", ["is a builtin_function_or_method"]),
        ("{'\\x1b[31m': 1}", ["\\x1b[31m"]),
    ],
)
def test_a_broken_recipe_names_its_plugin(make_plugin, zoo_command, returned, words):
    make_plugin("acme", ACME.format(settings="{}", returned=returned, params=""))
    for command in (("run", "--recipe", "made", "--dry-run"), ("show", "recipe", "made")):
        outcome = zoo_command(*command)
        assert outcome.code == 5, outcome
        assert all(word in outcome.err for word in ("acme/made", "zoo-acme 1.0", *words))
        assert "Traceback" not in outcome.err
        assert "\x1b" not in outcome.err
        assert len(outcome.err.splitlines()) <= 4


@pytest.mark.parametrize("key", ["model", "optim", "sched", "loss", "aug", "callback"])
def test_a_recipe_imports_nothing_but_declared_components(make_plugin, zoo_command, key):
    make_plugin("acme", ACME.format(settings={key: "antigravity:fly"}, returned="{}", params=""))
    outcome = zoo_command("run", "--recipe", "acme", "--dry-run")
    assert outcome.code == 2, outcome.err
    assert "'antigravity'" in outcome.err
    assert "antigravity" not in sys.modules


def test_arguments_of_a_mapping_override_it_and_none_leaves_open(make_plugin):
    make_plugin("acme", ACME.format(
        settings="{'lr': 0.5, 'epochs': 3, 'dropout': None, 'freeze-epochs': 0}",
        returned="{'img_size': given['epochs']}",
        params="Param(name='lr', optional=True), Param(name='epochs', type='int', default=None),",
    ))  # fmt: skip
    found = Registry(discover(Settings()))
    assert settings_for("acme", found) == {"lr": 0.5, "epochs": 3, "freeze_epochs": 0}
    assert settings_for("acme:lr=2", found) == {"lr": 2.0, "epochs": 3, "freeze_epochs": 0}
    assert settings_for("made:epochs=7", found) == {"img_size": 7}


def test_a_recipe_that_would_change_nothing_is_said(registry):
    with pytest.raises(UsageError, match="RunConfig says every option"):
        zoo.prepare(RunConfig(recipe="lenet-mnist"), registry=registry)
    with pytest.raises(UsageError, match="RunConfig says every option"):
        zoo.prepare(RunConfig(model="lenet"), recipe="lenet-mnist", registry=registry)
    whole = settings_for("linear-probe", registry)
    with pytest.raises(UsageError, match="all that it sets is set already"):
        with_recipe({**whole, "recipe": "linear-probe"}, registry)


def test_a_lesson_whose_data_cannot_be_had_says_where_it_goes(
    zoo_command, tmp_path, monkeypatch, registry
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in LESSONS:
        outcome = zoo_command("run", "--recipe", name)
        data = settings_for(name, registry)["data"]
        assert outcome.code == 6, outcome.err
        assert f"the data set {data} is not in" in outcome.err
        assert "put by hand below" in outcome.err
        assert "or name the folder where they are: --data FOLDER" in outcome.err
        assert not (tmp_path / "runs").exists()


# ---- flags, lists, imports --------------------------------------------------------------------


def _values(name: str) -> st.SearchStrategy[object]:
    """Returns values that an option takes."""
    param = option_of(name)
    low = param.above if param.above is not None else param.minimum
    high = param.below if param.below is not None else param.maximum
    kind = param.type.removesuffix(" list")
    if param.choices:
        return st.sampled_from(param.choices)
    number = {
        "bool": st.booleans(),
        "str": st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1),
        "int": st.integers(int(low or 0) + 1, int(high or 10**6) - 1),
        "float": st.floats(low or 0.0, high or 1e6, exclude_min=True, exclude_max=True),
    }[kind]
    return st.tuples(number, number, number) if param.type.endswith("list") else number


OPTIONS = [f.name for f in dataclasses.fields(RunConfig) if f.name not in ("split", "name", "fold")]


@settings(max_examples=60)
@given(st.data())
def test_flags_say_what_the_settings_say(data):
    keys = data.draw(st.lists(st.sampled_from(OPTIONS), unique=True, max_size=8))
    said = {key: data.draw(_values(key), label=key) for key in keys}
    said = {key: v for key, v in said.items() if not (isinstance(v, str) and v.startswith("-"))}
    words = shlex.split(shlex.join(as_flags(said)))
    try:
        assert _taken(read_flags(words)) == _taken(said)
    except click.ClickException as error:
        pytest.fail(error.format_message())


def _taken(table):
    """The configuration, or why there is none: options that do not go together are drawn, too."""
    try:
        return RunConfig.from_mapping(table)
    except UsageError as error:
        return str(error), error.hint


def test_the_python_function_takes_a_recipe_too(shapes_folder, registry):
    job = zoo.prepare(recipe="mnist-mlp", data=str(shapes_folder), epochs=2, registry=registry)
    assert (job.config.model, job.config.epochs, job.config.lr) == ("mlp-mnist", 2, 1e-3)
    with pytest.raises(UsageError, match="no recipe is named"):
        zoo.prepare(recipe="nothing-like-it", registry=registry)


@pytest.mark.parametrize(
    ("first", "hint"),
    [
        ("photos", 'data="photos"'),
        (Path("photos"), 'data="photos"'),
        (7, "options by their names"),
    ],
)
def test_what_is_no_configuration_is_refused_with_what_may_have_been_meant(first, hint):
    for function in (zoo.run, zoo.prepare):
        with pytest.raises(UsageError, match="a configuration comes first") as refused:
            function(first, epochs=1)
        assert refused.value.found == f"{type(first).__name__}: {first}"
        assert refused.value.hint == hint


@pytest.mark.parametrize("args", [["list", "recipes"], ["show", "recipe", "strong-finetune"]])
def test_looking_at_recipes_imports_no_torch(args):
    code = (
        "import sys\nfrom zoo.cli.main import main\n"
        f"assert main({args!r}) == 0\n"
        "print('HEAVY', sorted({'torch', 'timm', 'numpy', 'torchvision'} & set(sys.modules)))"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins"), *sys.path])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": path}, check=True)  # fmt: skip
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_recipes_are_listed_with_the_lessons_first(zoo_command):
    listed = json.loads(zoo_command("list", "recipes", "--tag", "lesson", "--json").out)
    assert [entry["name"] for entry in listed] == LESSONS
    assert NAMES[: len(LESSONS)] == LESSONS
