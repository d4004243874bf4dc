"""The kit's core: which cases there are, how they end, and that it cannot silently do nothing."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import click
import pytest
from making import subject

import zoo.testing
from zoo.errors import PluginError, UnknownName, UsageError
from zoo.plugin import KINDS, Component, Param, hookimpl
from zoo.testing import NotApplicable, cases, run_checks
from zoo.testing.cases import Case, _floor
from zoo.testing.checking import FLOORS, attempt, checks_of, identifier, purpose

PLUGIN = """
from zoo.plugin import Component, Param, hookimpl

@hookimpl
def zoo_components():
    yield Component(
        kind="scheduler", name="ramp", target=f"{__name__}.schedules:ramp", summary="Falls evenly",
        params=(Param(name="last", default=0.1, minimum=0, maximum=1, summary="where it ends"),),
        shorthand=("last",),
    )
    yield Component(
        kind="scheduler", name="ruin", target=f"{__name__}.schedules:ruin", summary="Falls below 0",
    )
"""
SCHEDULES = """
def ramp(*, epochs, last=0.1):
    return lambda epoch: 1 - (1 - last) * min(epoch / max(epochs, 1e-9), 1.0)

def ruin(*, epochs):
    return lambda epoch: 1 - 2 * epoch / max(epochs, 1e-9)
"""


@pytest.fixture
def acme(make_plugin, tmp_path):
    package = make_plugin("acme", PLUGIN)
    (tmp_path / "site" / package / "schedules.py").write_text(SCHEDULES)
    record = tmp_path / "site" / "zoo_acme-1.0.dist-info" / "RECORD"
    record.write_text(f"{package}/__init__.py,,\n{package}/schedules.py,,\n")
    return "acme"


def statuses(results):
    return {result.id: result.status for result in results}


# ---- which cases there are --------------------------------------------------------------------


def test_there_is_a_case_for_each_component_and_check_and_one_for_the_floor(acme):
    params = cases(acme)
    names = [identifier(check) for check in checks_of("scheduler")] + ["enough-checks-ran"]
    expected = [f"scheduler/acme/{c}::{name}" for c in ("ramp", "ruin") for name in names]
    assert [param.id for param in params] == expected
    assert [param.values[0].id for param in params] == expected
    assert "scheduler/acme/ramp::target-resolves" in expected


@pytest.mark.parametrize("name", ["ACME", "zoo-acme", "zoo_acme", "Zoo.Acme"])
def test_a_plugin_is_named_by_namespace_or_distribution(acme, name):
    assert [p.id for p in cases(name)] == [p.id for p in cases(acme)]


def test_some_components_alone(acme):
    ids = [param.id for param in cases(acme, only=["scheduler/RU*"])]
    assert ids
    assert all(name.startswith("scheduler/acme/ruin::") for name in ids)
    with pytest.raises(UsageError, match=r"no component fits the glob 'loss/\*'"):
        cases(acme, only=["loss/*"])


def test_results_say_what_was_checked_and_how_it_ended(acme):
    results = list(run_checks(acme))
    assert [result.id for result in results] == [param.id for param in cases(acme)]
    wrong = [result for result in results if not result.ok]
    assert {result.component for result in wrong} == {"acme/ruin"}, wrong
    (finite,) = [result for result in wrong if result.check == "finite-factors"]
    assert finite.status == "failed"
    assert finite.kind == "scheduler"
    assert finite.message.endswith(".") or len(finite.message.split()) > 3
    right = [result for result in results if result.component == "acme/ramp"]
    assert {result.status for result in right} == {"passed", "not applicable"}
    assert all(result.what and result.seconds >= 0 for result in results)
    assert all(result.message for result in right if result.status == "not applicable")


def test_every_check_says_in_a_line_what_it_requires():
    for kind in KINDS:
        names = [identifier(check) for check in checks_of(kind)]
        assert len(set(names)) == len(names)
        assert FLOORS[kind] <= len(names)
        for check in checks_of(kind):
            assert purpose(check).endswith((".", ").")), (kind, purpose(check))


# ---- as tests of pytest -----------------------------------------------------------------------


def case_of(check, reason=""):
    return Case(subject=subject("loss", len), check=check, reason=reason)


def passes(subject):
    """Fine."""


def fails(subject):
    """Wrong."""
    raise ValueError("the \x1b[31mnumber")


def says_no(subject):
    """Nothing to say."""
    raise NotApplicable("it has no shorthand")


def test_a_case_passes_fails_or_is_skipped_with_its_reason():
    case_of(passes).run()
    with pytest.raises(AssertionError, match=r"loss/acme/made::fails: ValueError: the") as error:
        case_of(fails).run()
    assert f"{__file__}:" in str(error.value)
    assert "\x1b" not in str(error.value)
    assert isinstance(error.value.__cause__, ValueError)
    with pytest.raises(pytest.skip.Exception, match="it has no shorthand"):
        case_of(says_no).run()


def test_an_expected_failure_is_one_only_while_it_fails():
    with pytest.raises(pytest.xfail.Exception, match=r"for a reason \(ValueError"):
        case_of(fails, "for a reason").run()
    with pytest.raises(AssertionError, match=r"is expected to fail \(for a reason\) and passes"):
        case_of(passes, "for a reason").run()
    with pytest.raises(pytest.skip.Exception):
        case_of(says_no, "for a reason").run()
    assert case_of(fails, "for a reason").result().status == "expected failure"
    assert case_of(passes, "for a reason").result().status == "unexpected pass"
    assert not case_of(passes, "for a reason").result().ok


def test_expected_failures_are_named_by_globs(acme):
    wrong = {result.id for result in run_checks(acme) if not result.ok}
    found = list(run_checks(acme, expected_failures=dict.fromkeys(wrong, "it falls below 0")))
    assert {result.id for result in found if result.status == "expected failure"} == wrong
    assert all(result.ok for result in found)
    glob = {"scheduler/acme/ramp::fin*": "it does not"}
    (passing,) = [result for result in run_checks(acme, expected_failures=glob)
                  if result.status == "unexpected pass"]  # fmt: skip
    assert passing.id == "scheduler/acme/ramp::finite-factors"
    assert "expect it no more" in passing.message


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"expected_failures": {"scheduler/acme/gone::*": "old"}}, "names no case"),
        ({"expected_failures": {"*::finite-factors": " "}}, "has no reason"),
        ({"examples": {"scheduler/gone": zoo.testing.Example()}}, "of no component"),
    ],
)
def test_what_names_nothing_or_has_no_reason_is_refused(acme, given, text):
    with pytest.raises(UsageError, match=text):
        cases(acme, **given)
    with pytest.raises(UsageError, match=text):
        run_checks(acme, **given)  # at once, and not with the first result


# ---- the floor --------------------------------------------------------------------------------


def floor_of(checks, least, seen=()):
    return attempt(_floor(checks, least, dict(seen)), subject("loss", len))


def test_a_component_of_which_too_little_was_checked_fails():
    told = floor_of((passes, says_no, fails), 3)
    assert told.status == "failed"
    assert told.message == (
        "2 of 3 checks ran, and 3 must. The others: says-no: it has no shorthand"
    )
    assert floor_of((passes, says_no, fails), 2).status == "passed"


def test_the_floor_runs_what_it_has_not_seen_and_no_more_than_it_needs():
    ran = []

    def first(subject):
        ran.append(1)

    def second(subject):
        ran.append(2)

    assert floor_of((first, second), 2, {"first": "passed"}.items()).status == "passed"
    assert ran == [2]
    assert floor_of((first, second), 1).status == "passed"
    assert ran == [2, 1]


def test_the_last_case_alone_decides_as_it_does_after_the_others(acme, monkeypatch):
    module = sys.modules["zoo.testing.cases"]  # the package has a function of that name
    for least, expected in ((FLOORS["scheduler"], "passed"), (99, "failed")):
        monkeypatch.setattr(module, "FLOORS", {**FLOORS, "scheduler": least})
        alone = cases(acme, only=["scheduler/ramp"])[-1].values[0]
        assert alone.result().status == expected
        assert list(run_checks(acme, only=["scheduler/ramp"]))[-1].status == expected


# ---- nothing to check is an error -------------------------------------------------------------


def test_an_unknown_plugin_is_named_with_close_ones(acme):
    with pytest.raises(UnknownName, match="zoo-acne") as error:
        cases("zoo-acne")
    assert "zoo-acme" in error.value.found
    with pytest.raises(UnknownName):
        run_checks("zoo-acne")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("raise OSError('no such library')", "no such library"),
        ("raise SystemExit(3)", "SystemExit"),
        ("x = 1", "no zoo_components hook"),
        (
            "from zoo.plugin import hookimpl\n@hookimpl\ndef zoo_components():\n    return ()",
            "declares no components",
        ),
        (
            PLUGIN + '    yield Component(kind="sheduler", name="x", target="a:b")',
            "unknown kind 'sheduler'",
        ),
    ],
    ids=["raises", "exits", "no-hook", "empty", "misspelt-kind"],
)
def test_a_plugin_without_components_is_an_error_with_its_cause(make_plugin, code, text):
    make_plugin("broken", code)
    with pytest.raises(PluginError) as error:
        cases("broken")
    assert text in str(error.value)


def test_a_disabled_plugin_is_an_error(acme, monkeypatch):
    monkeypatch.setenv("ZOO_PLUGINS", "")
    with pytest.raises(PluginError, match="acme is disabled"):
        cases(acme)


def test_without_the_packages_of_its_extra_a_component_is_not_checked_and_the_floor_says_so(
    isolated_registry,
):
    module = ModuleType("acme_extra")

    @hookimpl
    def zoo_components():
        yield Component(
            kind="loss", name="far", target="acme_extra:far", summary="Far", requires=("nowhere",)
        )

    module.zoo_components = zoo_components
    results = list(run_checks(isolated_registry.add("acme", module)))
    assert {result.status for result in results if result.ok} == {"passed", "not applicable"}
    (floor,) = [result for result in results if not result.ok]
    assert floor.check == "enough-checks-ran"
    assert "nowhere is not installed, which it requires" in floor.message


# ---- the fixtures -----------------------------------------------------------------------------


def module_of(name="acme_made", namespace_of_target=None):
    module = ModuleType(name)

    @hookimpl
    def zoo_components():
        yield Component(
            kind="scheduler", name="flat", target=f"{name}:flat", summary="Stays where it is",
            params=(Param(name="level", default=1.0, summary="where that is"),),
        )  # fmt: skip

    module.zoo_components = zoo_components
    module.flat = lambda *, level=1.0: lambda epoch: level
    return module


def test_an_isolated_registry_has_the_built_ins_and_what_a_test_adds(
    acme, isolated_registry, zoo_command
):
    names = {plugin.namespace for plugin in isolated_registry.registry.plugins}
    assert "torch" in names
    assert "acme" not in names
    isolated_registry.add("acme", module_of())
    assert isolated_registry.registry.find("scheduler", "flat").id == "acme/flat"
    assert "Stays where it is" in zoo_command("list", "schedulers").out
    explained = zoo_command("explain", "flat:level=0.5")
    assert explained.code == 0, explained.err
    assert statuses(run_checks("acme"))["scheduler/acme/flat::finite-factors"] == "passed"


def test_what_a_test_added_is_gone_with_it(pytestconfig):
    assert "acme_made" not in sys.modules
    with pytest.raises(UnknownName):
        cases("acme")


def test_a_module_that_is_no_plugin_and_a_namespace_that_is_taken_are_refused(isolated_registry):
    with pytest.raises(PluginError, match="no zoo_components hook"):
        isolated_registry.add("acme", ModuleType("acme_empty"))
    with pytest.raises(UsageError, match="'Torch' is taken"):
        isolated_registry.add("Torch", module_of())


def test_tiny_data_is_read_as_a_folder_of_three_classes_that_are_easy(tiny_data, tmp_path):
    import zoo

    result = zoo.run(
        data=str(tiny_data), model="lenet", weights="none", img_size=24, batch_size=12,
        freeze_epochs=0, epochs=6, threads=1, lr=0.003, optim="adam", runs=str(tmp_path),
    )  # fmt: skip
    assert result.rows[-1].val_accuracy > 0.8
    assert {p.suffix for p in tiny_data.rglob("*.*")} == {".png"}
    assert len(list(tiny_data.rglob("*.png"))) == 60


def test_importing_the_kit_imports_neither_torch_nor_pytest():
    code = (
        "import sys, zoo.testing\n"
        "from zoo.testing import cases, run_checks, Example, Subject\n"
        "print(sorted({'torch', 'numpy', 'pytest', 'PIL'} & set(sys.modules)))\n"
        "from zoo.testing import tiny_data\n"
        "print(sorted({'torch', 'numpy', 'PIL'} & set(sys.modules)), 'pytest' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "[] True"]
    assert not hasattr(zoo.testing, "nothing_of_that_name")


def test_the_command_line_knows_a_command_that_a_test_added(isolated_registry, zoo_command):
    module = ModuleType("acme_commands")

    @hookimpl
    def zoo_components():
        yield Component(kind="command", name="hail", target="acme_commands:hail", summary="Hails")

    module.zoo_components = zoo_components
    module.hail = click.Command("hail", callback=lambda: click.echo("hail!"), help="Hails.")
    isolated_registry.add("acme", module)
    assert zoo_command("hail").out == "hail!\n"
    assert "hail" in zoo_command("--help").out
    assert "there is no command" in zoo_command("hial").err


def test_a_requirement_within_a_package_that_is_missing_is_missing():
    deep = subject("loss", len, requires=("nowhere.at.all",))
    with pytest.raises(PluginError, match=r"needs nowhere.at.all, which is not installed"):
        deep.build()
