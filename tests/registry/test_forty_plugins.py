"""Forty plugins at once, a dozen of them hostile: every command works, each is named with cause.

In child processes as a user starts them, few of them for a machine with two cores; all the other
commands in this process, which has read no plugin.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from zoo.cli.main import COMMANDS
from zoo.registry import Registry

HEAD = "from zoo.plugin import Component, Param, hookimpl\n\n@hookimpl\ndef zoo_components():\n"
PART = "    yield Component(kind={kind!r}, name={name!r}, target='zoo_torch.schedules:step')\n"

HOSTILE = {
    "raises": ("raise RuntimeError('not today')", "broken", "RuntimeError: not today"),
    "exits": ("import sys; sys.exit(3)", "broken", "SystemExit: 3"),
    "ends": ("import os; os._exit(9)", "broken", "ended the process: exit code 9"),
    "endless": (
        "import itertools\n" + HEAD + "    for i in itertools.count():\n"
        "        yield Component(kind='loss', name=f'l{i}', target='a:b')\n",
        "broken",
        "declares more than 20,000 components",
    ),
    "wrongtypes": (HEAD + "    return [1, 'resnet', None]\n", "broken", "int 1, not a Component"),
    "wrongfield": (
        HEAD + "    yield Component(kind='loss', name='l', target='a:b', summary=5)\n",
        "broken",
        "summary is int 5, not a string",
    ),
    "hookraises": (HEAD + "    raise KeyError('no')\n    yield\n", "broken", "KeyError: 'no'"),
    "heavy": (
        "import torch\n" + HEAD + PART.format(kind="scheduler", name="heavyweight"),
        "ok",
        "imports numpy, torch to declare its components",
    ),
    "oddkind": (
        HEAD + PART.format(kind="sampler", name="x"),
        "ok",
        "unknown kind 'sampler' were skipped",
    ),
    "future": ("raise RuntimeError('imported')", "incompatible", "speaks v2, this zoo speaks v1"),
    "builtinclash": (
        HEAD + PART.format(kind="scheduler", name="sgdr"),
        "ok",
        "scheduler sgdr alone mean zoo's",
    ),
    "twin1": (HEAD + PART.format(kind="scheduler", name="twin"), "ok", "'twin' is offered by 2"),
    "twin2": (HEAD + PART.format(kind="scheduler", name="twin"), "ok", "twin2/twin (zoo-twin2"),
    "list": (HEAD + PART.format(kind="command", name="list"), "ok", "call it as zoo list/list"),
}


@pytest.fixture
def forty(make_plugin):
    """Forty installed plugins: those of HOSTILE, and good ones with three components each."""
    for name, (code, _, _) in HOSTILE.items():
        make_plugin(name, code, group="zoo.v2" if name == "future" else "zoo.v1")
    for number in range(40 - len(HOSTILE)):
        parts = "".join(
            PART.format(kind=kind, name=f"part{number}-{kind}")
            for kind in ("scheduler", "model", "command")
        )
        make_plugin(f"good{number}", HEAD + parts)


def child(*args: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a process of its own, which says last what it has imported."""
    code = (
        "import sys\nfrom zoo.cli.main import main\ncode = main(sys.argv[1:])\n"
        "told = [n for n in sys.modules if n == 'torch' or n[:4] + n[-7:] == 'zoo__plugin']\n"
        "print('IMPORTED', code, told)"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, timeout=120,
    )  # fmt: skip


def test_every_command_works_and_each_hostile_one_is_named(forty, zoo_command):
    unread = json.loads(zoo_command("plugins", "list", "--json").out)
    assert sum(record["status"] == "unread" for record in unread) == 39
    assert "not read yet" in zoo_command("--help").out

    first = child("list", "schedulers")  # reads all of them
    assert first.stdout.splitlines()[-1] == "IMPORTED 0 []"
    assert "part0-scheduler" in first.stdout
    assert "Traceback" not in first.stderr
    helped = child("--help")
    assert helped.stdout.splitlines()[-1] == "IMPORTED 0 []"
    assert "Commands of plugins:" in helped.stdout
    for row in ("part0-command", "list/list"):
        assert row in helped.stdout

    for name in COMMANDS:
        outcome = zoo_command(name, "--help")
        assert (outcome.code, outcome.err) == (0, ""), name
    for args in (
        ["list"], ["list", "models", "*lenet*"], ["show", "scheduler", "twin1/twin"],
        ["explain", "SGDR-10-2", "--epochs", "3"], ["explain", "part0-scheduler", "--epochs", "3"],
        ["plugins", "list"], ["plugins", "show", "heavy"], ["cache", "list"],
        ["plugins", "disable", "exits"], ["plugins", "enable", "exits"],
    ):  # fmt: skip
        outcome = zoo_command(*args)
        assert (outcome.code, "Traceback" in outcome.err) == (0, False), (args, outcome.err)

    doctor = zoo_command("doctor", "--json")
    assert doctor.code == 5
    problems = json.loads(doctor.out)["problems"]
    for name, (_, status, cause) in HOSTILE.items():
        told = [line for line in problems if name in line and cause in line]
        assert told, (name, problems)
        assert status != "broken" or "is broken" in told[0]
    assert not [line for line in problems if line.startswith("good")]

    records = {record["namespace"]: record for record in
               json.loads(zoo_command("plugins", "list", "--json").out)}  # fmt: skip
    for name, (_, status, _) in HOSTILE.items():
        assert records[name]["status"] == status
    assert records["good1"]["provides"] == {
        "model": ["part1-model"], "scheduler": ["part1-scheduler"], "command": ["part1-command"]
    }  # fmt: skip
    assert not [name for name in sys.modules if _is_theirs(name)]


def _is_theirs(module: str) -> bool:
    return module.startswith("zoo_") and module.endswith("_plugin")


def test_names_are_found_among_the_ruins(forty, zoo_command):
    registry = Registry.installed()
    assert registry.find("scheduler", "sgdr").id == "torch/sgdr"
    assert registry.find("scheduler", "builtinclash/sgdr").plugin.distribution == "zoo-builtinclash"
    ambiguous = zoo_command("explain", "twin")
    assert ambiguous.code == 2
    assert "twin1/twin (zoo-twin1 1.0), twin2/twin (zoo-twin2 1.0)" in ambiguous.err
    unknown = zoo_command("explain", "zigzag")
    assert "plugins that did not load and may have it" in unknown.err
    assert "zoo doctor" in unknown.err
