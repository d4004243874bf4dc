"""No name can become anything but text: in the page, in its data, in the model card."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.evaluation.hostile_names import BENIGN, HOSTILE
from tests.evaluation.report_runs import Page, saying
from zoo.errors import printable
from zoo.evaluation.report.card import card_of, plain
from zoo.evaluation.report.findings import commonest
from zoo.evaluation.report.making import _figures
from zoo.evaluation.report.page import Heat, page_of
from zoo.evaluation.report.pictures import thumbnail
from zoo.evaluation.report.rendering import as_json, render
from zoo.evaluation.report.training import curve_figures
from zoo.runs.folder import RunFolder

PART = 40
PARTS = range(0, len(HOSTILE), PART)


@pytest.fixture(scope="module")
def answers(reported_run, registry):
    """What a run says about images of classes without a name yet."""
    blank = [str(number) for number in range(PART)]
    return saying(reported_run, registry, classes=blank, names=["x"] * 150)


def pages(answers, names: Sequence[str]) -> tuple[str, str]:
    """Returns the page and the card of a run in which everything that has a name has one of these.

    The answers are the same for any names.
    """
    images = tuple(names[n % len(names)] + f" {n}" for n in range(150))
    facts, examined, findings = answers
    said = replace(examined.predictions, classes=tuple(names), names=images)
    examined = replace(
        examined, predictions=said, data=replace(examined.data, classes=tuple(names))
    )
    rows = [replace(row, name=name) for row, name in zip(findings.classes, names, strict=True)]
    findings = replace(findings, classes=rows, common=commonest(said))
    given_names = iter([*names, *names])
    environment = {
        **facts.environment,
        "components": {
            next(given_names): {"spec": next(given_names), "package": next(given_names)}
            for _ in range(5)
        },
        "packages": {next(given_names): next(given_names) for _ in range(5)},
        "weights": next(given_names), "python": next(given_names), "cuda_devices": [names[3]],
    }  # fmt: skip
    phases = dict(zip((phase.name for phase in facts.phases), names[20:], strict=False))
    path = Path("runs") / names[1].replace("/", "|").replace("\0", "|")
    facts = replace(
        facts, folder=RunFolder(path), environment=environment,
        rows=[{**row, "phase": phases[row["phase"]], f"val_{names[5]}": 0.5} for row in facts.rows],
        config=facts.config.changed(data=names[6].replace("\0", "")),
    )  # fmt: skip
    data = replace(
        examined.data, name=names[7], notes=names[8:12],
        bad=dict(zip(names[12:16], names[16:20], strict=True)),
    )  # fmt: skip
    examined = replace(examined, data=data)
    picture = thumbnail(examined.picture(0))
    html = page_of(
        facts, examined, findings, {**curve_figures(facts), **_figures(examined, findings)},
        heat=[Heat(index=n, picture=picture, warm=picture) for n in range(4)],
        heat_note=names[2], notes=names[:4],
    )  # fmt: skip
    return html, card_of(facts, examined, findings, plots=["loss.png"], notes=names[:4])


@pytest.fixture(scope="module")
def benign(answers):
    return pages(answers, BENIGN[:PART])


@pytest.fixture(scope="module")
def hostile(answers):
    return {start: pages(answers, HOSTILE[start : start + PART]) for start in PARTS}


@pytest.mark.parametrize("start", PARTS)
def test_no_name_adds_an_element_or_an_attribute(benign, hostile, start):
    usual, given_page = Page.of(benign[0]), Page.of(hostile[start][0])
    assert given_page.tags == usual.tags
    assert not [name for _, name, _ in given_page.attributes if name.startswith("on")]
    for kind in ("href", "src"):
        values = [value for _, name, value in given_page.attributes if name == kind]
        assert all(value.startswith(("#", "data:image/", "data:,")) for value in values)


@pytest.mark.parametrize("start", PARTS)
def test_every_class_name_is_shown_as_it_is(hostile, start):
    page = Page.of(hostile[start][0])
    shown = {text for _, text in page.texts}
    for name in HOSTILE[start : start + PART]:
        assert printable(name) in shown
    (data,) = [text for text in page.text_of("script") if text.startswith('{"names"')]
    assert json.loads(data)["names"] == [printable(n) for n in HOSTILE[start : start + PART]]


@pytest.mark.parametrize("start", PARTS)
def test_no_name_becomes_markup_in_the_card(benign, hostile, start):
    reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])

    def parts(card: str) -> list[str]:
        text = card.partition("\n---\n\n")[2]
        found = []
        for token in reader.parse(text):
            inner = [t.type for t in token.children or [] if t.type not in ("text", "text_special")]
            found.append(f"{token.type} {token.tag} {inner}")
        return found

    assert parts(hostile[start][1]) == parts(benign[1])
    front = yaml.safe_load(hostile[start][1].partition("---\n")[2].partition("\n---\n")[0])
    (model,) = front["model-index"]
    assert model["results"][0]["dataset"]["name"] == printable(HOSTILE[start + 7])
    assert set(front) == {
        "pipeline_tag", "library_name", "tags", "metrics", "model-index"
    }  # fmt: skip


@given(st.text(max_size=40))
def test_a_name_in_markdown_reads_as_itself(name):
    reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    html = reader.render(f"x {plain(name)} y")
    (text,) = re.fullmatch(r"<p>x (.*) y</p>\n", html, flags=re.DOTALL).groups()
    shown = "".join(part for _, part in Page.of(f"<p>{text}</p>").texts)
    assert "".join(shown.split()) == "".join(printable(name).split())
    assert Page.of(html).tags == [("p", ())]


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner,
                                                               max_size=3), max_leaves=8,
))  # fmt: skip
def test_data_in_a_page_reads_back(value):
    text = as_json(value)
    assert json.loads(text) == value
    assert not set("<>&") & set(text)


def test_a_name_that_a_template_lacks_is_an_error():
    with pytest.raises(Exception, match="undefined"):
        render("report.html.j2")


def test_metadata_of_pictures_does_not_travel(tmp_path):
    secret = PngInfo()
    secret.add_text("Comment", "<script>window.__broken=1</script>")
    for side, kind in ((20, "png"), (300, "webp")):
        file = tmp_path / f"{side}.png"
        Image.new("RGB", (side, side), "teal").save(file, pnginfo=secret)
        with Image.open(file) as image:
            picture = thumbnail(image)
        assert picture.uri.startswith(f"data:image/{kind};base64,")
        assert max(picture.width, picture.height) == min(side, 160)
        assert b"broken" not in base64.b64decode(picture.uri.partition(",")[2])


def test_the_folder_of_a_run_may_be_called_anything(reported_run, tmp_path, zoo_command):
    path = tmp_path / "it's <b> $(touch x) `y`"
    shutil.copytree(reported_run, path)
    outcome = zoo_command("report", path, "--explainer", "none")
    assert outcome.code == 0, outcome.err
    page = Page.of((path / "report.html").read_text())
    assert path.name in page.text_of("h1")
