"""The ``zoo`` command: its list of commands, and how an error ends."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

from zoo.cli.lazy import LazyGroup
from zoo.cli.patience import wait_patiently
from zoo.cli.plugin_commands import PluginCommands
from zoo.cli.plugin_paths import TAKES, notes_in_one_line, plugins_blamed, plugins_named
from zoo.cli.signals import Stopped, signals_stop
from zoo.errors import as_zoo_error
from zoo.garbage import collected_rarely
from zoo.leaving import leave

__all__ = ["COMMANDS", "cli", "command", "main"]

COMMANDS = {
    "run": ("zoo.cli.run:run", "Train a classifier: freeze, then fine-tune."),
    "resume": ("zoo.cli.resume:resume", "Go on with an interrupted run, to the bit."),
    "verify-resume": (
        "zoo.cli.verify_resume:verify_resume",
        "Kill a short run of yours at random, resume it, compare the bits.",
    ),
    "kfold": ("zoo.cli.experiments:kfold", "Cross-validation: a run for each part of the data."),
    "sweep": ("zoo.cli.experiments:sweep", "A run for each combination of options, ranked."),
    "compare": ("zoo.cli.compare:compare", "Say whether one run is better than others, or noise."),
    "runs": ("zoo.cli.runs:runs", "List, filter and sort runs; remove old checkpoints."),
    "evaluate": ("zoo.cli.evaluate:evaluate", "Measure a run on a split, with intervals."),
    "predict": ("zoo.cli.predict:predict", "Say what is on images: files, folders, tables."),
    "report": ("zoo.cli.report:report", "Write a page about a run, plots and a model card."),
    "heatmap": ("zoo.cli.heatmap:heatmap", "Draw which parts of images speak for a class."),
    "embed": ("zoo.cli.embed:embed", "Write what a network makes of images; plot them."),
    "review": ("zoo.cli.review:review", "List images whose label may be wrong."),
    "export": ("zoo.cli.export:export", "Write a run for other programs: ONNX, torch.export."),
    "list": ("zoo.cli.list:list_", "List components: models, losses, schedulers..."),
    "show": ("zoo.cli.show:show", "Show one component and its parameters."),
    "lr-find": ("zoo.cli.lr_find:lr_find", "Find a learning rate before training."),
    "explain": ("zoo.cli.explain:explain", "Draw a learning-rate schedule before training."),
    "data": ("zoo.cli.data:data", "Know the data: check, measure, show, import, export."),
    "cache": ("zoo.cli.cache:cache", "Show and clear what is kept: features, decoded images."),
    "plugins": ("zoo.cli.plugins:plugins", "Write, install, check and switch plugins."),
    "doctor": ("zoo.cli.doctor:doctor", "Check plugins, names and the machine."),
}


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version

        click.echo(f"zoo {version('classifier-zoo')}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    more=PluginCommands(COMMANDS),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Without arguments, zoo run trains on the data set that zoo brings along.",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("--plugin", multiple=True, metavar="PATH", help=TAKES)
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_version,
              help="Show the version.")  # fmt: skip
def cli(debug: bool, plugin: tuple[str, ...]) -> None:
    """Train image classifiers from named components."""


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code. Nothing but an error in zoo itself is 1."""
    given = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in given
    given = [arg for arg in given if arg != "--debug"]  # wherever it stands
    stdout = sys.stdout
    wait_patiently()
    try:
        with (
            signals_stop(),
            plugins_named(given) as rest,
            notes_in_one_line(),
            plugins_blamed(),
        ):
            outcome = cli.main(args=rest, prog_name="zoo", standalone_mode=False)
        return outcome if isinstance(outcome, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        cause = error.__cause__ if isinstance(error, click.Abort) else error
        click.echo("\n".join(["stopped", *getattr(cause, "__notes__", ())]), err=True)
        return cause.exit_code if isinstance(cause, Stopped) else 130
    except SystemExit:
        if sys.stdout is not stdout:  # click's answer to a reader that left: zoo list models | head
            return 0
        raise
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _report(error)


def _report(error: Exception) -> int:
    """Prints an error in a few lines and returns its exit code."""
    told = as_zoo_error(error)
    click.echo(f"zoo: {told}", err=True)
    return told.exit_code


def command() -> NoReturn:
    """Is the command ``zoo``."""
    with collected_rarely():  # up to the end: what is about to go needs no search
        raise SystemExit(leave(main()))


if __name__ == "__main__":
    command()
