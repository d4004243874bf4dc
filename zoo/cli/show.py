"""``zoo show KIND NAME``."""

from __future__ import annotations

import shlex
from typing import Any

import click

from zoo.cli.console import apart, echo, print_json, print_table, rewrap
from zoo.cli.list import kind_named
from zoo.errors import printable
from zoo.plugin import Component
from zoo.registry import Choice, Registry, parse_choice
from zoo.registry.specs import format_value

__all__ = ["show"]


@click.command("show")
@click.argument("kind")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(kind: str, name: str, as_json: bool) -> None:
    """Show one component: parameters, defaults, where it comes from; for models also weights."""
    choice = parse_choice(Registry.installed(), kind_named(kind), name)
    facts = _facts(choice)
    if choice.entry.component.kind == "model":
        with apart(as_json):
            facts |= _model_facts(choice)
    if choice.entry.component.kind == "recipe":
        facts |= _recipe_facts(choice, name)
    if as_json:
        print_json(facts)
        return
    component = choice.entry.component
    click.secho(choice.entry.id, bold=True)
    if component.summary:
        echo(rewrap(component.summary))
    for label in ("package", "aliases", "tags", "parameters", "input", "replaced by"):
        value = facts.get(label.replace(" ", "_"))
        if value and not isinstance(value, dict):
            echo(f"  {label:13} {', '.join(value) if isinstance(value, list | tuple) else value}")
    if component.params:
        echo()
        print_table(
            ("argument", "now", "type", "range", "what"),
            [
                (p.name, format_value(choice.arguments[p.name]), p.type, p.range, p.summary)
                for p in component.params
            ],
        )
    for form in _forms(component):
        echo(f"\n  {form}" if form.startswith("short") else f"  {form}")
    if facts.get("settings"):
        _print_recipe(facts)
    if facts.get("weights"):
        echo()
        print_table(
            ("weights", "here", "pixels", "interpolation", "mean", "std", "licence"),
            [
                (w["name"], "yes" if w["here"] else "no", w["image_size"], w["interpolation"],
                 _rounded(w["mean"]), _rounded(w["std"]), w["license"])
                for w in facts["weights"]
            ],
        )  # fmt: skip


def _facts(choice: Choice) -> dict[str, Any]:
    component = choice.entry.component
    return {
        "id": choice.entry.id, "kind": component.kind, "summary": component.summary,
        "package": choice.entry.origin, "aliases": list(component.aliases),
        "tags": list(component.tags), "shorthand": list(component.shorthand),
        "replaced_by": component.replaced_by, "target": component.target,
        "arguments": [
            {"name": p.name, "type": p.type, "default": p.default, "now": choice.arguments[p.name],
             "range": p.range, "summary": p.summary}
            for p in component.params
        ],
    }  # fmt: skip


def _model_facts(choice: Choice) -> dict[str, Any]:
    """Returns size and weights of a model. Builds it without memory where torch can."""
    from zoo.engine.assembly.describe import describe_model

    described = describe_model(choice)
    preprocessing = described.preprocessing
    return {
        "parameters": f"{described.num_parameters:,}",
        "input": f"{preprocessing.image_size} pixels, mean {_rounded(preprocessing.mean)}, "
                 f"std {_rounded(preprocessing.std)}, {preprocessing.interpolation}",
        "weights": [
            {"name": w.name, "here": here, "license": w.license, "num_classes": w.num_classes,
             "image_size": w.preprocessing.image_size, "mean": w.preprocessing.mean,
             "std": w.preprocessing.std, "interpolation": w.preprocessing.interpolation,
             "crop_fraction": w.preprocessing.crop_fraction}
            for w, here in described.weights
        ],
    }  # fmt: skip


def _recipe_facts(choice: Choice, name: str) -> dict[str, Any]:
    """Returns the options that a recipe stands for, and the two commands that say them."""
    from zoo.config.recipes import as_flags, read_recipe
    from zoo.config.run_config import option_of

    recipe = read_recipe(choice)
    needed = [word for key in recipe.needs for word in (f"--{key.replace('_', '-')}", "...")]
    given = shlex.join(["zoo", "run", *as_flags(recipe.settings)])
    return {
        "settings": [
            {"option": key, "value": value, "summary": option_of(key).summary}
            for key, value in recipe.settings.items()
        ],
        "needs": [{"option": key, "summary": option_of(key).summary} for key in recipe.needs],
        "command": " ".join([shlex.join(["zoo", "run", "--recipe", name]), *needed]),
        "same_as": " ".join([given, *needed]),
    }


def _print_recipe(facts: dict[str, Any]) -> None:
    echo()
    print_table(
        ("option", "value", "what"),
        [
            *((s["option"], format_value(s["value"]), s["summary"]) for s in facts["settings"]),
            *((n["option"], "(yours)", n["summary"]) for n in facts["needs"]),
        ],
    )
    echo(f"\n  {printable(facts['command'])}\n  is the same as\n  {printable(facts['same_as'])}")


def _forms(component: Component) -> list[str]:
    if not component.params:
        return []
    forms = []
    if component.shorthand:
        defaults = {p.name: p.default for p in component.params}
        short = "-".join(format_value(defaults[name]).strip("[]") for name in component.shorthand)
        forms.append(f"short form  {component.name}-{short}")
    given = ",".join(f"{p.name}={format_value(p.default)}" for p in component.params[:3])
    return [
        *forms,
        f"{'' if forms else 'short '}long form   {component.name}:{given}".replace("short ", ""),
    ]


def _rounded(values: Any) -> str:
    numbers = [f"{value:.3g}" for value in values]
    return numbers[0] if len(set(numbers)) == 1 else " ".join(numbers)
