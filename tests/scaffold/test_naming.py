"""Which names a new plugin may have, and what follows from them."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zoo.errors import UsageError
from zoo.plugin import Component
from zoo.scaffold import Names, derive, notes_on, problems_with

LEGAL = re.compile(r"([a-z0-9]|[a-z0-9][a-z0-9._-]*[a-z0-9])", re.IGNORECASE)  # PEP 508's own


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("zoo-acme", ("zoo-acme", "zoo_acme", "acme")),
        ("acme", ("acme", "acme", "acme")),
        ("Zoo_Acme.Nets", ("zoo-acme-nets", "zoo_acme_nets", "acme-nets")),
        ("zoo--acme", ("zoo-acme", "zoo_acme", "acme")),
        ("zoo-3d", ("zoo-3d", "zoo_3d", "3d")),
        ("zoology", ("zoology", "zoology", "zoology")),
    ],
)
def test_what_follows_from_a_name(name, names):
    distribution, package, namespace = names
    assert derive(name) == Names(distribution=distribution, package=package, namespace=namespace)


@pytest.mark.parametrize(
    "name",
    ["", "-acme", "acme-", "zoo/acme", "../acme", "zoo acme", "zoö", "a" * 41, "zoo-acme\n",
     "\x1b[31m", "acme[extra]", "acme==1.0", "."],
)  # fmt: skip
def test_what_is_no_name_is_refused_with_one_that_is(name):
    with pytest.raises(UsageError, match="cannot be the name of a package") as caught:
        derive(name)
    assert "\x1b" not in str(caught.value)
    (proposed,) = re.findall(r"zoo plugins new (\S+) --kind KIND", caught.value.hint)
    assert derive(proposed)


def test_a_name_that_python_cannot_import_is_refused():
    with pytest.raises(UsageError, match="could not be imported") as caught:
        derive("3d-nets")
    assert "zoo-3d-nets" in caught.value.hint


@given(st.text(st.sampled_from("abzZ019._-"), min_size=1, max_size=42))
@example("zoo-")
@example("zoo-zoo-a")
def test_every_legal_name_leads_to_legal_ones(name):
    try:
        names = derive(name)
    except UsageError:
        legal = LEGAL.fullmatch(name) and len(name) <= 40
        assert not legal or name[0].isdigit()
        return
    assert LEGAL.fullmatch(name)
    assert re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", names.distribution)
    assert names.package.isidentifier()
    assert derive(names.distribution) == names  # normalising twice changes nothing
    Component(kind="loss", name=names.namespace, target="a:b")  # a namespace is a name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("json", "json is a module of Python's standard library"),
        ("class", "class is a keyword of Python"),
        ("zoo", "a package zoo can be imported already"),
        ("hypothesis", "a package hypothesis can be imported already"),
        ("Hypothesis", "a distribution hypothesis is installed already"),
        ("classifier-zoo", "a distribution classifier-zoo is installed already"),
        ("torch", "the namespace torch is taken"),
        ("zoo-timm", "the namespace timm is taken"),
    ],
)
def test_what_is_taken_is_said(name, said):
    problems = problems_with(derive(name))
    assert said in [problem.what for problem in problems]
    assert all(problem.hint for problem in problems)


def test_the_remedy_is_a_name_that_is_free():
    (problem,) = problems_with(derive("json"))
    assert problem.hint == "zoo plugins new zoo-json --kind KIND"
    assert problems_with(derive("zoo-json")) == []
    assert all("zoo-torch" not in problem.hint for problem in problems_with(derive("torch")))


def test_a_namespace_of_an_installed_plugin_is_taken_and_its_code_is_not_run(
    make_plugin, monkeypatch
):
    import sys

    package = make_plugin("acme", "raise SystemExit", distribution="other-name")
    (problem,) = problems_with(derive("zoo-acme"))
    assert problem.what == "the namespace acme is taken"
    assert "other-name 1.0" in problem.found
    assert package not in sys.modules


def test_a_folder_of_that_name_in_the_current_one_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "acmenets").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert problems_with(derive("acmenets")) == []


def test_a_namespace_that_looks_like_a_built_in_is_pointed_out():
    (note,) = notes_on(derive("zoo-t0rchvision"))
    assert "looks like the built-in torchvision" in note
    assert notes_on(derive("zoo-acme")) == []
