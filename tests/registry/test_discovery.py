"""Discovery and names with real packages on disk: good ones, and ones that break in every way."""

from __future__ import annotations

import itertools
import json
import sys
from importlib.metadata import entry_points

import pytest

from zoo.errors import AmbiguousName, PluginError, UnknownName
from zoo.registry import Registry, build, discover, parse_choice
from zoo.registry.settings import Settings

GOOD = """
from zoo.plugin import Component, hookimpl

@hookimpl
def zoo_components():
    yield Component(kind="{kind}", name="{name}", target="fractions:Fraction", aliases={aliases})
"""


def good(name="triangle", kind="scheduler", aliases=()):
    return GOOD.format(name=name, kind=kind, aliases=tuple(aliases))


HOSTILE = {
    "raises": ("raise RuntimeError('not today')", "RuntimeError: not today"),
    "exits": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "missing": ("import a_package_that_is_not_there", "ModuleNotFoundError"),
    "syntax": ("def broken(:\n", "SyntaxError"),
    "no_hook": ("x = 1", "has no zoo_components hook"),
    "no_return": (
        "from zoo.plugin import hookimpl\n@hookimpl\ndef zoo_components(): pass",
        "zoo_components returned None",
    ),
    "misspelt": (
        "from zoo.plugin import hookimpl\n@hookimpl\ndef zoo_component(): return []",
        "zoo_component",
    ),
    "hook_raises": (
        "from zoo.plugin import hookimpl\n@hookimpl\ndef zoo_components(): raise KeyError('x')",
        "KeyError",
    ),
    "wrong_type": (
        "from zoo.plugin import hookimpl\n@hookimpl\ndef zoo_components(): return ['resnet']",
        "not a Component",
    ),
    "wrong_field": (good().replace("aliases=()", "aliases='tri'"), "aliases is tri, not strings"),
    "wrong_param": (
        good()
        .replace("Component, hookimpl", "Component, Param, hookimpl")
        .replace("aliases=()", "params=(Param(name='p', default={1}),)"),
        "default is set {1}, not a plain value",
    ),
    "ends_the_process": ("import os; os._exit(7)", "ended the process: exit code 7"),
    "is_killed": ("import os; os.kill(os.getpid(), 9)", "ended the process: SIGKILL"),
    "kills_its_reader": (
        "import os, time; os.kill(os.getppid(), 9); time.sleep(30)",
        "ended the process that read it: SIGKILL",
    ),
    "message_raises": (
        "class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd",
        "Odd: its message cannot be shown",
    ),
    "bad_name": (good(name="has space"), "is not letters and digits"),
    "bad_target": (good().replace("fractions:Fraction", "fractions"), "is not 'package.module"),
    "endless": (
        "import itertools\nfrom zoo.plugin import Component, hookimpl\n@hookimpl\n"
        "def zoo_components():\n    for i in itertools.count():\n"
        "        yield Component(kind='loss', name=f'l{i}', target='a:b')",
        "more than 20,000",
    ),
    "twice": (good() + good().partition("def zoo_components():")[2], "declares the scheduler"),
}


def test_a_good_plugin_appears_by_being_installed(make_plugin, zoo_command):
    make_plugin("acme", good(), version="2.1")
    entry = Registry.installed().find("scheduler", "TRIANGLE")
    assert (entry.id, entry.origin) == ("acme/triangle", "zoo-acme 2.1")
    listed = json.loads(zoo_command("list", "schedulers", "--plugin", "acme", "--json").out)
    assert [row["id"] for row in listed] == ["acme/triangle"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_broken_plugin_costs_itself_only(make_plugin, zoo_command, name):
    code, cause = HOSTILE[name]
    make_plugin("hostile", code)
    make_plugin("acme", good())
    registry = Registry.installed()
    (record,) = [r for r in registry.plugins if r.namespace == "hostile"]
    assert record.status == "broken"
    assert cause in record.cause
    assert record.distribution == "zoo-hostile"
    assert registry.find("scheduler", "triangle").id == "acme/triangle"

    unknown = zoo_command("explain", "zigzag")
    assert unknown.code == 2
    assert "hostile (broken)" in unknown.err


def test_the_cause_names_file_and_line(make_plugin):
    package = make_plugin("hostile", "x = 1\nraise RuntimeError('not today')")
    (record,) = [r for r in Registry.installed().plugins if r.namespace == "hostile"]
    assert record.origin.endswith(
        f"{package}/__init__.py:2".replace("/", record.origin[-len("/__init__.py:2")])
    )


def test_an_unknown_kind_is_skipped_and_told(make_plugin):
    make_plugin("acme", good(kind="sampler"))
    (record,) = [r for r in Registry.installed().plugins if r.namespace == "acme"]
    assert record.status == "ok"
    assert "sampler" in record.notes[0]


def test_another_api_version_is_listed_and_not_imported(make_plugin, zoo_command):
    package = make_plugin("future", "raise SystemExit", group="zoo.v2")
    records = json.loads(zoo_command("plugins", "list", "--json").out)
    (record,) = [r for r in records if r["namespace"] == "future"]
    assert record["status"] == "incompatible"
    assert record["cause"] == "speaks v2, this zoo speaks v1"
    assert package not in sys.modules


def test_disabled_plugins_are_not_read(make_plugin, zoo_command, monkeypatch, tmp_path):
    trace = tmp_path / "trace"
    make_plugin("other", f"open({str(trace)!r}, 'a').close()\n" + good("zigzag"))
    assert zoo_command("plugins", "disable", "other").code == 0
    assert zoo_command("explain", "zigzag").code == 2
    assert not trace.exists()

    make_plugin("acme", good())
    assert zoo_command("plugins", "disable", "acme").code == 0
    unknown = zoo_command("explain", "triangle")
    assert "acme (disabled)" in unknown.err
    assert zoo_command("plugins", "enable", "acme").code == 0
    assert Registry.installed().get("scheduler", "triangle")

    for listed, expected in (
        ("", False),
        ("other", False),
        ("acme, other", True),
        ("Zoo_Acme", True),
    ):
        monkeypatch.setenv("ZOO_PLUGINS", listed)
        registry = Registry.installed()
        assert (registry.get("scheduler", "triangle") is not None) is expected
        assert registry.get("scheduler", "sgdr"), "built-ins are always there"


def test_disabling_what_is_not_installed_is_an_error(zoo_command):
    outcome = zoo_command("plugins", "disable", "ghost")
    assert outcome.code == 2
    assert "no third-party plugin is named 'ghost'" in outcome.err


def test_a_builtin_keeps_its_bare_name(make_plugin):
    make_plugin("acme", good(name="sgdr"))
    registry = Registry.installed()
    assert registry.find("scheduler", "SGDR").id == "torch/sgdr"
    assert registry.find("scheduler", "acme/SGDR").id == "acme/sgdr"


def test_installing_never_changes_what_a_name_means(make_plugin):
    before = Registry.installed().find("model", "mobilenetv3").id
    make_plugin("acme", good(kind="model", name="mobilenetv3"))  # canonical against our alias
    registry = Registry.installed()
    assert registry.find("model", "mobilenetv3").id == before
    assert registry.find("model", "acme/mobilenetv3").id == "acme/mobilenetv3"


def test_two_plugins_of_one_name_are_ambiguous_in_any_order(make_plugin, monkeypatch, tmp_path):
    make_plugin("acme", good(), version="1.0")
    make_plugin("brand", good(), version="3.0")
    points = [p for p in entry_points(group="zoo.v1") if p.name in ("acme", "brand")]
    for order in itertools.permutations(points):
        registry = Registry(discover(Settings(), points=order))
        with pytest.raises(AmbiguousName) as caught:
            registry.find("scheduler", "triangle")
        assert "acme/triangle (zoo-acme 1.0), brand/triangle (zoo-brand 3.0)" in str(caught.value)
        assert registry.find("scheduler", "brand/triangle").plugin.namespace == "brand"
        assert registry.clashes()

    settings = tmp_path / "settings" / "settings.toml"
    settings.parent.mkdir(exist_ok=True)
    settings.write_text('[pins]\n"scheduler/triangle" = "brand/triangle"\n')
    assert Registry.installed().find("scheduler", "triangle").id == "brand/triangle"


def test_one_namespace_in_two_packages_loads_neither(make_plugin):
    make_plugin("acme", good(), distribution="zoo-acme")
    make_plugin("acme", good(name="zigzag"), distribution="other-acme")
    records = [r for r in Registry.installed().plugins if r.namespace == "acme"]
    assert [r.status for r in records] == ["broken", "broken"]
    assert "zoo-acme" in records[0].cause or "other-acme" in records[0].cause


def test_a_disabled_package_makes_way_for_another_one_of_its_namespace(make_plugin, zoo_command):
    make_plugin("acme", good(), distribution="zoo-acme")
    make_plugin("acme", good(name="zigzag"), distribution="other-acme")
    assert zoo_command("plugins", "disable", "other-acme").code == 0
    statuses = {r.distribution: r.status for r in Registry.installed().plugins}
    assert (statuses["zoo-acme"], statuses["other-acme"]) == ("ok", "disabled")
    make_plugin("torch", good(), distribution="evil")
    settings = Settings(disabled=frozenset({"torch", "classifier-zoo"}))
    assert {r.status for r in discover(settings) if r.distribution == "evil"} == {"disabled"}
    settings = Settings(disabled=frozenset({"classifier-zoo"}))
    assert {r.status for r in discover(settings) if r.distribution == "evil"} == {"broken"}


def test_a_pin_that_leads_nowhere_is_named(make_plugin, zoo_command, tmp_path):
    settings = tmp_path / "settings" / "settings.toml"
    settings.parent.mkdir(exist_ok=True)
    settings.write_text('[pins]\n"scheduler/sgdr" = "acme/sgdr"\n')
    outcome = zoo_command("explain", "sgdr-10-2")
    assert outcome.code == 2
    assert "'sgdr' is pinned to acme/sgdr, which is not there" in outcome.err
    assert str(settings) in outcome.err
    assert zoo_command("explain", "torch/sgdr").code == 0
    assert "is pinned to acme/sgdr" in zoo_command("doctor").out


@pytest.mark.parametrize("text", ['disabled = [["a"]]', '[pins]\n"model/x" = 3', "disabled = 4"])
def test_settings_of_another_form_are_a_usage_error(zoo_command, tmp_path, text):
    settings = tmp_path / "settings" / "settings.toml"
    settings.parent.mkdir(exist_ok=True)
    settings.write_text(text)
    outcome = zoo_command("explain", "sgdr")
    assert outcome.code == 2
    assert "is not of the expected form" in outcome.err


def test_nobody_takes_a_builtin_namespace(make_plugin):
    make_plugin("torch", good(), distribution="evil")
    registry = Registry.installed()
    statuses = {(r.distribution, r.status) for r in registry.plugins if r.namespace == "torch"}
    assert statuses == {("classifier-zoo", "ok"), ("evil", "broken")}


def test_unknown_names_come_with_help(registry):
    with pytest.raises(UnknownName) as caught:
        registry.find("model", "resnet81")
    text = str(caught.value)
    assert "no model is named 'resnet81'" in text
    assert "resnet18" in text
    assert "models; close" in text
    assert "zoo list models" in text


def test_names_fold_case_and_joiners(registry):
    ids = {registry.find("model", n).id for n in ("ResNet18", "timm/resnet18", "RESNET18")}
    assert ids == {"timm/resnet18"}
    assert registry.find("model", "vit-b-16").id == "torchvision/vit_b_16"


def test_a_failing_target_names_plugin_and_line(make_plugin):
    make_plugin("acme", good())
    registry = Registry.installed()
    with pytest.raises(PluginError) as caught:  # Fraction() of a tuple
        build(parse_choice(registry, "scheduler", "triangle"), numerator=(1,))
    assert "the scheduler acme/triangle failed" in str(caught.value)
    assert "TypeError" in str(caught.value)
    assert caught.value.exit_code == 5


def test_what_a_plugin_prints_stays_out_of_json(make_plugin, zoo_command):
    make_plugin("noisy", "print('hello from a plugin')\n" + good())
    assert json.loads(zoo_command("plugins", "list", "--json").out)


def test_control_characters_of_a_plugin_are_escaped(make_plugin, zoo_command):
    make_plugin("hostile", "raise RuntimeError('\\x1b[31mred\\u202e')")
    out = zoo_command("doctor").out
    assert "\x1b" not in out
    assert "\u202e" not in out
