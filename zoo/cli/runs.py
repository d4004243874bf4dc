"""``zoo runs``: list, filter and sort runs; remove their old checkpoints."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from zoo.cli.console import echo, print_json, print_table, reader_may_leave
from zoo.errors import RefusedError, UsageError, count_of, printable

if TYPE_CHECKING:
    from zoo.runs.listing import RunEntry
    from zoo.runs.pruning import Plan

__all__ = ["runs"]

_RUNS = click.option(
    "--runs", "folder", default="runs", show_default=True, metavar="DIR",
    help="The folder of run folders.",
)  # fmt: skip


class _Listing(click.Group):
    """A group that lists when no command is named: ``zoo runs '*lenet*' --sort val_loss``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Puts the name of the default command in front where there is none."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group("runs", cls=_Listing)
def runs() -> None:
    """List runs and tidy them up.

    zoo runs [PATTERN] [OPTIONS] is short for zoo runs list.
    """


@runs.command("list")
@click.argument("pattern", required=False)
@_RUNS
@click.option(
    "--where", "where", multiple=True, metavar="KEY=VALUE",
    help="Only runs of which this holds: an option of zoo run or a metric, with = != > >= < <=. "
    "Several must all hold.",
)  # fmt: skip
@click.option("--sort", "key", metavar="KEY", help="Best first by this; the newest run by default.")
@click.option("--reverse", is_flag=True, help="The other way round.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(
    pattern: str | None, folder: str, where: tuple[str, ...], key: str | None, reverse: bool,
    limit: int | None, as_json: bool,
) -> None:  # fmt: skip
    """List runs whose names match PATTERN, a glob ('*lenet*') or a part of a name.

    Metrics are those of each run's best epoch (val_accuracy, val_loss) and of its end
    (test_accuracy, seconds, size). A run is done, cut short (zoo resume goes on with it), running,
    not begun (stopped before it had a configuration), broken or newer than this zoo.

    zoo runs --where 'val_accuracy>0.9' --where model=lenet --sort test_accuracy --limit 5
    """
    from zoo.api.runs import list_runs, option_names
    from zoo.runs.selecting import chosen, ranked

    every, known = list_runs(folder), option_names()
    matching = chosen(every, pattern=pattern, where=where, known=known)
    found = ranked(matching, key, reverse=reverse, known=known)
    shown = found[:limit]
    if as_json:
        print_json([entry.as_dict() for entry in shown])
        return
    if shown:
        _print(shown, key=key)
    of = "" if len(shown) == len(every) else f" of {len(every):,}"
    size = _size(sum(entry.num_bytes for entry in shown))
    word = "run" if len(every) == 1 else "runs"
    click.echo(f"{len(shown):,}{of} {word} in {printable(folder)}, {size}", err=True)
    if pattern in runs.commands and not found:
        click.echo(f"the command of that name comes first: zoo runs {pattern} ...", err=True)


def _print(entries: list[RunEntry], *, key: str | None) -> None:
    """Prints the table, with a column for what it is sorted by where there is none."""
    name = (key or "when").lower().replace("-", "_")
    monitors = {entry.monitor for entry in entries if entry.monitor}
    monitor = monitors.pop() if len(monitors) == 1 else None
    columns = ("name", "model", "data", "when", "status", "seconds", "size", "test_accuracy",
               "best_score", "epochs_done", monitor)  # fmt: skip
    extra = [] if name in columns else [name]
    rows = []
    for entry in entries:
        best = "" if entry.best_score is None else _metric(entry.monitor, entry.best_score)
        if best and monitor is None:
            best += f" {entry.monitor}"
        done, planned = entry.epochs, entry.planned
        test = entry.test_accuracy
        rows.append((
            entry.name, entry.model, entry.data,
            f"{done}" if planned in (None, done) else f"{done}/{planned}",
            best, "" if test is None else _metric("accuracy", test),
            *(_value(column, entry.values.get(column)) for column in extra),
            _when(entry.when), _duration(entry.seconds), _size(entry.num_bytes),
            f"{entry.status}: {entry.why}" if entry.why else entry.status,
        ))  # fmt: skip
    header = ("name", "model", "data", "epochs", f"best {monitor}" if monitor else "best", "test",
              *extra, "when", "time", "size", "status")  # fmt: skip
    print_table(header, rows)


@runs.command("prune")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_RUNS
@click.option("--keep-best", is_flag=True, help="Keep the best weights and the record alone.")
@click.option(
    "--keep-last", type=click.IntRange(1), metavar="N",
    help="Keep the newest N checkpoints of each run as well.",
)  # fmt: skip
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Of a run that was cut short remove the newest checkpoint too: it then starts anew.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be removed and remove nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def prune(
    names: tuple[str, ...], folder: str, keep_best: bool, keep_last: int | None, everything: bool,
    dry_run: bool, yes: bool, as_json: bool,
) -> None:  # fmt: skip
    """Remove old checkpoints of the runs NAME..., or of all runs. best/ and the record stay.

    NAME is a run's name, a glob or the path of a run folder. A run that was cut short keeps its
    newest checkpoint, from which zoo resume goes on. Whatever zoo did not write, or no longer
    verifies, stays and is named. A run that is being written is never touched; if it was named,
    nothing is removed and the exit code is 8.
    """
    if not keep_best and keep_last is None:
        raise UsageError(
            "nothing says what to keep", found="best/ and the record always stay",
            hint="zoo runs prune --keep-best, or --keep-last 1",
        )  # fmt: skip
    from zoo.api.runs import prune_runs

    keep = keep_last or 0
    plans = prune_runs(names, folder=folder, keep_last=keep, everything=everything, dry_run=True)
    if not as_json:
        with reader_may_leave():
            _show_plans(plans)
    going = [plan for plan in plans if plan.removals]
    if going and not dry_run:
        if not yes:
            _ask(going)
        paths = [str(plan.path.absolute()) for plan in going]
        done = prune_runs(paths, folder=folder, keep_last=keep, everything=everything)
        gone = dict(zip((plan.path for plan in going), done, strict=True))
        plans = [gone.get(plan.path, plan) for plan in plans]
    freed = sum(plan.num_bytes for plan in plans)
    if as_json:
        print_json({
            "dry_run": dry_run, "num_bytes": freed,
            "runs": [
                {
                    "name": plan.path.name, "path": str(plan.path), "busy": plan.busy,
                    "removed": [r.path.relative_to(plan.path).as_posix() for r in plan.removals],
                    "num_bytes": plan.num_bytes, "kept": plan.kept, "left": plan.left,
                }
                for plan in plans
            ],
        })  # fmt: skip
        return
    verb = "would be freed; nothing was removed (--dry-run)" if dry_run else "freed"
    echo(f"{freed / 1e6:,.1f} MB {verb}")


def _show_plans(plans: list[Plan]) -> None:
    """Prints what goes of each run, and what stays that a reader may not expect."""
    for plan in plans:
        name = printable(plan.path.name)
        if plan.busy:
            echo(f"{name}: it is being written; left as it is")
        if plan.removals:
            listed = ", ".join(
                printable(r.path.relative_to(plan.path).as_posix()) for r in plan.removals[:6]
            )
            more = f" and {len(plan.removals) - 6} more" if len(plan.removals) > 6 else ""
            kept = f"; keeps {', '.join(map(printable, plan.kept))}" if plan.kept else ""
            echo(f"{name}: {listed}{more} ({plan.num_bytes / 1e6:,.1f} MB){kept}")
        for line in plan.left:
            echo(f"{name}: left as it is: {printable(line)}")


def _ask(plans: list[Plan]) -> None:
    """Asks on a terminal whether to go on."""
    total = sum(plan.num_bytes for plan in plans) / 1e6
    what = f"{total:,.1f} MB of {count_of(len(plans), 'run')}"
    if not sys.stdin.isatty():
        raise RefusedError(
            f"nothing was removed: there is nobody to ask whether {what} may go",
            hint="add --yes to remove it, or --dry-run to only look",
        )
    if not click.confirm(f"remove {what}?"):
        raise click.Abort


def _metric(name: str, value: float) -> str:
    return f"{value:.1%}" if name.endswith("accuracy") else f"{value:.4f}"


def _value(key: str, value: object) -> str:
    """Returns a value of a column that a user asked for."""
    if isinstance(value, float):
        return _metric(key, value) if key.startswith(("val_", "train_", "test_")) else f"{value:g}"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def _when(seconds: float | None) -> str:
    if seconds is None:
        return ""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
    except (ValueError, OverflowError, OSError):
        return ""


def _duration(seconds: float | None) -> str:
    """Returns a duration for people.

    >>> _duration(4.2), _duration(75), _duration(7260)
    ('4 s', '1:15', '2:01:00')
    """
    if seconds is None or not 0 <= seconds < 1e9:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _size(num_bytes: float) -> str:
    """Returns a size for people, in powers of ten as disks are sold.

    >>> _size(54_321_000)
    '54.3 MB'
    """
    for unit in ("B", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.1f} {unit}" if unit != "B" else f"{num_bytes:.0f} B"
        num_bytes /= 1000
    return f"{num_bytes:,.1f} GB"
