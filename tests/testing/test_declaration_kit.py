"""Each check of a declaration catches a declaration that is wrong in just that way."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.machinery import EXTENSION_SUFFIXES

import pytest
from making import assert_caught, assert_each_can_fail, subject

from zoo.plugin import Component, Param
from zoo.registry import Entry, Registry
from zoo.testing import Subject, declaration
from zoo.testing.checking import attempt


def half(name="half", **given):
    return Param(name=name, default=0.5, summary="how much", **given)


def ramp(*, epochs, last=0.5):
    return lambda epoch: 1 - (1 - last) * epoch / epochs


def anything(**given):
    return lambda epoch: 1.0


def strict(*, epochs, missing):
    return lambda epoch: 1.0


def by_position(epochs, /):
    return lambda epoch: 1.0


def words(*, word="word"):
    return lambda epoch: 1.0


def made(target=ramp, **declared):
    return subject("scheduler", target, **declared)


def with_namespace(namespace):
    right = made()
    return Subject(entry=Entry(right.component, replace(right.entry.plugin, namespace=namespace)))


def beside(*others, **declared):
    """A component in a plugin that has others."""
    right = made(**declared)
    plugin = replace(right.entry.plugin, components=(right.component, *others))
    return Subject(entry=Entry(right.component, plugin))


def silent():
    right = made()
    component = replace(right.component, summary="")
    plugin = replace(right.entry.plugin, components=(component,))
    return Subject(entry=Entry(component, plugin))


other = Component(kind="scheduler", name="other", aliases=("third",), target="a:b")

WRONG = [
    (made("not callable"), {"target-resolves": "is str", "params-fit-the-signature": "signature"}),
    (with_namespace("ac me"), {
        "names-are-legal": "'ac me'",
    }),
    (made(anything, params=(half("T_0"),)), {
        "names-are-legal": "call it 't_0'", "spec-string-round-trips": "does not parse",
    }),
    (beside(other, aliases=("Third",)), {"names-lead-to-one-component": "third is a name"}),
    (beside(other, aliases=("other",)), {
        "names-lead-to-one-component": "other is a name",
    }),
    (made(aliases=("twice", "Twice")), {"names-lead-to-one-component": "more than once"}),
    (made(replaced_by="gone"), {"names-lead-to-one-component": "'gone'"}),
    (silent(), {"summary-is-there": "the component has no summary"}),
    (made(params=(Param(name="last", default=0.5),)), {"summary-is-there": "the param last"}),
    (made(params=(Param(name="last", default=0.5, summary="x" * 121),)), {
        "summary-is-there": "121 characters",
    }),
    (made(params=(half("lost"),)), {"params-fit-the-signature": "['lost'] are declared"}),
    (made(preset={"lost": 1}), {"params-fit-the-signature": "['lost'] are declared"}),
    (made(strict), {"params-fit-the-signature": "requires ['missing']"}),
    (made(by_position), {"params-fit-the-signature": "requires ['epochs']"}),
    (made(params=(half("last", above=0.5),)), {
        "defaults-are-in-range": "must be above 0.5", "spec-string-round-trips": "above 0.5",
    }),
    (made(params=(Param(name="last", type="int", default=0.5, summary="x"),)), {
        "defaults-are-in-range": "must be an int", "spec-string-round-trips": "must be",
    }),
    (made(words, params=(Param(name="word", type="str", default="word", summary="x"),),
          shorthand=("word",)), {"shorthand-reads": "the shorthand names word, a str"}),
    (made(params=(half("last"),), shorthand=("last", "last")), {"shorthand-reads": "twice"}),
    (made(words, params=(Param(name="word", type="str", default="a,b", summary="x"),)), {
        "spec-string-round-trips": "is not key=value",
    }),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "caught"), WRONG)
def test_what_is_wrong_is_caught(wrong, caught):
    assert_caught(declaration.CHECKS, wrong, caught)


@pytest.mark.parametrize(
    "right",
    [
        made(),
        made(anything, params=(half("one"), half("two")), shorthand=("one", "two")),
        made(params=(half("last", minimum=0, maximum=1),), shorthand=("last",), aliases=("fall",)),
        beside(other, replaced_by="other"),
        made(replaced_by="torch/cosine"),
        subject("recipe", {"epochs": 3}),
        subject("loss", lambda *, class_weight_K=None, num_classes: None),
    ],
)
def test_what_is_right_passes(right):
    assert_caught(declaration.CHECKS, right, {})


def test_every_check_catches_something():
    elsewhere = [
        (None, {"declaring-imports-nothing-heavy": "", "package-contains-target": ""})  # below
    ]
    assert_each_can_fail(declaration.CHECKS, WRONG + elsewhere)


# ---- what takes a package on disk -------------------------------------------------------------

HOOK = """
from zoo.plugin import Component, hookimpl

@hookimpl
def zoo_components():
    {inside}
    yield Component(
        kind="scheduler", name="ramp", target=f"{{__name__}}.schedules:ramp", summary="Falls",
    )
"""


def installed(make_plugin, tmp_path, *, start="", inside="pass", record=("__init__", "schedules")):
    package = make_plugin("acme", f"{start}\n{HOOK.format(inside=inside)}")
    folder = tmp_path / "site" / package
    (folder / "schedules.py").write_text("import numpy\ndef ramp(*, epochs): ...")
    (folder / "helper.py").write_text("\nimport numpy.linalg\n")
    info = tmp_path / "site" / "zoo_acme-1.0.dist-info"
    (info / "RECORD").write_text("".join(f"{package}/{name}.py,,\n" for name in record))
    entry = Registry.installed().find("scheduler", "acme/ramp")
    return Subject(entry=entry), folder


def light(checked):
    return attempt(declaration.declaring_imports_nothing_heavy, checked)


@pytest.mark.parametrize(
    ("start", "inside", "line"),
    [
        ("import torch", "pass", "__init__.py:1 imports torch"),
        ("\nfrom numpy import array", "pass", "__init__.py:2 imports numpy"),
        ("", "import PIL.Image", "__init__.py:7 imports PIL"),
        ("try:\n    import numpy\nexcept ImportError:\n    pass", "pass", "__init__.py:2 imports"),
        ("from . import helper", "pass", "helper.py:2 imports numpy"),
    ],
)
def test_a_heavy_import_is_named_with_its_file_and_line(make_plugin, tmp_path, start, inside, line):
    checked, folder = installed(make_plugin, tmp_path, start=start, inside=inside)
    told = light(checked)
    assert told.status == "failed"
    assert f"{folder}/{line}" in told.message


def test_a_heavy_import_of_another_package_is_traced_to_the_plugin(make_plugin, tmp_path):
    (tmp_path / "site" / "innocent.py").write_text("import numpy\n")
    checked, folder = installed(make_plugin, tmp_path, start="import innocent")
    message = light(checked).message
    assert "innocent.py:1 imports numpy" in message
    assert f"(imported by {folder}/__init__.py:1)" in message


def test_looking_for_a_heavy_package_is_no_import(make_plugin, tmp_path):
    start = "from importlib.util import find_spec\nassert find_spec('torch').origin"
    checked, _ = installed(make_plugin, tmp_path, start=start)
    told = light(checked)
    assert told.status == "passed", told.message


def test_a_plugin_that_fails_only_in_a_process_of_its_own_is_caught(make_plugin, tmp_path):
    checked, folder = installed(make_plugin, tmp_path)
    (folder / "__init__.py").write_text("import sys\nsys.exit(3)")
    assert "SystemExit: 3" in light(checked).message


def contains(checked):
    return attempt(declaration.package_contains_target, checked)


@pytest.mark.parametrize(
    ("record", "missing"),
    [
        (("__init__", "schedules"), ""),
        (("__init__",), "schedules.py"),
        (("schedules",), "zoo_acme_plugin.py"),
        ((), "zoo_acme_plugin.py"),
    ],
)
def test_a_wheel_without_what_is_declared_is_caught(make_plugin, tmp_path, record, missing):
    checked, _ = installed(make_plugin, tmp_path, record=record)
    told = contains(checked)
    assert told.status == ("failed" if missing else "passed")
    assert missing in told.message


def test_an_editable_install_and_a_target_of_another_package_are_no_matter(make_plugin, tmp_path):
    checked, _ = installed(make_plugin, tmp_path)
    component = replace(checked.component, target="json:loads")
    elsewhere = Subject(entry=Entry(component, checked.entry.plugin))
    assert "another package" in contains(elsewhere).message
    info = tmp_path / "site" / "zoo_acme-1.0.dist-info"
    told = {"url": "file:///x", "dir_info": {"editable": True}}
    (info / "direct_url.json").write_text(json.dumps(told))
    assert "editable" in contains(checked).message
    assert contains(elsewhere).status == "not applicable"


def test_a_compiled_module_is_a_file_of_the_package(make_plugin, tmp_path):
    checked, folder = installed(make_plugin, tmp_path)
    compiled = f"schedules{EXTENSION_SUFFIXES[0]}"
    (folder / "schedules.py").rename(folder / compiled)  # Python lists the files that are there
    record = tmp_path / "site" / "zoo_acme-1.0.dist-info" / "RECORD"
    record.write_text(record.read_text().replace("schedules.py", compiled))
    assert contains(checked).status == "passed"


def test_every_built_in_plugin_declares_lightly(registry):
    for plugin in registry.plugins:
        checked = Subject(entry=Entry(plugin.components[0], plugin))
        assert light(checked).message == ""
    assert len(registry.plugins) >= 9
