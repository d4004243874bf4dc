"""Recipes: named configurations, under all that the user says himself.

recipe < config.toml < --set < flags

A recipe is data. It says values of options, which are checked as a user's are, and so names
components that installed plugins declare and nothing else.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zoo.config.run_config import RunConfig, option_of
from zoo.errors import PluginError, UsageError, ZooError, printable
from zoo.plugin import Value
from zoo.registry import Choice, Registry, build, load_target, parse_choice
from zoo.registry.specs import format_value

__all__ = ["RESERVED", "Recipe", "as_flags", "read_recipe", "with_recipe"]

RESERVED = ("recipe", "runs", "name", "resume")
"""Options that say where a run goes and not what it is: no recipe sets them."""

_NEEDS = "needs"
_RECORD = re.compile(r"(?P<spec>.+) \([^\s()]+ [^\s()]+\)")
_EXCLUSIVE = (("phases", ("epochs", "freeze_epochs")),)
"""Options that contradict each other, so that one of the user's removes a recipe's other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a recipe stands for.

    Args:
        choice: The component, with the arguments that the user gave it.
        settings: Options of a run and their values, checked.
        needs: Options that only the user can say, such as the teacher of a distillation.
    """

    choice: Choice
    settings: Mapping[str, Value]
    needs: tuple[str, ...] = ()

    @property
    def record(self) -> str:
        """What a run writes down: the full spec, and the package and version it came from."""
        return f"{self.choice.spec} ({self.choice.entry.origin})"


def with_recipe(
    table: Mapping[str, object], registry: Registry | None = None, *, complete: bool = False
) -> dict[str, object]:
    """Returns options on top of those of the recipe that they name, if they name one.

    What a run has written down as its recipe is left as it is: its configuration says every
    option already.

    Args:
        table: Options and their values, unchecked.
        registry: The components to choose from; by default all that are installed.
        complete: Whether the table says every option, so that a recipe would change nothing.

    Raises:
        UsageError: There is no such recipe, or it needs an option that the table does not have.
        PluginError: It says what no run can take.
    """
    given = {str(key).replace("-", "_"): value for key, value in table.items()}
    if not isinstance(given.get("recipe"), str | int | float):  # none, or what RunConfig refuses
        return dict(table)
    named = str(given["recipe"])
    if (record := _RECORD.fullmatch(named)) is not None:
        if "seed" in given and "model" in given:  # the whole configuration of a run
            return dict(table)
        raise UsageError(
            f"{printable(named)!r} is how a run writes its recipe down",
            hint=f"--recipe {shlex.quote(printable(record['spec']))}",
        )
    recipe = read_recipe(parse_choice(registry or Registry.installed(), "recipe", named))
    if complete or (recipe.settings and all(given.get(key) is not None for key in recipe.settings)):
        whole = "a RunConfig says every option" if complete else "all that it sets is set already"
        raise UsageError(
            f"the recipe {printable(named)!r} would change nothing: {whole}",
            hint="give the recipe and only those options that are to differ from it",
        )
    missing = [key for key in recipe.needs if given.get(key) is None]
    if missing:
        raise UsageError.together([
            UsageError(
                f"the recipe {recipe.choice.entry.component.name} needs {_flag(key)}",
                found=option_of(key).summary,
                hint=f"zoo run --recipe {shlex.quote(printable(named))} {_flag(key)} ...",
            )
            for key in missing
        ])  # fmt: skip
    settings = dict(recipe.settings)
    for one, others in _EXCLUSIVE:
        if any(given.get(other) is not None for other in others):
            settings.pop(one, None)
        if given.get(one) is not None:
            settings = {key: value for key, value in settings.items() if key not in others}
    return {**settings, **given, "recipe": recipe.record}


def read_recipe(choice: Choice) -> Recipe:
    """Returns what a recipe stands for.

    Args:
        choice: A component of the kind ``recipe``. Its target is a mapping, of which arguments
            override the options of their names, or a function that returns one. The key ``needs``
            of the mapping names options that only the user can say; None leaves an option open.

    Raises:
        PluginError: It is neither, or it says what no run can take.
    """
    target = load_target(choice.entry)
    if isinstance(target, Mapping):
        given = {key: value for key, value in choice.arguments.items() if value is not None}
        returned: object = {**target, **choice.entry.component.preset, **given}
    else:
        returned = build(choice)
    if not isinstance(returned, Mapping):
        raise _broken(choice, f"is a {type(returned).__name__}, and must be a mapping of options")
    table = {str(key): value for key, value in returned.items()}
    needs = table.pop(_NEEDS, ())
    if not isinstance(needs, tuple | list) or not all(isinstance(key, str) for key in needs):
        raise _broken(choice, "has needs that are not a list of options")
    said = {key: value for key, value in table.items() if value is not None}
    if reserved := [key for key in (*said, *needs) if key.replace("-", "_") in RESERVED]:
        raise _broken(choice, f"sets {', '.join(reserved)}, which is for the user to say")
    try:
        checked = RunConfig.from_mapping(said, source=choice.entry.id)
        names = tuple(option_of(key.replace("-", "_")).name for key in needs)
    except ZooError as error:
        raise _broken(choice, "says what no run can take", found=str(error)) from error
    keys = [key.replace("-", "_") for key in said]
    return Recipe(choice=choice, settings={key: getattr(checked, key) for key in keys}, needs=names)


def as_flags(settings: Mapping[str, Value]) -> list[str]:
    """Returns the words of the command line that say the same.

    >>> as_flags({"lr": 0.001, "mean": (0.5, 0.5, 0.5), "restore_best": False})
    ['--lr', '0.001', '--mean', '0.5,0.5,0.5', '--no-restore-best']
    """
    words: list[str] = []
    for key, value in settings.items():
        if isinstance(value, bool):
            words.append(_flag(key) if value else f"--no-{_flag(key)[2:]}")
        else:
            text = format_value(value)
            words += [_flag(key), text[1:-1] if isinstance(value, tuple) else text]
    return words


def _flag(key: str) -> str:
    return f"--{key.replace('_', '-')}"


def _broken(choice: Choice, what: str, *, found: str = "") -> PluginError:
    entry = choice.entry
    lines: Sequence[str] = [line.strip() for line in found.splitlines()]
    return PluginError(
        f"the recipe {entry.id} {what}",
        found=printable(" ".join(lines))[:300],
        hint=f"report it to the authors of {entry.origin}, or choose another: zoo list recipes",
    )
