"""docs/plugins.md is a script that runs from top to bottom: a plugin from nothing to its wheel."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scaffold.environments import Place, layered

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/plugins.md").read_text(encoding="utf-8")
TINY = ("--limit", "20", "--epochs", "1", "--img-size", "16", "--threads", "1", "--workers", "0")


def blocks() -> list[tuple[str, str, str]]:
    """Returns, for each block of code, the paragraph before it, its language and its text."""
    found = re.finditer(r"```(\w+)\n(.*?)```", PAGE, flags=re.DOTALL)
    return [
        (PAGE[: match.start()].rstrip().rpartition("\n\n")[2], match[1], match[2])
        for match in found
    ]


def small(words: list[str]) -> list[str]:
    """Returns a command that needs no network and little time."""
    if words[:2] == ["pip", "install"]:
        return [*words, "--no-build-isolation", *(() if "--no-deps" in words else ("--no-deps",))]
    if words[:3] == ["python", "-m", "build"]:
        return [*words[1:], "--no-isolation"]
    if words[:2] == ["zoo", "run"]:
        return [*words, *TINY]
    return words


def run_line(place: Place, line: str, folder: Path) -> tuple[str, Path]:
    """Runs one line of the page; returns what it printed and the folder that the next is run in."""
    words = shlex.split(line, comments=True)
    if words[0] == "cd":
        return "", folder / words[1]
    return place.run(small(words), folder=folder), folder


def test_the_page_runs_from_top_to_bottom(tmp_path):
    place = layered(tmp_path / "environment")
    folder = tmp_path / "work"
    folder.mkdir()
    printed: dict[str, str] = {}
    for before, language, text in blocks():
        if language == "sh":
            for line in text.splitlines():
                printed[line], folder = run_line(place, line, folder)
        elif language == "python" and (named := re.search(r"`([\w/]+\.py)`", before)):
            path = folder / named[1]
            assert ("end of" in before) == path.exists(), before
            kept = (
                path.read_text(encoding="utf-8") + "\n" * text.startswith("def") * 2
                if path.exists()
                else ""
            )
            path.write_text(kept + text, encoding="utf-8")
    assert folder.name == "zoo-acme"

    # What was shown is what the page says it is.
    tests = [printed_by for line, printed_by in printed.items() if line.startswith("pytest")]
    assert all(re.search(r"\d+ passed", output) for output in tests)
    assert "triangular" in printed["zoo list schedulers triangular"]
    assert "acme/triangular2" in printed["zoo show scheduler triangular2"]
    assert "sawtooth" in printed["zoo --plugin tooth.py explain sawtooth-4 --epochs 8"]
    assert (folder / "dist" / "zoo_acme-0.1.0.tar.gz").exists()
    assert "triangular2" in printed["zoo plugins show acme"]
    result = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "src", "tests"], cwd=folder, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout


def test_the_tree_on_the_page_is_what_is_written():
    from zoo.scaffold import derive, render

    tree = PAGE[PAGE.index("    zoo-acme/\n") : PAGE.index("Install it where zoo is")]
    named = {
        word
        for word in re.findall(r"(?<![\w/])\.?[\w./-]+", tree)
        if "." in word or word == "LICENSE"
    }
    files = set(render(derive("zoo-acme"), ["scheduler"]))
    assert named <= files
    assert files - named == {"src/zoo_acme/py.typed", "tests/conftest.py", ".gitignore"}


def test_the_function_that_takes_a_fact_works():
    (text,) = [text for before, language, text in blocks() if "def warm_restart" in text]
    names: dict[str, object] = {"triangular": lambda *, period, lowest: (period, lowest)}
    exec(compile("from __future__ import annotations\n" + text, "docs/plugins.md", "exec"), names)
    assert names["warm_restart"](cycles=4, epochs=10.0) == (2, 0.0)


def test_every_kind_is_named():
    from zoo.plugin import KINDS

    listed = re.search(r"for any of ([\w,\s]+?)\.", PAGE)[1]
    assert tuple(re.findall(r"\w+", listed.replace(" and ", " "))) == KINDS


@pytest.mark.parametrize(
    "id_", re.findall(r"`(?:\w+/acme/[\w-]+::)?([a-z]+(?:-[a-z]+){2,})`", PAGE)
)
def test_checks_that_the_page_names_exist(id_):
    from zoo.testing.checking import checks_of, identifier

    if id_.startswith(("zoo-", "classifier-")):
        pytest.skip("a package")
    assert id_ in {identifier(check) for check in checks_of("scheduler")}


def test_messages_that_the_page_quotes_are_those_of_the_code():
    sources = "\n".join(
        path.read_text(encoding="utf-8") for path in sorted((ROOT / "zoo/registry").glob("*.py"))
    )
    for message in ("has no zoo_components hook", "is also claimed by", "cannot import"):
        assert message in PAGE
        assert message in sources, message
