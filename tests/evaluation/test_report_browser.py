"""The page in a real browser: headless Chromium, offline, light and dark, wide and narrow."""

from __future__ import annotations

import shutil

import pytest

from tests.evaluation.hostile_names import HOSTILE
from tests.evaluation.report_runs import saying
from zoo.evaluation.report.making import _figures
from zoo.evaluation.report.page import page_of
from zoo.evaluation.report.training import curve_figures

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(reported_run, tmp_path_factory, registry):
    """A page whose classes and images have hostile names."""
    root = tmp_path_factory.mktemp("browser")
    classes = HOSTILE[:20]
    names = [HOSTILE[n % 200] + f" {n}" for n in range(200)]
    facts, examined, findings = saying(reported_run, registry, classes=classes, names=names)
    figures = {**curve_figures(facts), **_figures(examined, findings)}
    file = root / "page.html"
    file.write_text(page_of(facts, examined, findings, figures, notes=HOSTILE[:5]))
    return file, findings


@pytest.fixture
def opened(browser, report):
    """Opens the page and watches it: ``open(width, scheme)``."""
    contexts = []

    def open_page(width: int = 1280, scheme: str = "light", **options):
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(5000)
        page.said = []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("dialog", lambda dialog: (page.said.append("dialog"), dialog.dismiss()))
        page.on("request", lambda request: page.said.append(request.url)
                if not request.url.startswith(("file:", "data:")) else None)  # fmt: skip
        page.goto(report[0].as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("width", [1280, 390, 320])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_without_a_word_and_without_scrolling_sideways(opened, width, scheme):
    page = opened(width, scheme)
    page.mouse.move(width / 2, 400)
    assert page.said == []
    assert page.evaluate("window.__broken") is None
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 20, 23)"}[scheme]
    ink = page.evaluate("getComputedStyle(document.querySelector('svg .stroke-c1')).stroke")
    assert ink == {"light": "rgb(37, 99, 168)", "dark": "rgb(104, 164, 228)"}[scheme]
    assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")


def test_the_theme_can_be_changed(opened):
    page = opened(scheme="dark")
    page.get_by_role("button", name="Light").click()
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(255, 255, 255)"


def test_the_matrix_counts_normalises_sorts_and_explains(opened, report):
    counts_KK = report[1].counts_KK
    page = opened()
    matrix = page.locator("#matrix")

    def cell(row: int, column: int):
        return matrix.locator("tbody tr").nth(row).locator("td").nth(column)

    share = counts_KK[3, 3] / counts_KK[3].sum()
    assert cell(3, 3).inner_text() == str(counts_KK[3, 3])
    page.get_by_role("button", name="% of the true class").click()
    assert cell(3, 3).inner_text() == f"{100 * share:.0f}"
    page.get_by_role("button", name="% of the answers").click()
    assert cell(3, 3).inner_text() == f"{100 * counts_KK[3, 3] / counts_KK[:, 3].sum():.0f}"
    page.locator("#confusion").get_by_role("button", name="Images").click()
    cell(3, 3).hover()
    said = page.locator("[data-readout]").inner_text()
    assert said.startswith(f"{counts_KK[3, 3]} of {counts_KK[3].sum()} images of ")
    page.get_by_role("button", name="Most errors first").click()
    errors = counts_KK.sum(0) + counts_KK.sum(1) - 2 * counts_KK.diagonal()
    worst = int(errors.argmax())
    assert cell(0, 0).inner_text() == str(counts_KK[worst, worst])
    page.get_by_role("button", name="Errors only").click()
    assert cell(0, 0).inner_text() == ""
    matrix.focus()
    page.keyboard.press("ArrowDown")
    assert page.locator("#matrix td.on").count() == 1
    assert page.said == []


def test_classes_are_sorted_and_found(opened, report):
    page = opened()
    rows = page.locator("#class-table tbody tr")
    f1 = [one.f1 for one in report[1].classes]
    page.locator("#class-table").get_by_role("button", name="F1").click()
    lowest, highest = rows.first.inner_text(), rows.last.inner_text()
    assert f"{min(f1):.1%}" in lowest
    assert f"{max(f1):.1%}" in highest
    page.get_by_role("searchbox").fill("iframe")
    assert rows.locator("visible=true").count() == sum("iframe" in n for n in HOSTILE[:20])
    assert page.said == []


def test_it_can_be_read_without_scripts(opened):
    page = opened(390, java_script_enabled=False)
    assert page.locator("#matrix td").first.is_visible()
    assert page.get_by_role("button").count() == 0, "what would do nothing is not shown"
    assert page.locator("#class-table tbody tr").count() == 20


def test_it_prints_in_ink_on_paper(opened):
    page = opened(scheme="dark")
    page.emulate_media(media="print")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(255, 255, 255)"
    assert not page.locator(".rail nav").is_visible()
