"""``--plugin PATH``: a plugin for one invocation, stored in the run, never brought by a file."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import pytest

import zoo
from zoo.cli.plugin_paths import split_paths
from zoo.errors import PluginError, UsageError
from zoo.registry import Registry
from zoo.registry.index import index_file
from zoo.registry.local import local_plugin
from zoo.registry.settings import PATH_VARIABLE

PLUGIN = """
from zoo.plugin import Component, hookimpl

@hookimpl
def zoo_components():
    yield Component(kind="scheduler", name="halving", target="{module}:halving")

def halving():
    def factor(epoch):
        return {factor} ** epoch
    return factor
"""
TINY = {
    "model": "lenet", "img_size": 24, "epochs": 1, "freeze_epochs": 0, "aug": "none",
    "batch_size": 8, "weights": "none", "threads": 1,
}  # fmt: skip


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module file that is a plugin, and forgets it after the test."""
    monkeypatch.delenv(PATH_VARIABLE, raising=False)
    path_before = list(sys.path)

    def write(name="my_halving", factor=0.5, text=None):
        path = tmp_path / "mine" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text or PLUGIN.format(module=name, factor=factor), encoding="utf-8")
        return path

    yield write
    sys.path[:] = path_before
    for name in [n for n in sys.modules if n.startswith("my_")]:
        del sys.modules[name]


def rates(zoo_command, *args):
    done = zoo_command("explain", "halving", "--epochs", 3, "--lr", 1, "--json", *args)
    assert done.code == 0, done.err
    return json.loads(done.out)["lr"]


def test_a_file_is_a_plugin_before_and_after_the_command(module, zoo_command, monkeypatch):
    path = module()
    assert rates(zoo_command, "--plugin", path) == [1, 0.5, 0.25]
    listed = zoo_command("--plugin", path, "list", "schedulers", "*halving*", "--json")
    assert [row["id"] for row in json.loads(listed.out)] == ["my_halving/halving"]
    monkeypatch.chdir(path.parent)
    assert zoo_command("show", "scheduler", "halving", f"--plugin={path.name}").code == 0
    gone = zoo_command("explain", "halving")
    assert gone.code == 2
    assert "no scheduler is named 'halving'" in gone.err
    assert PATH_VARIABLE not in os.environ
    assert not index_file().exists(), "nothing is kept of it"


def test_it_is_read_again_when_it_was_edited(module, zoo_command):
    """Same size, and the same second: bytecode would be taken for current."""
    assert rates(zoo_command, "--plugin", module()) == [1, 0.5, 0.25]
    assert rates(zoo_command, "--plugin", module(factor=0.1)) == pytest.approx([1, 0.1, 0.01])


def test_two_folders_may_have_a_file_of_one_name(module, zoo_command, tmp_path):
    first = module()
    second = tmp_path / "other" / first.name
    second.parent.mkdir()
    second.write_text(PLUGIN.format(module="my_halving", factor=0.2))
    assert rates(zoo_command, "--plugin", first)[1] == 0.5
    assert rates(zoo_command, "--plugin", second)[1] == 0.2
    both = zoo_command("list", "--plugin", first, "--plugin", second)
    assert both.code == 2
    assert "would be 'my_halving', which is taken" in both.err


def test_a_package_folder_and_a_project_are_plugins(module, zoo_command, tmp_path):
    package = tmp_path / "mine" / "my_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(PLUGIN.format(module="my_package.deep", factor=0.5))
    (package / "deep.py").write_text("from my_package import halving\n")
    assert rates(zoo_command, "--plugin", package)[1] == 0.5

    project = tmp_path / "project"
    (project / "src" / "my_project").mkdir(parents=True)
    (project / "pyproject.toml").write_text(
        '[project]\nname = "zoo-acme"\n[project.entry-points."zoo.v1"]\nacme = "my_project._zoo"\n'
    )
    (project / "src" / "my_project" / "__init__.py").write_text("")
    (project / "src" / "my_project" / "_zoo.py").write_text(
        PLUGIN.format(module="my_project._zoo", factor=0.5)
    )
    assert rates(zoo_command, "--plugin", project)[1] == 0.5
    assert local_plugin(project).namespace == "acme"


def test_child_processes_see_it(module):
    path = module()
    code = (
        "from zoo.registry import Registry\n"
        "print(Registry.installed().find('scheduler', 'halving').id)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, PATH_VARIABLE: str(path), "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.stdout.strip() == "my_halving/halving"
    spawned = (
        "import multiprocessing as m, pickle\n"
        "from zoo.registry import Registry, load_target\n"
        "if __name__ == '__main__':\n"
        "    f = load_target(Registry.installed().find('scheduler', 'halving'))\n"
        "    with m.get_context('spawn').Pool(1) as pool: print(pool.apply(repr, (f,)))\n"
    )
    script = path.parent.parent / "spawn.py"
    script.write_text(spawned)
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=True,
        env={**os.environ, PATH_VARIABLE: str(path), "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.stdout.startswith("<function halving"), "unpickled where only sys.path came along"


BROKEN = {
    "x = 1\nraise RuntimeError('not today')": "RuntimeError: not today at {path}:2",
    "x = 1\ndef broken(:\n": "SyntaxError: invalid syntax (my_broken.py, line 2) at {path}:2",
    "x = 1": "has no zoo_components hook; decorate it with zoo.plugin.hookimpl at {path}:1",
    "import sys; sys.exit(3)": "SystemExit: 3 at {path}:1",
    PLUGIN.format(module="my_x", factor=1).replace('"scheduler"', "7"): "kind is int 7",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_one_is_an_error_with_file_and_line(module, zoo_command, text):
    path = module("my_broken", text=text)
    for command in (("list",), ("explain", "SGDR-10-2"), ("--help",)):
        done = zoo_command(*command, "--plugin", path)
        assert done.code == 5
        assert BROKEN[text].format(path=path) in done.err
        assert "Traceback" not in done.err
    assert str(path) in done.err


def test_what_cannot_be_a_plugin_is_said(module, zoo_command, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.whl").write_bytes(b"PK")
    bad_name, click_name = module("my-halving"), module("click")
    for path, says in (
        (tmp_path / "nowhere.py", "does not exist"),
        (tmp_path / "empty", "holds no plugin"),
        (tmp_path / "a.whl", "zoo plugins check WHEEL"),
        (bad_name, "cannot be a plugin's name"),
        (module("_my"), "cannot be a plugin's name"),
        (module("torch"), "would be 'torch', which is taken"),
    ):
        done = zoo_command("list", "--plugin", path)
        assert (done.code, says in done.err) == (2, True), done.err
    done = zoo_command("list", "--plugin", click_name)
    assert done.code == 5
    assert "there is another module 'click'" in done.err
    assert zoo_command("list", "--plugin").code == 2


@pytest.mark.parametrize(
    ("args", "rest", "paths"),
    [
        (["run", "--plugin", "a.py"], ["run"], ["a.py"]),
        (["--plugin=a", "run", "--plugin", "b"], ["run"], ["a", "b"]),
        (["list", "--plugin", "acme"], ["list", "--plugin", "acme"], []),
        (["list", "--plugin=acme"], ["list", "--plugin=acme"], []),
        (["list", "--plugin", "./acme"], ["list"], ["./acme"]),
        (["predict", "r", "--", "--plugin", "x"], ["predict", "r", "--", "--plugin", "x"], []),
        ([], [], []),
    ],
)
def test_where_the_option_may_stand(args, rest, paths):
    assert split_paths(args) == (rest, paths)


def test_a_run_stores_it_and_a_resume_without_it_says_so(
    module, zoo_command, shapes_folder, tmp_path, monkeypatch
):
    path = module()
    flags = [word for key, value in TINY.items() for word in (f"--{key.replace('_', '-')}", value)]
    run = tmp_path / "runs" / "mine"
    done = zoo_command(
        "run", "--plugin", path, *flags, "--data", shapes_folder, "--sched", "halving",
        "--runs", run.parent, "--name", run.name,
    )  # fmt: skip
    assert done.code == 0, done.err
    stored = json.loads((run / "environment.json").read_text())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert stored["plugins"] == {"my_halving": {"file": "my_halving.py", "sha256": digest}}
    assert stored["components"]["scheduler"] == {
        "spec": "my_halving/halving", "package": f"my_halving.py sha256:{digest[:16]}",
    }  # fmt: skip
    assert str(path.parent) not in (run / "environment.json").read_text(), "no path of anybody"

    (run / "summary.json").unlink()  # as if it had been cut short at its end
    resumed = zoo_command("resume", run)
    assert resumed.code == 5
    assert "the scheduler my_halving/halving, which is not there now" in resumed.err
    assert "--plugin PATH is missing" in resumed.err
    assert zoo_command("resume", run, "--plugin", path).code == 0

    (run / "summary.json").unlink()
    module(factor=0.25)
    changed = zoo_command("resume", run, "--plugin", path)
    assert changed.code == 4
    assert "scheduler comes from: package was my_halving.py sha256:" in changed.err


def test_sweeps_and_folds_have_it_too(module, zoo_command, shapes_folder, tmp_path):
    path = module()
    flags = [word for key, value in TINY.items() for word in (f"--{key.replace('_', '-')}", value)]
    done = zoo_command(
        "kfold", "--plugin", path, *flags, "--folds", 2, "--data", shapes_folder, "--sched",
        "halving", "--runs", tmp_path / "runs", "--name", "folds",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert len(list((tmp_path / "runs" / "folds").glob("*/environment.json"))) == 2


@pytest.mark.parametrize("key", ["plugin", "plugins", "plugin_path"])
def test_no_configuration_brings_code_along(module, zoo_command, tmp_path, key):
    path = module(text="raise RuntimeError('I ran')")
    file = tmp_path / "config.toml"
    file.write_text(f'model = "lenet"\n{key} = "{path.as_posix()}"\n')
    done = zoo_command("run", "--config", file)
    assert done.code == 2
    assert f"a configuration names no plugin, and this has '{key}'" in done.err
    assert "I ran" not in done.err
    with pytest.raises(UsageError, match="names no plugin"):
        zoo.RunConfig.from_mapping({key: [str(path)]})
    assert zoo_command("run", "--set", f"{key}={path}").code == 2


@pytest.mark.parametrize("key", ["model", "sched", "loss", "aug", "callback", "metric"])
def test_a_name_in_a_configuration_imports_nothing_that_no_plugin_declares(
    module, zoo_command, tmp_path, key, monkeypatch
):
    path = module("my_target", text="raise RuntimeError('I ran')")
    monkeypatch.syspath_prepend(str(path.parent))
    file = tmp_path / "config.toml"
    for value in ("my_target:make", "my_target", f"{path.as_posix()}", "my_target/make"):
        file.write_text(f'{key} = "{value}"\n')
        done = zoo_command("run", "--config", file, "--dry-run")
        assert done.code == 2
        assert "I ran" not in done.err
    assert "my_target" not in sys.modules


def test_the_api_has_it_by_the_environment(module, monkeypatch):
    monkeypatch.setenv(PATH_VARIABLE, str(module()))
    assert [entry.id for entry in zoo.list("scheduler", "halving")] == ["my_halving/halving"]
    monkeypatch.setenv(PATH_VARIABLE, str(module(text="raise RuntimeError")))
    with pytest.raises(PluginError):
        Registry.installed()


def test_a_schedule_that_raises_is_its_authors_fault(tmp_path, zoo_command, shapes_folder):
    plugin = tmp_path / "steep.py"
    plugin.write_text(
        "from zoo.plugin import Component, hookimpl\n\n\n"
        "@hookimpl\ndef zoo_components():\n"
        '    yield Component(kind="scheduler", name="cliff", target="steep:cliff")\n\n\n'
        "def cliff():\n    return lambda epoch: 1 / (2 - epoch)\n",
        encoding="utf-8",
    )
    found = zoo_command(
        "--plugin", plugin, "run", "--data", shapes_folder, "--model", "lenet", "--sched", "cliff",
        "--epochs", 4, "--weights", "none", "--img-size", 16, "--runs", tmp_path / "runs",
    )  # fmt: skip
    assert found.code == 5
    assert "the scheduler steep/cliff failed" in found.err
    assert "ZeroDivisionError" in found.err
    assert "steep.py:10" in found.err
