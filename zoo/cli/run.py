"""``zoo run``. Its flags are the table of RunConfig."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.config import RunConfig, load_config, parse_setting
from zoo.config.run_config import GROUPS, option_of
from zoo.errors import UsageError, printable
from zoo.plugin import Param, Value
from zoo.registry.specs import format_value, parse_value

if TYPE_CHECKING:
    from zoo.engine.events import Observer, RunResult

__all__ = ["Grouped", "run", "run_flags", "table_of", "with_display"]


class _Value(click.ParamType[Value]):
    """Reads a flag as config.toml reads its key. RunConfig checks it with all others."""

    def __init__(self, param: Param) -> None:
        self._param = param
        self.name = "|".join(map(str, param.choices)) if param.choices else param.type.split()[0]

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Value:
        if not isinstance(value, str) or self._param.type == "str":
            return value  # type: ignore[no-any-return]  # a Value by construction
        return parse_value(f"[{value}]" if self._param.type.endswith("list") else value)


class Grouped(click.Command):
    """Shows the options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes each option under the heading of its group."""
        groups: dict[str, list[tuple[str, str]]] = {name: [] for name in ("This command", *GROUPS)}
        fields = {field.name: field.metadata["group"] for field in dataclasses.fields(RunConfig)}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                groups[fields.get(param.name or "", "This command")].append(record)
        for name, records in groups.items():
            with formatter.section(name):
                formatter.write_dl(records)


def run_flags() -> list[click.Option]:
    """Returns --config, --set, and a flag for each option of a run."""
    flags = [
        click.Option(
            ["--config", "config_file"], metavar="FILE", help="A config.toml to start from."
        ),
        click.Option(
            ["--set", "settings"], metavar="KEY=VALUE", multiple=True, help="Set one option."
        ),
    ]
    for field in dataclasses.fields(RunConfig):
        param = option_of(field.name)
        flag = f"--{field.name.replace('_', '-')}"
        help_text = param.summary
        if param.default is not None:
            help_text += f"  [{format_value(param.default).strip('[]')}]"
        if param.type == "bool":
            flags.append(
                click.Option([f"{flag}/--no-{flag[2:]}", field.name], default=None, help=help_text)
            )
        else:
            flags.append(click.Option([flag, field.name], type=_Value(param), help=help_text))
    return flags


def table_of(
    config_file: str | None, settings: Sequence[str], flags: Mapping[str, Value]
) -> dict[str, object]:
    """Returns the keys and values that were given: flags win over --set, --set over --config.

    What a recipe says comes under all of them, when the run is prepared.
    """
    if config_file == "":
        raise UsageError("--config is empty", hint="leave it out for the defaults")
    table: dict[str, object] = {} if config_file is None else load_config(Path(config_file))
    RunConfig.from_mapping(table, source=printable(config_file or ""))  # errors name the file
    table |= dict(parse_setting(text) for text in settings)
    return table | {key: value for key, value in flags.items() if value is not None}


def _run(
    config_file: str | None, settings: tuple[str, ...], dry_run: bool, as_json: bool, **flags: Value
) -> None:
    """Train a classifier: the head on the frozen backbone first, then the whole network.

    Without options it trains on the data set that zoo brings along. Flags win over --set, --set
    over --config, --config over --recipe.
    """
    table = table_of(config_file, settings, flags)
    if dry_run:
        _show_plan(table, as_json=as_json)
        return
    from zoo.api import run as train

    with_display(lambda observer: train(table, observer=observer), as_json=as_json)


def _show_plan(table: dict[str, object], *, as_json: bool) -> None:
    """Prints what would be trained."""
    from zoo.api import prepare
    from zoo.cli.console import apart, echo, print_json
    from zoo.cli.progress import summary_lines

    with apart(as_json):
        job = prepare(table)
    if as_json:
        print_json({"config": job.config.as_mapping(), "components": job.choices.described()})
        return
    for line in summary_lines(job):
        echo(line)
    echo("\nnothing was trained (--dry-run)")


run = Grouped(
    "run",
    callback=_run,
    help=_run.__doc__,
    params=[
        click.Option(["--dry-run"], is_flag=True, help="Check everything and train nothing."),
        click.Option(["--json", "as_json"], is_flag=True, help="Print the result as JSON."),
        *run_flags(),
    ],
)


def with_display(train: Callable[[Observer], RunResult], *, as_json: bool) -> None:
    """Calls ``train(observer)`` with a display on the terminal and a log in the run folder."""
    from zoo.cli.console import apart, print_json
    from zoo.cli.progress import LogFile, RunDisplay
    from zoo.engine.events import Observers

    display = None if as_json else RunDisplay()
    try:
        with apart(as_json):
            result = train(Observers([LogFile(), *([display] if display else [])]))
    finally:
        if display is not None:
            display.close()
    if as_json:
        rows = [row.as_dict() for row in result.rows]
        print_json({**result.summary(), "rows": rows, "path": str(result.path)})
