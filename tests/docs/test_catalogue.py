"""docs/catalogue.md has what zoo brings, and nothing that only this machine has."""

from __future__ import annotations

import re
from importlib.metadata import version

import pytest

from docs.build_pages import COMMAND, ROOT
from docs.catalogue_page import MOVING, builtin_registry, catalogue, section
from zoo.plugin import KINDS, fold, plural

PAGE = ROOT / "docs" / "catalogue.md"
TEXT = PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def ours():
    return builtin_registry()


def _section(kind):
    begin = TEXT.index(f"\n## {plural(kind)}\n") + 1
    end = TEXT.find("\n## ", begin)
    return TEXT[begin:] if end < 0 else TEXT[begin:end]


def _made_with_other_models():
    """Whether the page counts the models of other versions of timm or torchvision than are here."""
    return any(f"{name} {version(name)}" not in TEXT for name in MOVING)


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_is_current(ours, kind):
    if kind == "model" and _made_with_other_models():
        pytest.skip("the page was made with other versions of timm or torchvision")
    assert _section(kind).strip() == section(ours, kind).strip(), f"renew the page: {COMMAND}"


def test_what_is_around_the_sections_is_current(ours):
    def frame(text):
        head = text[: text.index("\n## ")]
        if _made_with_other_models():
            head = re.sub(r"Models are those of .*|\| \[models\].*", "", head)
        return head

    assert frame(TEXT) == frame(catalogue(ours)), f"renew the page: {COMMAND}"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "model"])
def test_every_component_has_a_row(ours, kind):
    rows = re.findall(r"^\| `([^`]+)` \|", _section(kind), re.MULTILINE)
    assert sorted(rows) == sorted(entry.component.name for entry in ours.entries(kind))


def test_every_model_is_counted_and_every_short_name_is_there(ours):
    if _made_with_other_models():
        pytest.skip("the page was made with other versions of timm or torchvision")
    rows = re.findall(
        r"^\| [\w-]+ \| ([\d,]+) \| (.*) \| (.*) \|$", _section("model"), re.MULTILINE
    )
    models = list(ours.entries("model"))
    assert sum(int(count.replace(",", "")) for count, _, _ in rows) == len(models) > 1400
    names = {fold(entry.component.name) for entry in models}
    assert all(fold(name) in names for _, such, _ in rows for name in re.findall("`(.*?)`", such))
    aliases = {alias for entry in models for alias in entry.component.aliases}
    assert {alias for *_, also in rows for alias in re.findall("`(.*?)`", also)} == aliases


def test_what_others_have_installed_is_not_in_it(make_plugin):
    make_plugin(
        "acme",
        "from zoo.plugin import Component, hookimpl\n"
        "@hookimpl\ndef zoo_components():\n"
        "    yield Component(kind='loss', name='l', target='a:b')\n",
    )
    assert [plugin.namespace for plugin in builtin_registry().plugins].count("acme") == 0
    assert section(builtin_registry(), "loss").strip() == _section("loss").strip()


@pytest.mark.parametrize(
    ("kind", "name", "needs"),
    [("explainer", "gradcam", "interpret"), ("projector", "tsne", "interpret"),
     ("projector", "pca", ""), ("dataset", "hf", "hf"), ("dataset", "webdataset", "webdataset"),
     ("dataset", "svhn", "torchvision-data"), ("callback", "mlflow", "mlflow"),
     ("exporter", "onnx", "onnx"), ("optimizer", "pytorch-optimizer/accsgd", ""),
     ("optimizer", "bnbadam", "bitsandbytes")],
)  # fmt: skip
def test_needs_is_the_extra_that_has_it(ours, kind, name, needs):
    plugin = ours.find(kind, name).plugin.namespace
    text = _section(kind)
    part = text[text.index(f"### {plugin},") :]
    row = re.search(rf"^\| `{name.rpartition('/')[2]}` \|.*$", part, re.MULTILINE)[0]
    last = row.removesuffix(" |").rpartition(" | ")[2].strip()
    assert (last == needs) if needs else (last not in ("interpret", "pytorch_optimizer"))


def test_networks_that_need_an_extra_say_so():
    text = _section("model")
    assert text.count("All of them need") == 1
    assert "All of them need the extra `transformers`." in text[text.index("### hf,") :]


def test_a_cell_cannot_break_the_table():
    from zoo.plugin import Component, Param
    from zoo.registry import PluginRecord, Registry

    odd = Component(
        kind="loss", name="odd", target="a:b", summary="a | b\n<script>",
        params=(Param(name="x_y", default=1), Param(name="z", type="str", default="a|b")),
        shorthand=("z",),
    )  # fmt: skip
    record = PluginRecord(
        namespace="torch", module="m", distribution="classifier-zoo", version="1", components=(odd,)
    )
    (row,) = [line for line in section(Registry([record]), "loss").splitlines() if "odd" in line]
    assert row == r"| `odd` | a \| b &lt;script> | **z**=a\|b, x\_y=1 |"


def test_links_lead_somewhere():
    for kind, link in re.findall(r"\[(\w+)\]\(#(\w+)\)", TEXT):
        assert kind == link
        assert f"\n## {link}\n" in TEXT
    for path in re.findall(r"\]\(([^#)]+)\)", TEXT):
        assert (PAGE.parent / path).is_file(), path
