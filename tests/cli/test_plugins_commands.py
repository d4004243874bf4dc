"""zoo plugins list, show, enable, disable, check; the commands that plugins bring."""

from __future__ import annotations

import json
import zipfile

import pytest

DECLARES = """
from zoo.plugin import Component, Param, hookimpl

@hookimpl
def zoo_components():
    yield Component(
        kind="scheduler", name="halving", target="{package}.schedules:halving",
        summary="Half the rate each epoch", params=({params}), shorthand=({shorthand}),
    )
"""
HALVING = '''
def halving(factor=0.5):
    """Returns the share of the learning rate at an epoch."""
    return lambda epoch: factor**epoch
'''
COMMANDS = """
import sys
import click
from zoo.errors import DataError

@click.command()
@click.argument("what")
@click.option("--loud", is_flag=True)
def hello(what, loud):
    if what == "raise":
        raise ValueError("boom\\x1b[31m")
    if what == "zoo":
        raise DataError("no pictures", hint="take some")
    if what == "click":
        raise click.BadParameter("not that")
    if what == "exit":
        sys.exit(7)
    if what == "say":
        sys.exit("good bye")
    if what == "return":
        return 4
    click.echo(what.upper() if loud else what)

no_command = 5
"""


@pytest.fixture
def halving(make_plugin, tmp_path):
    """A good plugin with a scheduler, in two files."""
    package = make_plugin(
        "acme", DECLARES.format(
            package="zoo_acme_plugin", shorthand='"factor",',
            params='Param(name="factor", default=0.5, above=0, maximum=1, summary="its share"),',
        ), version="2.1",
    )  # fmt: skip
    (tmp_path / "site" / package / "schedules.py").write_text(HALVING)
    (tmp_path / "site" / "zoo_acme-2.1.dist-info" / "RECORD").write_text(
        f"{package}/__init__.py,,\n{package}/schedules.py,,\n"
    )
    return tmp_path / "site" / package


def test_list_tells_what_each_provides_and_imports_none(make_plugin, zoo_command):
    make_plugin("acme", DECLARES.format(package="x", params="", shorthand=""), version="2.1")
    (before,) = of(zoo_command, "acme")
    assert (before["status"], before["provides"]) == ("unread", {})
    assert "not read yet" in zoo_command("plugins", "list").out
    zoo_command("list", "schedulers")
    (record,) = of(zoo_command, "acme")
    assert record == {
        "namespace": "acme", "distribution": "zoo-acme", "version": "2.1", "api": "v1",
        "builtin": False, "status": "ok", "cause": "", "origin": "", "notes": [],
        "provides": {"scheduler": ["halving"]}, "load_milliseconds": record["load_milliseconds"],
        "heavy_imports": [],
    }  # fmt: skip
    assert 0 < record["load_milliseconds"] < 5000
    (own,) = of(zoo_command, "timm")
    assert len(own["provides"]["model"]) > 1000


def of(zoo_command, name):
    records = json.loads(zoo_command("plugins", "list", "--json").out)
    return [record for record in records if record["namespace"] == name]


def test_show_tells_files_times_and_components(halving, zoo_command):
    for name in ("acme", "zoo-acme", "ZOO_ACME"):
        text = zoo_command("plugins", "show", name).out
        for word in ("zoo-acme 2.1", "api       v1", "status    ok", "Half the", "1 more file"):
            assert word in text, word
    (facts,) = json.loads(zoo_command("plugins", "show", "acme", "--json").out)
    assert facts["files"] == [str(halving / "__init__.py"), str(halving / "schedules.py")]
    assert facts["components"][0]["target"] == "zoo_acme_plugin.schedules:halving"
    unknown = zoo_command("plugins", "show", "acne")
    assert unknown.code == 2
    assert "close: acme" in unknown.err


def test_show_explains_what_does_not_load(make_plugin, zoo_command):
    make_plugin("hostile", "raise RuntimeError('not today')")
    make_plugin("past", "raise SystemExit", group="zoo.v0")
    make_plugin("future", "raise SystemExit", group="zoo.v2")
    broken = zoo_command("plugins", "show", "hostile").out
    assert "RuntimeError: not today at" in broken
    assert "__init__.py:1" in broken
    for name, says, cure in (
        ("past", "speaks v0, this zoo speaks v1", "pip install -U zoo-past"),
        ("future", "speaks v2, this zoo speaks v1", "pip install -U classifier-zoo"),
    ):
        assert says in zoo_command("plugins", "show", name).out
        assert says in zoo_command("plugins", "list").out
        (line,) = [ln for ln in zoo_command("doctor").out.splitlines() if f"{name} (zoo-" in ln]
        assert says in line
        assert cure in line
        assert f"{name} (incompatible)" in zoo_command("explain", "zigzag").err


@pytest.mark.parametrize("name", ["acme", "zoo-acme", "Zoo_Acme", "zoo.acme", "ACME"])
@pytest.mark.parametrize("back", ["acme", "zoo-acme", "zoo_acme"])
def test_disable_and_enable_by_either_name(halving, zoo_command, name, back):
    assert zoo_command("plugins", "disable", name).code == 0
    assert of(zoo_command, "acme")[0]["status"] == "disabled"
    assert zoo_command("explain", "halving").code == 2
    assert zoo_command("plugins", "enable", back).code == 0
    assert zoo_command("explain", "halving").code == 0


def test_enabled_is_what_was_disabled_by_both_names(halving, zoo_command):
    for name in ("acme", "zoo-acme"):
        assert zoo_command("plugins", "disable", name).code == 0
    assert zoo_command("plugins", "enable", "acme").code == 0
    assert zoo_command("explain", "halving").code == 0


def test_what_a_component_prints_stays_out_of_the_json_of_a_check(halving, zoo_command):
    schedules = halving / "schedules.py"
    schedules.write_text(HALVING.replace("    return", "    print('built')\n    return"))
    done = zoo_command("plugins", "check", "acme", "--json")
    assert all(result["ok"] for result in json.loads(done.out))
    assert "built" in done.err


def test_check_runs_the_kit_on_names_and_paths(halving, zoo_command, tmp_path):
    done = zoo_command("plugins", "check", "acme", "--json")
    results = json.loads(done.out)
    assert done.code == 0, [r for r in results if not r["ok"]]
    assert sum(result["status"] == "passed" for result in results) >= 9
    assert {result["component"] for result in results} == {"acme/halving"}
    text = zoo_command("plugins", "check", "acme")
    assert "passed" in text.out.splitlines()[-1]

    # Not installed: a folder, and a wheel.
    folder = tmp_path / "elsewhere" / "zoo_brand"
    folder.mkdir(parents=True)
    declared = DECLARES.format(
        package="zoo_brand",
        params='Param(name="factr", default=0.5, summary="x"),',
        shorthand="",
    )
    (folder / "__init__.py").write_text(declared)
    (folder / "schedules.py").write_text(HALVING)
    wrong = zoo_command("plugins", "check", folder)
    assert wrong.code == 5
    assert "factr" in wrong.out
    wheel = tmp_path / "zoo_brand-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("zoo_brand/__init__.py", declared.replace("factr", "factor"))
        file.writestr("zoo_brand/schedules.py", HALVING)
        info = "zoo_brand-1.0.dist-info"
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: zoo-brand\nVersion: 1.0\n")
        file.writestr(f"{info}/entry_points.txt", "[zoo.v1]\nbrand = zoo_brand\n")
        file.writestr(f"{info}/RECORD", "")
    good = zoo_command("plugins", "check", wheel, "--json")
    results = json.loads(good.out)
    assert good.code == 0, [r for r in results if not r["ok"]]
    assert {result["component"] for result in results} == {"brand/halving"}

    assert zoo_command("plugins", "check", "ghost").code == 2
    assert zoo_command("plugins", "check", "./ghost").code == 2
    (tmp_path / "no.whl").write_text("no")
    assert zoo_command("plugins", "check", tmp_path / "no.whl").code == 2


@pytest.fixture
def hello(make_plugin, tmp_path):
    """A plugin with commands: a good one, one of zoo's own name, one that is none."""

    def make(namespace):
        package = make_plugin(
            namespace,
            f"""
from zoo.plugin import Component, hookimpl

@hookimpl
def zoo_components():
    for name, target in (("hello", "hello"), ("run", "hello"), ("broken", "no_command")):
        yield Component(kind="command", name=name, target=f"zoo_{namespace}_plugin.cli:{{target}}",
                        summary="Says hello\\x1b[31m")
""",
        )
        (tmp_path / "site" / package / "cli.py").write_text(COMMANDS)
        return package

    return make


def test_a_plugins_command_is_listed_from_the_index_and_called(hello, zoo_command):
    package = hello("acme")
    assert "not read yet: acme" in zoo_command("--help").out
    zoo_command("list")
    helped = zoo_command("--help")
    rows = helped.out.partition("Commands of plugins:")[2]
    assert "hello" in rows
    assert "acme/run" in rows, "zoo's own stays what it is"
    assert "\x1b" not in helped.out
    import sys

    assert package not in sys.modules
    assert zoo_command("hello", "you").out == "you\n"
    assert zoo_command("hello", "you", "--loud").out == "YOU\n"
    assert zoo_command("acme/hello", "you").out == "you\n"
    assert zoo_command("acme/run", "you").out == "you\n"
    assert "Train a classifier" in zoo_command("run", "--help").out
    assert "--loud" in zoo_command("hello", "--help").out
    assert "has the name of zoo's own; call it as zoo acme/run" in zoo_command("doctor").out
    assert "Did you mean 'hello'?" in zoo_command("helo").err


def test_a_command_that_was_installed_a_moment_ago_is_called(hello, zoo_command):
    hello("acme")
    assert zoo_command("hello", "you").out == "you\n"


def test_two_plugins_with_one_command(hello, zoo_command):
    hello("acme")
    hello("brand")
    ambiguous = zoo_command("hello", "you")
    assert ambiguous.code == 2
    assert "acme/hello (zoo-acme 1.0), brand/hello (zoo-brand 1.0)" in ambiguous.err
    assert zoo_command("brand/hello", "you").out == "you\n"
    rows = zoo_command("--help").out.partition("Commands of plugins:")[2]
    assert "acme/hello" in rows
    assert "\n  hello" not in rows


def test_how_a_plugins_command_may_end(hello, zoo_command):
    hello("acme")
    failed = zoo_command("hello", "raise")
    assert failed.code == 5
    assert "the command acme/hello failed" in failed.err
    assert "ValueError: boom" in failed.err
    assert "zoo_acme_plugin/cli.py:11" in failed.err
    assert "zoo-acme 1.0" in failed.err
    assert "Traceback" not in failed.err
    assert "Traceback" in zoo_command("hello", "raise", "--debug").err
    for what, code, says in (
        ("zoo", 3, "no pictures"), ("click", 2, "not that"), ("exit", 7, ""),
        ("say", 1, "good bye"), ("return", 4, ""),
    ):  # fmt: skip
        outcome = zoo_command("hello", what)
        assert outcome.code == code, what
        assert says in outcome.err
    missing = zoo_command("hello")
    assert (missing.code, "Missing argument" in missing.err) == (2, True)
    none = zoo_command("broken")
    assert none.code == 5
    assert "the command acme/broken is no click command" in none.err


def test_deprecated_and_replaced_parts_work_and_say_so_once(make_plugin, zoo_command):
    make_plugin(
        "acme",
        """
from zoo.plugin import Component, Param, hookimpl

@hookimpl
def zoo_components():
    yield Component(kind="scheduler", name="old", target="zoo_torch.schedules:step",
        replaced_by="torch/step", params=(Param(name="step_size", type="int", default=4),
        Param(name="gamma", default=0.5, deprecated="0.3: use step_size"),))
""",
    )
    plain = zoo_command("explain", "acme/old", "--epochs", 3, "--json")
    assert plain.code == 0
    assert plain.err.splitlines() == ["zoo: the scheduler acme/old is replaced by torch/step"]
    said = zoo_command("explain", "old:gamma=0.25", "--epochs", 6, "--lr", 1, "--json")
    assert json.loads(said.out)["lr"][-1] == 0.25, "it works"
    line = "zoo: gamma of the scheduler acme/old is deprecated since 0.3: use step_size"
    assert said.err.splitlines().count(line) == 1
    assert "old" not in zoo_command("list", "schedulers", "--plugin", "acme").out


def test_what_is_written_down_warns_nobody_again(make_plugin):
    from zoo.registry import Registry, parse_choice
    from zoo.registry.notices import RegistryWarning

    make_plugin(
        "acme",
        """
from zoo.plugin import Component, Param, hookimpl

@hookimpl
def zoo_components():
    yield Component(kind="scheduler", name="old", target="zoo_torch.schedules:step",
        params=(Param(name="gamma", default=0.5, deprecated="0.3: use step_size"),))
""",
    )
    registry = Registry.installed()
    choice = parse_choice(registry, "scheduler", "old")
    assert choice.spec == "acme/old"
    assert parse_choice(registry, "scheduler", choice.spec) == choice
    with pytest.warns(RegistryWarning, match="gamma of the scheduler acme/old is deprecated"):
        choice = parse_choice(registry, "scheduler", "old:gamma=0.1")
    assert choice.spec == "acme/old:gamma=0.1"
