"""zoo plugins install and remove, with the pip that is there, in an environment of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile

import pytest

from zoo.api.packages import _installer
from zoo.api.plugins import normalised
from zoo.errors import PluginError

DECLARES = """
from zoo.plugin import Component, hookimpl
@hookimpl
def zoo_components():
    yield Component(kind="scheduler", name="halving", target="zoo_brand:zoo_components")
"""


def wheel(folder, code: str | None, name="zoo_brand", version="1.0"):
    """Writes a wheel by hand: with the code of a plugin, or of no plugin at all."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": code or "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\n"
                            f"Version: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
                         "Tag: py3-none-any\n",
    }  # fmt: skip
    if code is not None:
        files[f"{info}/entry_points.txt"] = f"[zoo.v1]\nbrand = {name}\n"
    with zipfile.ZipFile(path, "w") as file:
        for place, text in files.items():
            file.writestr(place, text)
        rows = "".join(f"{place},,\n" for place in [*files, f"{info}/RECORD"])
        file.writestr(f"{info}/RECORD", rows)
    return path


@pytest.fixture
def scratch(tmp_path):
    """Runs zoo with the interpreter of an empty environment that sees this one's packages."""
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }  # fmt: skip

    def call(*args: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, "-m", "zoo.cli.main", *map(str, args)], capture_output=True, text=True,
            check=False, env=environment, timeout=120,
        )  # fmt: skip

    call.python = python
    return call


def test_install_and_remove(scratch, tmp_path):
    good = wheel(tmp_path, DECLARES)
    done = scratch("plugins", "install", "--no-deps", good)
    assert done.returncode == 0, done.stderr
    assert "a plugin is code that runs with your rights" in done.stderr
    assert f"$ {scratch.python} -m pip install --no-deps {good}" in done.stderr
    assert "Successfully installed zoo-brand-1.0" in done.stdout, "its output passes through"
    row = next(line for line in done.stdout.splitlines() if line.startswith("brand"))
    assert row.split()[1:5] == ["zoo-brand", "1.0", "ok", "scheduler"]

    again = scratch("plugins", "install", "--no-deps", good)
    assert again.returncode == 0
    assert "scheduler halving" in again.stdout, "what was there already is shown all the same"

    gone = scratch("plugins", "remove", "brand")
    assert gone.returncode == 0, gone.stderr
    assert f"$ {scratch.python} -m pip uninstall --yes zoo-brand" in gone.stderr
    assert "zoo-brand is removed" in gone.stdout
    assert scratch("plugins", "remove", "brand").returncode == 2


def test_a_folder_that_is_installed_again_is_shown_again(scratch, tmp_path):
    folder = tmp_path / "brand"
    folder.mkdir()
    (folder / "zoo_brand.py").write_text(DECLARES)
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "zoo-brand"\nversion = "1.0"\n'
        '[project.entry-points."zoo.v1"]\nbrand = "zoo_brand"\n'
        '[tool.setuptools]\npy-modules = ["zoo_brand"]\n'
    )
    options = ("--no-deps", "--no-build-isolation", "-e")
    for spec in (folder, f"{folder}[test]"):
        done = scratch("plugins", "install", *options, spec)
        assert done.returncode == 0, done.stderr
        assert "scheduler halving" in done.stdout


def test_a_plugin_that_breaks_everything_can_be_removed(scratch, tmp_path):
    hostile = wheel(tmp_path, "import os; os._exit(3)")
    done = scratch("plugins", "install", "--no-deps", hostile)
    assert done.returncode == 5
    assert "broken" in done.stdout
    assert "exit code 3" in done.stdout
    assert scratch("plugins", "remove", "zoo-brand").returncode == 0


def test_packages_that_are_no_plugins_and_installers_that_fail(scratch, tmp_path):
    none = scratch("plugins", "install", "--no-deps", wheel(tmp_path, None, name="plainthing"))
    assert none.returncode == 5
    assert "declares no plugin of zoo" in none.stderr
    assert "it is installed all the same" in none.stderr
    failed = scratch("plugins", "install", "zoo-that-nobody-wrote")
    assert failed.returncode == 5
    assert "installing zoo-that-nobody-wrote failed" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_zoos_own_are_not_removed_and_unknown_ones_have_close_names(zoo_command, make_plugin):
    make_plugin("acme", "raise RuntimeError")
    own = zoo_command("plugins", "remove", "timm")
    assert own.code == 9
    assert "is a part of zoo" in own.err
    assert "disable" not in own.err, "that is for plugins of others"
    assert zoo_command("plugins", "remove", "classifier-zoo").code == 9
    unknown = zoo_command("plugins", "remove", "zoo-acne")
    assert unknown.code == 2
    assert "close: zoo-acme" in unknown.err
    assert zoo_command("plugins", "install").code == 2


def test_uv_stands_in_where_there_is_no_pip(monkeypatch, tmp_path):
    assert _installer("install") == [sys.executable, "-m", "pip", "install"]
    assert _installer("uninstall")[-1] == "--yes"
    monkeypatch.setitem(sys.modules, "pip", None)  # as where it is not installed
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PluginError, match="neither pip nor uv"):
        _installer("install")
    uv = tmp_path / "uv"
    uv.write_text("#!/bin/sh\n")
    uv.chmod(0o755)
    for verb in ("install", "uninstall"):
        assert _installer(verb) == [str(uv), "pip", verb, "--python", sys.executable]


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("zoo-acme", "zoo-acme"),
        ("Zoo_Acme==1.2", "zoo-acme"),
        ("zoo.acme[extra]>=1", "zoo-acme"),
        ("dist/zoo_acme-1.2-py3-none-any.whl", "zoo-acme"),
        ("-e", "-e"),
        ("", ""),
        ("/", ""),
    ],
)
def test_the_package_of_a_requirement(spec, name):
    assert normalised(spec) == name
