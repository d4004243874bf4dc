"""``zoo explain SCHED --epochs N``: a schedule in words and as a drawing, before any training."""

from __future__ import annotations

import click

from zoo.cli.console import apart, can_show, echo, print_json, rewrap, width
from zoo.cli.values import FiniteRange
from zoo.registry import Choice, Registry, build, parse_choice
from zoo.registry.specs import format_value

__all__ = ["explain"]

_EIGHTHS = " ▏▎▍▌▋▊▉█"


@click.command("explain")
@click.argument("sched")
@click.option("--epochs", default=30, show_default=True, type=click.IntRange(1, 100_000))
@click.option("--lr", default=0.01, show_default=True, type=FiniteRange(0, min_open=True))
@click.option("--warmup", default=0.0, show_default=True, type=FiniteRange(0),
              help="Epochs of rising rate in front.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain(sched: str, epochs: int, lr: float, warmup: float, as_json: bool) -> None:
    """Say what a schedule string means and draw the learning rate of each epoch.

    A schedule that reacts to the metric is drawn for a metric that never gets better.
    """
    from zoo.protocols import ReactiveSchedule

    choice = parse_choice(Registry.installed(), "scheduler", sched)
    rates = []
    with apart(as_json):
        schedule = build(choice, epochs=float(epochs), lr=lr)
        reactive = isinstance(schedule, ReactiveSchedule)
        for epoch in range(epochs):
            ramp = min(1.0, epoch / warmup) if warmup else 1.0
            rates.append(lr * float(schedule(float(epoch))) * ramp)
            if isinstance(schedule, ReactiveSchedule) and epoch + 1 > warmup:
                schedule.observe(0.0)
    if as_json:
        print_json({"spec": choice.spec, "epochs": list(range(1, epochs + 1)), "lr": rates})
        return
    _explain(choice, reactive)
    _draw(rates)


def _explain(choice: Choice, reactive: bool) -> None:
    component = choice.entry.component
    click.secho(choice.spec, bold=True)
    echo(rewrap(component.summary))
    for param in component.params:
        value = format_value(choice.arguments[param.name])
        echo(f"  {param.name:12} {value:>10}  {param.summary}")
    if reactive:
        echo("  drawn for a metric that never gets better")
    echo()


def _draw(rates: list[float]) -> None:
    """Prints a bar for each epoch; a long run is drawn at even distances."""
    most = max(max(rates), 1e-30)
    room = max(10, min(width(), 100) - 24)
    shown = range(len(rates))
    if len(rates) > 60:
        shown = range(0, len(rates), -(-len(rates) // 60))
    fine = can_show(_EIGHTHS)
    echo(f"{'epoch':>6}  {'lr at start':>12}")
    for index in shown:
        eighths = round(8 * room * (rates[index] / most))
        bar = "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip() if fine else "#" * (eighths // 8)
        echo(f"{index + 1:>6}  {rates[index]:>12.4g}  {bar}")
