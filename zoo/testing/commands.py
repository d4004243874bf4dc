"""What is required of a command of the command line."""

from __future__ import annotations

import json
import subprocess
import sys

import click
from click.testing import CliRunner

from zoo.plugin import fold
from zoo.registry import load_target
from zoo.testing.requiring import require
from zoo.testing.subject import Subject

__all__ = ["BUILT_IN", "CHECKS"]

BUILT_IN = frozenset({
    "cache", "compare", "data", "doctor", "embed", "evaluate", "explain", "export", "heatmap",
    "kfold", "list", "lr-find", "plugins", "predict", "report", "resume", "review", "run", "runs",
    "show", "sweep", "verify-resume",
})  # fmt: skip
"""zoo's own commands, as data: the command line stands above this room. A test compares the two."""

_HEAVY = ("torch", "torchvision", "timm", "numpy", "pandas", "PIL")

_CHILD = """
import importlib, json, sys
sys.path[:] = json.loads(sys.argv[1])
before = set(sys.modules)
importlib.import_module(sys.argv[2])
print("HEAVY", json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""


def _command(subject: Subject) -> click.Command:
    target = load_target(subject.entry)
    if not isinstance(target, click.Command):
        kind = target.__name__ if isinstance(target, type) else type(target).__name__
        raise AssertionError(f"its target is a {kind}, not a click.Command")
    return target


def is_a_click_command(subject: Subject) -> None:
    """Its target is a ``click.Command``, one command or a group."""
    _command(subject)


def shows_its_help(subject: Subject) -> None:
    """``--help`` ends with 0 and says something, of commands below it as well."""
    _help(_command(subject), [subject.component.name])


def _help(command: click.Command, path: list[str]) -> None:
    words = " ".join(path)
    result = CliRunner().invoke(command, ["--help"], prog_name=f"zoo {words}")
    error = result.exception
    cause = f": {type(error).__name__}: {error}" if error and result.exit_code else ""
    require(result.exit_code == 0, f"zoo {words} --help ends with {result.exit_code}{cause}")
    require("Usage:" in result.output, f"zoo {words} --help does not say how it is used")
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path[-1])
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            require(below is not None, f"zoo {words} lists the command {name}, and has none")
            assert below is not None
            _help(below, [*path, name])


def says_what_it_does(subject: Subject) -> None:
    """It has a help text: the first paragraph under the usage of ``--help``."""
    command = _command(subject)
    text = command.help or command.short_help
    require(bool(text and text.strip()), "it has no help text: a docstring, or help=")


def shadows_no_command(subject: Subject) -> None:
    """No name or alias of it is one of zoo's own commands."""
    component = subject.component
    taken = [name for name in (component.name, *component.aliases) if fold(name) in BUILT_IN]
    require(not taken, f"zoo has a command of its own named {', '.join(taken)}")


def declares_no_params(subject: Subject) -> None:
    """Its component has neither params nor a preset: a command declares its own options."""
    component = subject.component
    given = [*(param.name for param in component.params), *component.preset]
    require(not given, f"nobody gives a command {', '.join(given)}: make them options of its own")


def imports_no_torch(subject: Subject) -> None:
    """Importing it imports neither torch nor NumPy: its ``--help`` comes at once."""
    module = subject.component.target.partition(":")[0]
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, json.dumps(sys.path), module],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith("HEAVY ")]
    last = (done.stderr.strip().splitlines() or ["no output"])[-1]
    require(bool(lines), f"importing {module} in a process of its own fails: {last}")
    heavy = sorted(set(json.loads(lines[-1].partition(" ")[2])) & set(_HEAVY))
    require(not heavy, f"importing {module} imports {', '.join(heavy)}: do that in the function")


CHECKS = (
    is_a_click_command,
    shows_its_help,
    says_what_it_does,
    shadows_no_command,
    declares_no_params,
    imports_no_torch,
)
