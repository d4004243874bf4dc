"""A group of commands that are imported when they are called."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import click

from zoo.errors import printable

__all__ = ["LazyGroup", "MoreCommands"]


class MoreCommands(Protocol):
    """Commands of others that a group offers below its own."""

    heading: str
    """What stands above them in the help."""

    def rows(self) -> Sequence[tuple[str, str]]:
        """Returns what the help shows: names as they are typed, and a line about each."""
        ...

    def find(self, name: str) -> click.Command | None:
        """Returns the command of that name, imported; None if there is none."""
        ...

    def told(self, name: str, error: Exception) -> Exception:
        """Returns what to raise for what a command raised."""
        ...


class LazyGroup(click.Group):
    """Knows its commands' names and help as data, and imports one when it is called.

    Args:
        lazy: For each name, ``package.module:attribute`` and one line of help.
        more: Commands of others, which never stand for one of ``lazy``.
    """

    def __init__(
        self,
        *args: Any,
        lazy: Mapping[str, tuple[str, str]],
        more: MoreCommands | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy
        self._more = more

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names in the order of the table, then those of others."""
        return [*self._lazy, *(name for name, _ in self._others())]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Imports a command."""
        if name not in self._lazy:
            return self._more.find(name) if self._more else None
        module, _, attribute = self._lazy[name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the names and their help, importing none."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._lazy.items()])
        if self._more is not None and (rows := self._more.rows()):
            with formatter.section(self._more.heading):
                formatter.write_dl([(printable(name), printable(text)) for name, text in rows])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command that is called; for an unknown one, names the closest."""
        name = args[0] if args else ""
        if not name or name in self._lazy or name.startswith("-"):
            return super().resolve_command(ctx, args)
        if self._more is not None and (command := self._more.find(name)) is not None:
            return name, command, args[1:]
        import difflib

        close = difflib.get_close_matches(name, self.list_commands(ctx), n=1, cutoff=0.5)
        meant = (
            f"Did you mean {printable(close[0])!r}?"
            if close
            else f"There are {', '.join(map(printable, self.list_commands(ctx)))}."
        )
        raise click.UsageError(f"there is no command {printable(name)!r}. {meant}", ctx)

    def invoke(self, ctx: click.Context) -> Any:
        """Calls the command. What one of others raises ends as a message, as their exits do."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if (name := self._foreign(ctx)) is None or self._more is None:
                raise
            raise self._more.told(name, error) from error
        except SystemExit as error:
            if self._foreign(ctx) is None:
                raise
            if isinstance(error.code, str):
                click.echo(printable(error.code), err=True)
            raise click.exceptions.Exit(
                error.code if isinstance(error.code, int) else int(error.code is not None)
            ) from None

    def _foreign(self, ctx: click.Context) -> str | None:
        """Returns the name of the command that was called, if it is not one of the table's."""
        name = ctx.invoked_subcommand
        return None if name is None or name in self._lazy else name

    def _others(self) -> Sequence[tuple[str, str]]:
        return self._more.rows() if self._more else ()
