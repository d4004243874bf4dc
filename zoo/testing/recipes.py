"""What is required of a recipe: options of a run, as config.toml has them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping

from zoo.config.recipes import RESERVED, read_recipe
from zoo.errors import ZooError
from zoo.registry import Choice, Registry, build, load_target, parse_choice
from zoo.registry.specs import split_joined
from zoo.testing.requiring import require
from zoo.testing.subject import NotApplicable, Subject

__all__ = ["CHECKS"]

_NAMING = {
    "model": "model", "head": "head", "loss": "loss", "optim": "optimizer", "sched": "scheduler",
    "aug": "transform", "callback": "callback",
}  # fmt: skip
"""Options that name components, and their kinds."""

_JOINED = ("aug", "callback")
_NEEDS = "needs"


def _choice(subject: Subject) -> Choice:
    defaults = {param.name: param.default for param in subject.component.params}
    return Choice(subject.entry, {**defaults, **subject.example.arguments})


def _table(subject: Subject) -> dict[str, object]:
    """Returns what it says, unchecked, without options that None leaves open."""
    choice = _choice(subject)
    target = load_target(subject.entry)
    returned = target if isinstance(target, Mapping) else build(choice)
    if not isinstance(returned, Mapping):
        raise AssertionError(f"it is a {type(returned).__name__}, not a mapping of options")
    if isinstance(target, Mapping):
        returned = {**returned, **subject.component.preset, **choice.arguments}
    return {key: value for key, value in returned.items() if value is not None}


def _options(subject: Subject) -> dict[str, object]:
    return {key: value for key, value in _table(subject).items() if key != _NEEDS}


def says_options(subject: Subject) -> None:
    """Every key is an option of a run, every value of its type and range; there is at least one."""
    try:
        recipe = read_recipe(_choice(subject))
    except ZooError as error:
        raise AssertionError(f"no run can take it: {error.found or error.what}") from error
    require(bool(recipe.settings), "it sets no option at all")


def leaves_places_to_the_user(subject: Subject) -> None:
    """It sets neither where runs go nor what they are called: runs, name, resume, recipe."""
    keys = {str(key).replace("-", "_") for key in _options(subject)}
    taken = sorted(keys & set(RESERVED))
    require(not taken, f"it sets {', '.join(taken)}, which is for the user to say")


def fits_toml(subject: Subject) -> None:
    """Its values are what a TOML file can say, and read back as they were."""
    import tomli_w

    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in _options(subject).items()}
    try:
        read = tomllib.loads(tomli_w.dumps(plain))
    except (TypeError, ValueError, AttributeError) as error:
        raise AssertionError(f"its values are not what TOML can say: {error}") from error
    differing = [key for key, value in plain.items() if read[key] != value]
    require(not differing, f"read back from TOML, other values have {differing}")


def same_every_time(subject: Subject) -> None:
    """Asked twice it says the same options and values."""
    first = dict(_table(subject))
    second = _table(subject)
    differing = sorted({k for k in first.keys() | second.keys() if first.get(k) != second.get(k)})
    require(not differing, f"asked twice it says other values for {', '.join(differing)}")


def names_what_there_is(subject: Subject) -> None:
    """Models, heads, losses, optimizers, schedules, transforms, callbacks that it names exist."""
    options = _options(subject)
    registry = Registry.installed()
    named = 0
    for key, kind in _NAMING.items():
        value = options.get(key)
        if not isinstance(value, str):
            continue
        for text in split_joined(value) if key in _JOINED else [value]:
            named += 1
            try:
                parse_choice(registry, kind, text)
            except ZooError as error:
                raise AssertionError(f"its {key} {text!r} means nothing: {error.what}") from error
    if not named:
        raise NotApplicable("it names no component")


CHECKS = (
    says_options,
    leaves_places_to_the_user,
    fits_toml,
    same_every_time,
    names_what_there_is,
)
