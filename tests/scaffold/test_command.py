"""``zoo plugins new`` and ``new_plugin``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from zoo.api import new_plugin
from zoo.errors import UsageError


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)


def test_it_writes_a_folder_and_says_what_to_type(zoo_command):
    outcome = zoo_command("plugins", "new", "zoo-acme", "--kind", "scheduler", "--kind", "loss")
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    files = [path for path in Path("zoo-acme").rglob("*") if path.is_file()]
    assert lines[0] == f"zoo-acme: {len(files)} files in zoo-acme"
    assert [line.strip() for line in lines[3:]] == [
        "cd zoo-acme",
        "pip install -e '.[test]'",
        "pytest",
        "zoo list losses gce",
        "zoo list schedulers triangular",
        "zoo run --model lenet --loss gce-0.7 --limit 500",
        "zoo explain triangular-4 --epochs 12",
        "zoo run --model lenet --sched triangular-4 --limit 500",
    ]


def test_path_and_author(zoo_command):
    outcome = zoo_command("plugins", "new", "acme", "--kind", "METRIC", "--path", "a b/c",
                          "--author", "Ada <ada@example.org>")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "  cd 'a b/c'" in outcome.out
    assert 'name = "acme"' in Path("a b/c/pyproject.toml").read_text()
    assert "Ada" in Path("a b/c/LICENSE").read_text()
    assert (Path("a b/c/src/acme/metrics.py")).exists()


def test_the_current_folder_needs_no_cd(zoo_command):
    outcome = zoo_command("plugins", "new", "zoo-acme", "--kind", "recipe", "--path", ".")
    assert outcome.code == 0, outcome.err
    assert "cd " not in outcome.out
    assert Path("src/zoo_acme/recipes.py").exists()


def test_commands_that_need_a_run_make_one_first_and_once():
    made = new_plugin("zoo-acme", ["explainer", "reviewer"])
    assert [line for line in made.commands if line.startswith("zoo run")] == [
        "zoo run --model lenet --limit 500 --name tried"
    ]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["zoo-acme"], 2, "--kind"),
        (["zoo-acme", "--kind", "modle"], 2, "modle"),
        (["../x", "--kind", "loss"], 2, "cannot be the name of a package"),
        (["torch", "--kind", "loss"], 2, "3 problems"),
        (["zoo-acme", "--kind", "loss", "--author", "a\nb"], 2, "the author is not a name"),
        (["zoo-acme", "--kind", "loss", "--path", "full"], 9, "is not overwritten"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(zoo_command, words, code, said):
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    outcome = zoo_command("plugins", "new", *words)
    assert outcome.code == code
    assert said in outcome.err
    assert [path.name for path in Path.cwd().rglob("*")] == ["full", "mine.txt"]


def test_a_name_that_looks_like_a_built_in_is_written_with_a_note(zoo_command):
    outcome = zoo_command("plugins", "new", "zoo-torhc", "--kind", "loss")
    assert outcome.code == 0, outcome.err
    assert "note: the namespace torhc looks like the built-in torch" in outcome.out


def test_from_python_a_kind_that_is_none_is_named():
    with pytest.raises(UsageError, match="there is no kind 'losses'"):
        new_plugin("zoo-acme", ["losses"])
    with pytest.raises(UsageError, match="no kind was given"):
        new_plugin("zoo-acme", [])
    assert not list(Path.cwd().iterdir())


def test_it_imports_nothing_heavy():
    code = (
        "import sys\nfrom zoo.cli.main import main\n"
        "assert main(['plugins', 'new', 'zoo-acme', '--kind', 'model']) == 0\n"
        "print('HEAVY', sorted({'torch', 'numpy', 'PIL', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"
