"""docs/kinds: the protocols are those of the code, and each example is a plugin that works."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from importlib import import_module

import pytest

from docs.build_pages import COMMAND, PROTOCOLS, ROOT, builtin_registry, protocol, renewed
from tests.docs.test_pages import FLAGS
from zoo import protocols
from zoo.plugin import KINDS, plural
from zoo.registry import build, parse_choice
from zoo.testing import Subject
from zoo.testing.checking import attempt, identifier
from zoo.testing.fixtures import isolated_registry  # noqa: F401  # a fixture

PAGES = {kind: ROOT / "docs" / "kinds" / f"{kind}.md" for kind in KINDS}


def _text(kind):
    return PAGES[kind].read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def ours():
    return builtin_registry()


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_is_current(kind, ours):
    assert _text(kind) == renewed(_text(kind), kind, ours), f"renew the page: {COMMAND}"
    assert re.findall(r"<!-- (\S+) -->", _text(kind)) == [
        "protocol", "end", "checks", "end", "built-ins", "end"
    ]  # fmt: skip


def test_a_page_that_says_something_else_is_found_out(ours):
    wrong = _text("metric").replace("greater_is_better: bool", "smaller_is_better: bool")
    assert wrong != _text("metric")
    assert renewed(wrong, "metric", ours) == _text("metric")
    with pytest.raises(KeyError, match="checkz"):
        renewed("<!-- checkz -->\n<!-- end -->", "metric", ours)


def test_every_protocol_belongs_to_a_kind():
    classes = {name for name in protocols.__all__ if isinstance(getattr(protocols, name), type)}
    assert classes == {name for names in PROTOCOLS.values() for name in names}
    assert sorted(path.stem for path in (ROOT / "docs" / "kinds").iterdir()) == sorted(KINDS)


def test_signatures_are_shown_as_they_are():
    shown = protocol("loss")
    assert "        sample_weight_B: Tensor | None = None,\n    ) -> Tensor: ..." in shown
    blocks = re.findall(r"```python\n(.*?)```", "".join(map(protocol, KINDS)), re.DOTALL)
    assert len(blocks) == len({name for names in PROTOCOLS.values() for name in names})
    for block in blocks:
        ast.parse(block)


@pytest.mark.parametrize("kind", KINDS)
def test_facts_options_and_links_are_real(kind):
    text = _text(kind)
    table = text[text.index("## Facts") : text.index("## Protocol")]
    facts = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    words = text[text.index("## Protocol") :]
    stated = re.findall(r"[Ff]acts:? (.*?)(?:\n\n|\.\n|\.$)", words, re.DOTALL)
    named = {name for one in stated for name in re.findall(r"`(\w+)`", one)}
    assert facts == named - {"fail", "skip", "bad"} or (not facts and kind == "recipe")
    flags = set(re.findall(r"(?<![\w-])--([a-z][a-z0-9-]*)", text))
    assert flags <= FLAGS, flags - FLAGS
    for path, anchor in re.findall(r"\]\(([^#)]*)#?([^)]*)\)", text):
        target = (PAGES[kind].parent / path) if path else PAGES[kind]
        assert target.is_file(), path
        headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
        assert not anchor or anchor in {heading.lower() for heading in headings}, anchor


# ---- the examples -----------------------------------------------------------------------------


@pytest.fixture
def example(tmp_path, monkeypatch, isolated_registry, request):  # noqa: F811  # the fixture
    """Writes the package of a page as its readers would, and adds it."""
    kind = request.param
    blocks = re.findall(r"```python\n# (\S+)\n(.*?)```", _text(kind), re.DOTALL)
    assert [name for name, _ in blocks] == [
        "acme_zoo/__init__.py",
        f"acme_zoo/{'schedules' if kind == 'scheduler' else plural(kind)}.py",
    ]
    (tmp_path / "acme_zoo").mkdir()
    for name, code in blocks:
        (tmp_path / name).write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    record = isolated_registry.add("acme", import_module("acme_zoo"))
    yield kind, record, isolated_registry.registry
    for name in [name for name in sys.modules if name.partition(".")[0] == "acme_zoo"]:
        del sys.modules[name]


@pytest.mark.parametrize("example", KINDS, indirect=True, ids=KINDS)
def test_the_example_is_a_plugin_that_passes_the_kit(example):
    kind, record, registry = example
    (component,) = record.components
    assert component.kind == kind
    assert component.summary
    (entry,) = [one for one in registry.entries(kind) if one.plugin.namespace == "acme"]
    subject = Subject(entry=entry)
    checks = import_module(f"zoo.testing.{plural(kind)}").CHECKS
    results = {identifier(check): attempt(check, subject) for check in checks}
    failed = {name: one.message for name, one in results.items() if one.status == "failed"}
    assert not failed
    assert sum(one.status == "passed" for one in results.values()) >= 4
    imported = {
        name
        for node in ast.walk(ast.parse(_text(kind).split("```python\n")[1].split("```")[0]))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None) or node.names[0].name]
    }
    assert imported == {"zoo.plugin"}  # nothing heavy


@pytest.mark.parametrize("example", ["command"], indirect=True)
def test_the_command_counts(example, shapes_folder):
    from acme_zoo.commands import count_images
    from click.testing import CliRunner

    outcome = CliRunner().invoke(count_images, [str(shapes_folder)])
    assert outcome.exit_code == 0, outcome.output
    assert outcome.output.splitlines()[:2] == ["test         4  bar", "test         4  dot"] or (
        "train       12  bar" in outcome.output
    )


@pytest.mark.parametrize("example", ["scheduler"], indirect=True)
def test_the_schedule_is_a_triangle(example):
    schedule = build(parse_choice(example[2], "scheduler", "triangle-4-0.2"), epochs=8.0, lr=0.1)
    assert [round(schedule(epoch), 6) for epoch in (0, 1, 2, 3, 4)] == [0.2, 0.6, 1.0, 0.6, 0.2]


@pytest.mark.parametrize("example", ["metric"], indirect=True)
def test_the_metric_is_the_geometric_mean(example):
    import torch

    metric = build(parse_choice(example[2], "metric", "g-mean"), num_classes=3, multi_label=False)
    said = torch.eye(3)[torch.tensor([0, 1, 1, 1])]
    assert float(metric(said, torch.tensor([0, 0, 1, 1]))) == pytest.approx(0.5**0.5)
