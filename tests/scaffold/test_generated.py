"""What is generated is right for every kind: code, configuration, names, and its own tests."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jinja2
import pytest
import yaml
from hatchling import build

import zoo.scaffold.rendering as rendering
from tests.scaffold.environments import unpacked
from zoo.errors import UsageError
from zoo.plugin import KINDS
from zoo.scaffold import EXAMPLES, SCAFFOLD, derive, render, write_folder

LONGEST = derive("zoo-" + "very-" * 7 + "a")
ALL = derive("zoo-acme")


def test_there_is_an_example_of_every_kind():
    assert set(EXAMPLES) == set(KINDS)
    assert all(one.kind == kind for kind, one in EXAMPLES.items())


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """Packages: one for each kind, one of all kinds, one whose name is as long as any may be."""
    root = tmp_path_factory.mktemp("written")
    for kind in KINDS:
        names = derive(f"zoo-one-{kind}")
        write_folder(root / kind, render(names, [kind]))
    write_folder(root / "all", render(ALL, KINDS, author='Zoë "Z" O\'Hara <z@example.org>'))
    write_folder(root / "long", render(LONGEST, KINDS, author="-" * 200))
    return root


@pytest.mark.parametrize("check", [("check",), ("format", "--check")], ids=lambda words: words[0])
def test_all_of_it_is_clean(written, check):
    """By the configuration that is generated with it: ruff takes the nearest one."""
    command = [sys.executable, "-m", "ruff", *check, "--no-cache", str(written)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_of_it_compiles_and_nothing_is_left_of_the_templates(written):
    files = [path for path in written.rglob("*") if path.is_file()]
    for path in files:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".py":
            ast.parse(text, filename=str(path))
        if path.suffix != ".yml":  # GitHub's own braces
            assert not re.search(r"\{%|%\}|\{\{|\}\}", text), path
        assert not text or text.endswith("\n"), path
        assert "\n\n\n\n" not in text, path
        assert not re.search(r"[ \t]$", text, flags=re.MULTILINE), path
    assert len(files) > 14 * 10


@pytest.mark.parametrize("kind", KINDS)
def test_declarations_are_what_the_table_says(written, kind, monkeypatch):
    folder = written / kind / "src"
    monkeypatch.syspath_prepend(str(folder))
    module = __import__(f"zoo_one_{kind}")
    (component,) = module.zoo_components()
    example = EXAMPLES[kind]
    assert (component.kind, component.name) == (kind, example.component)
    assert bool(component.params) == example.has_params
    place = folder / (component.target.partition(":")[0].replace(".", "/") + ".py")
    assert place.exists()
    source = (written / kind / "src" / f"zoo_one_{kind}" / f"{example.module}.py").read_text()
    assert re.search(r"Source: .+ (?:19|20)\d\d, ", source) or kind in (
        "dataset",
        "callback",
        "exporter",
        "command",
    ), kind


def test_no_example_is_called_as_a_built_in(registry):
    for kind, example in EXAMPLES.items():
        assert registry.get(kind, example.component) is None, example


def test_the_metadata_is_what_was_given(written):
    table = tomllib.loads((written / "all/pyproject.toml").read_text(encoding="utf-8"))
    project = table["project"]
    assert project["name"] == "zoo-acme"
    assert project["authors"] == [{"name": 'Zoë "Z" O\'Hara', "email": "z@example.org"}]
    assert project["entry-points"] == {"zoo.v1": {"acme": "zoo_acme"}}
    assert project["dependencies"] == ["classifier-zoo>=0.1,<1"]
    assert table["tool"]["zoo"] == {"scaffold": SCAFFOLD}
    nobody = tomllib.loads((written / "loss/pyproject.toml").read_text(encoding="utf-8"))
    assert "authors" not in nobody["project"]


def test_the_workflow_is_one(written):
    workflow = yaml.safe_load((written / "all/.github/workflows/test.yml").read_text())
    job = workflow["jobs"]["test"]
    assert job["steps"][1]["with"]["python-version"] == "${{ matrix.python }}"
    assert "pytest" in [step.get("run") for step in job["steps"]]


@pytest.mark.parametrize("author", ["a\nb", "x <y", "x <not an address>", "\x1b[31m", "a\u202eb"])
def test_an_author_that_is_none_is_refused(author):
    with pytest.raises(UsageError, match="the author is not a name") as caught:
        render(ALL, ["loss"], author=author)
    assert str(caught.value).isascii()


def test_a_template_names_only_what_it_is_given(monkeypatch):
    environment = rendering._environment()
    with pytest.raises(jinja2.UndefinedError):
        environment.from_string("{{ nothing }}").render()


def test_the_generated_tests_of_two_kinds_pass_and_the_kit_is_among_them(
    written, tmp_path, monkeypatch
):
    """From the wheel, which hatchling builds: so everything that is declared is in it."""
    folder = tmp_path / "two"
    write_folder(folder, render(derive("zoo-two"), ["loss", "metric"]))
    monkeypatch.chdir(folder)
    wheel = tmp_path / build.build_wheel(str(tmp_path))
    place = unpacked(wheel, tmp_path / "site")
    told = place.run(["pytest", "-q", "-rA", "-p", "no:cacheprovider"], folder=folder)
    assert re.search(r"\d+ passed", told)
    assert "failed" not in told
    assert "loss/two/gce::enough-checks-ran" in told
    assert "metric/two/g-mean::equals-reference" in told
    assert "test_towards_zero_it_is_cross_entropy" in told


def test_the_wheel_has_what_a_plugin_needs_and_no_tests(written, tmp_path, monkeypatch):
    import zipfile

    monkeypatch.chdir(written / "all")
    wheel = zipfile.ZipFile(tmp_path / build.build_wheel(str(tmp_path)))
    names = set(wheel.namelist())
    assert {f"zoo_acme/{one.module}.py" for one in EXAMPLES.values()} <= names
    assert {"zoo_acme/__init__.py", "zoo_acme/py.typed"} <= names
    assert not [name for name in names if name.startswith("tests")]
    told = wheel.read("zoo_acme-0.1.0.dist-info/entry_points.txt").decode()
    assert told.split() == ["[zoo.v1]", "acme", "=", "zoo_acme"]
