"""docs/testing-plugins.md: its table is that of the code, and its examples work."""

from __future__ import annotations

import importlib.util
import re

import pytest

from docs.testing_page import COMMAND, PAGE, renewed

PLUGIN = """
from zoo.plugin import Component, Param, hookimpl

@hookimpl
def zoo_components():
    yield Component(
        kind="loss", name="smoothed", target="zoo_torch.losses:label_smoothing", summary="Smooth",
        params=(Param(name="smoothing", default=0.1, summary="how much", minimum=0, below=1),),
    )
"""


def test_the_table_is_current():
    text = PAGE.read_text(encoding="utf-8")
    assert text == renewed(text), f"renew the page: {COMMAND}"
    assert text.count("\n| `") > 100


@pytest.fixture
def blocks(make_plugin, tmp_path):
    """The page's pieces of Python as modules, beside a plugin as the page has it in mind."""
    package = make_plugin("acme", PLUGIN)
    record = tmp_path / "site" / "zoo_acme-1.0.dist-info" / "RECORD"
    record.write_text(f"{package}/__init__.py,,\n")
    made = []
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)):
        path = tmp_path / f"block_{number}.py"
        path.write_text(code)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        made.append(module)
    return made


def test_the_examples_work(blocks, tiny_data, tmp_path):
    conformance, conftest, trains = blocks
    (mark,) = conformance.test_conformance.pytestmark
    results = [param.values[0].result() for param in mark.args[1]]
    assert [result.id for result in results if not result.ok] == []
    assert {result.id: result.status for result in results} | {
        "loss/acme/smoothed::class-weights": "expected failure",
        "loss/acme/smoothed::equals-the-reference": "passed",
    } == {result.id: result.status for result in results}
    assert conftest.tiny_data is not None
    trains.test_it_trains(tiny_data, tmp_path)
