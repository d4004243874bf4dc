"""``--plugin PATH`` before or after any command, as ``--debug`` may stand."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from zoo.errors import UsageError, ZooError, as_zoo_error
from zoo.registry.settings import PATH_VARIABLE

__all__ = ["TAKES", "notes_in_one_line", "plugins_blamed", "plugins_named", "split_paths"]

TAKES = "Use the plugin in this file or folder, too. May be repeated, and stand anywhere."

_OPTION = "--plugin"


@contextmanager
def plugins_named(args: Sequence[str]) -> Iterator[list[str]]:
    """Yields the arguments without ``--plugin PATH``, and names the paths to all that runs inside.

    They are named by an environment variable, so child processes have the same plugins.

    Raises:
        UsageError: ``--plugin`` stands last.
    """
    rest, paths = split_paths(args)
    before = os.environ.get(PATH_VARIABLE)
    if paths:
        named = [str(Path(path).expanduser().absolute()) for path in paths]
        os.environ[PATH_VARIABLE] = os.pathsep.join([*filter(None, [before]), *named])
    try:
        yield rest
    finally:
        if paths and before is None:
            os.environ.pop(PATH_VARIABLE, None)
        elif before is not None:
            os.environ[PATH_VARIABLE] = before


def split_paths(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the arguments without ``--plugin PATH``, and the paths.

    ``zoo list`` has a ``--plugin NAME`` of its own: there only what looks like a path is one.

    >>> split_paths(["run", "--plugin", "acme.py", "--seed", "1"])
    (['run', '--seed', '1'], ['acme.py'])
    >>> split_paths(["list", "models", "--plugin", "timm", "--plugin=./acme.py"])
    (['list', 'models', '--plugin', 'timm'], ['./acme.py'])
    """
    rest: list[str] = []
    paths: list[str] = []
    given = iter(args)
    for arg in given:
        if arg == "--":
            return [*rest, arg, *given], paths
        name, equals, value = arg.partition("=")
        if name != _OPTION:
            rest.append(arg)
            continue
        following = value if equals else next(given, None)
        command = next((word for word in rest if not word.startswith("-")), "")
        if command == "list" and following is not None and not _is_path(following):
            rest += [arg] if equals else [arg, following]
        elif not following:
            raise UsageError(f"{_OPTION} needs a path", hint="zoo COMMAND --plugin acme.py")
        else:
            paths.append(following)
    return rest, paths


def _is_path(text: str) -> bool:
    return text.endswith(".py") or any(mark in text for mark in ("/", "\\")) or text in (".", "..")


@contextmanager
def plugins_blamed() -> Iterator[None]:
    """Has an error that would be told as a bug in zoo name the plugin whose code raised it.

    Raises:
        PluginError: Instead of such an error.
    """
    try:
        yield
    except (click.ClickException, click.Abort, click.exceptions.Exit):
        raise
    except Exception as error:
        if type(as_zoo_error(error)) is ZooError and not isinstance(error, ZooError):
            from zoo.registry.loading import of_a_plugin

            if (told := of_a_plugin(error)) is not None:
                raise told from error
        raise


@contextmanager
def notes_in_one_line() -> Iterator[None]:
    """Prints each of the registry's warnings as one line, once; others as they were."""
    from zoo.registry.notices import RegistryWarning

    before, told = warnings.showwarning, set()

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if not issubclass(category, RegistryWarning):
            before(message, category, *place, **more)
        elif str(message) not in told:
            told.add(str(message))
            click.echo(f"zoo: {message}", err=True)

    warnings.simplefilter("always", RegistryWarning)
    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before
