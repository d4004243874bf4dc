"""``zoo lr-find``: tries rising learning rates on the user's own run, draws the loss, suggests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.cli.run import Grouped, run_flags, table_of
from zoo.cli.values import FiniteRange
from zoo.plugin import Value

if TYPE_CHECKING:
    from zoo.engine.assembly.job import Job
    from zoo.engine.assembly.phases import Phase
    from zoo.engine.lr_rules import Curve

__all__ = ["lr_find"]

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_ROWS = 40


def _lr_find(
    config_file: str | None, settings: tuple[str, ...], steps: int, phase: str | None,
    min_lr: float, max_lr: float, plot: str | None, as_json: bool, **flags: Value,
) -> None:  # fmt: skip
    """Find a learning rate: train while it rises, draw the loss, and suggest one.

    Takes all flags of zoo run, and makes the steps that the run would make: same data,
    augmentation, loss and optimizer (but no teacher). Nothing is kept. A rate is what --lr would
    say; the rates of the backbone keep their ratio to it.
    """
    from zoo.api import prepare
    from zoo.cli.console import apart
    from zoo.cli.progress import RunDisplay
    from zoo.disk import refuse_folder
    from zoo.engine.device import Device
    from zoo.engine.events import Observer
    from zoo.engine.lr_finder import find_rates, phase_named
    from zoo.engine.lr_rules import rising_rates, suggestions
    from zoo.errors import UsageError

    if min_lr >= max_lr:
        raise UsageError(f"--min-lr {min_lr:g} is not below --max-lr {max_lr:g}")
    if plot is not None:
        refuse_folder(Path(plot))
    display = None if as_json else RunDisplay()
    observer = display or Observer()
    try:
        with apart(as_json):
            job = prepare(table_of(config_file, settings, flags), observer=observer)
            chosen = phase_named(job, phase)
            curve = find_rates(
                job, chosen, rates=rising_rates(steps, lowest=min_lr, highest=max_lr),
                device=Device.open(job.config), progress=observer.preparing,
            )  # fmt: skip
    finally:
        if display is not None:
            display.close()
    found, too_short = {}, None
    try:
        found = suggestions(curve)
    except UsageError as error:
        too_short = error
    if not as_json:
        _show(job, chosen, curve, found)
    elif too_short is None:
        _print_json(chosen, curve, found)
    if plot is not None and curve.rates:
        _plot(curve, found, Path(plot))
    if too_short is not None:
        raise too_short


def _print_json(phase: Phase, curve: Curve, found: Mapping[str, float]) -> None:
    from zoo.cli.console import print_json
    from zoo.engine.lr_rules import recommended

    print_json({
        "phase": phase.name,
        "suggestions": dict(found),
        "recommended": recommended(found),
        "diverged": curve.diverged,
        "lr": list(curve.rates),
        "loss": list(curve.losses),
        "smoothed_loss": list(curve.smoothed),
    })  # fmt: skip


def _show(job: Job, phase: Phase, curve: Curve, found: Mapping[str, float]) -> None:
    """Prints the curve and what it suggests."""
    from zoo.cli.console import echo, print_table
    from zoo.engine.lr_rules import RULES, recommended
    from zoo.errors import printable

    made, planned = len(curve.rates), curve.planned
    ended = f"{made} of {planned} steps, then the loss diverged" if curve.diverged else f"{made}"
    click.secho(
        f"{printable(job.config.model)} on {printable(job.data.name)}, phase {phase.name}: "
        f"{ended}{'' if curve.diverged else ' steps'}",
        bold=True,
    )
    for line in curve_lines(curve, found):
        echo(line)
    if found:
        echo()
        print_table(
            ("rule", "lr", "what it takes"),
            [(rule, f"{rate:.2g}", RULES[rule]) for rule, rate in found.items()],
        )
        echo(f"\nzoo run --lr {recommended(found):.2g} takes the middle one")


def curve_lines(curve: Curve, found: Mapping[str, float]) -> list[str]:
    """Returns a drawing of the smoothed loss: a line a rate, at even distances, marked.

    Bars end at one and a half times the first loss: behind it is the wall.
    """
    from zoo.cli.console import can_show, width

    if not curve.rates:
        return []
    marks: dict[int, list[str]] = {}
    for rule, rate in found.items():
        nearest = min(range(len(curve.rates)), key=lambda i: abs(curve.rates[i] - rate))
        marks.setdefault(nearest, []).append(rule)
    stride = -(-len(curve.rates) // _ROWS)
    shown = sorted({*range(0, len(curve.rates), stride), *marks})
    most = max(1.5 * curve.smoothed[0], 1e-30)
    room = max(10, min(width(), 100) - 48)
    fine = can_show(_EIGHTHS)
    lines = [f"{'lr':>9}  {'loss':>8}"]
    for index in shown:
        share = min(max(curve.smoothed[index], 0.0) / most, 1.0)
        eighths = round(8 * room * share)
        bar = "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip() if fine else "#" * (eighths // 8)
        mark = "  <- " + ", ".join(marks[index]) if index in marks else ""
        lines.append(f"{curve.rates[index]:>9.2g}  {curve.smoothed[index]:>8.4f}  {bar}{mark}")
    return lines


def _plot(curve: Curve, found: Mapping[str, float], path: Path) -> None:
    """Draws the curve into a PNG, whole or not at all."""
    from matplotlib.figure import Figure

    from zoo.disk import atomic_file, machine_errors, make_folder

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(curve.rates, curve.losses, color="0.8", linewidth=1, label="loss")
    axes.plot(curve.rates, curve.smoothed, color="C0", label="smoothed")
    for number, (rule, rate) in enumerate(found.items(), start=1):
        axes.axvline(rate, color=f"C{number}", linestyle="--", label=f"{rule} {rate:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss")
    axes.set_ylim(top=1.5 * curve.smoothed[0], bottom=0)
    axes.legend()
    with machine_errors("writing", path):
        make_folder(path.parent)
        atomic_file(path, lambda file: figure.savefig(file, format="png", dpi=150))


lr_find = Grouped(
    "lr-find",
    callback=_lr_find,
    help=_lr_find.__doc__,
    params=[
        click.Option(
            ["--steps"], type=click.IntRange(20, 1000), default=100, show_default=True,
            help="Training steps, one a learning rate.",
        ),
        click.Option(
            ["--phase"], metavar="NAME", help="Phase of the plan to try it in; the first one."
        ),
        click.Option(
            ["--min-lr"], type=FiniteRange(0, min_open=True), default=1e-7, show_default=True,
            help="First rate.",
        ),
        click.Option(
            ["--max-lr"], type=FiniteRange(0, min_open=True), default=10.0, show_default=True,
            help="Last rate.",
        ),
        click.Option(["--plot"], metavar="FILE.png", help="Draw the curve into a PNG."),
        click.Option(["--json", "as_json"], is_flag=True, help="Print the curve as JSON."),
        *run_flags(),
    ],
)  # fmt: skip
