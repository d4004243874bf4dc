"""What runs were made with, where it is not the same: options, components, versions, data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zoo.registry.specs import format_value

if TYPE_CHECKING:
    from zoo.evaluation.report.facts import RunFacts

__all__ = ["Difference", "differences_of"]

_NOT_OF_THE_RUN = {"name", "runs", "resume", "callback", "ram", "keep_decoded", "save_every",
                   "save_steps"}  # fmt: skip
_MACHINE = ("python", "system", "processor_count", "cpu_capability", "threads", "cuda_devices")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Something that is not the same in all runs.

    Args:
        group: ``option``, ``component``, ``package``, ``data`` or ``machine``.
        key: What differs.
        values: As text, one for each run; empty where a run does not have it.
    """

    group: str
    key: str
    values: tuple[str, ...]


def differences_of(runs: Sequence[RunFacts]) -> list[Difference]:
    """Returns what differs between runs, options first, each in the order of the first run."""
    options = [
        {key: value for key, value in facts.config.as_mapping().items()
         if key not in _NOT_OF_THE_RUN}
        for facts in runs
    ]  # fmt: skip
    found = [*_differing("option", options)]
    environments = [facts.environment for facts in runs]
    found += _differing("component", [_components(environment) for environment in environments])
    found += _differing("data", [_data(environment) for environment in environments])
    found += _differing(
        "package", [_table(environment, "packages") for environment in environments]
    )
    machines = [{key: env[key] for key in _MACHINE if key in env} for env in environments]
    return [*found, *_differing("machine", machines)]


def _differing(group: str, tables: Sequence[Mapping[str, object]]) -> list[Difference]:
    """Returns the keys whose values are not equal in all tables."""
    keys = dict.fromkeys(key for table in tables for key in table)
    found = []
    for key in keys:
        values = tuple(_text(table.get(key)) for table in tables)
        if len(set(values)) > 1:
            found.append(Difference(group=group, key=key, values=values))
    return found


def _components(environment: Mapping[str, Any]) -> dict[str, str]:
    """Returns each component with its arguments and the package it comes from."""
    return {
        f"component {part}": f"{component.get('spec', '')} ({component.get('package', '')})"
        for part, component in _table(environment, "components").items()
        if isinstance(component, Mapping)
    } | {
        f"code of {name}": str(digest)[:12]
        for name, digest in _table(environment, "code").items()
    }  # fmt: skip


def _data(environment: Mapping[str, Any]) -> dict[str, object]:
    """Returns what the data is, and what becomes of its images."""
    data = _table(environment, "data")
    table: dict[str, object] = {key: data[key] for key in ("name",) if key in data}
    if "fingerprint" in data:
        table["fingerprint"] = str(data["fingerprint"])[:12]
    if isinstance(classes := data.get("classes"), list):
        table["classes"] = f"{len(classes):,}"
    table |= {f"input {key}": value for key, value in _table(environment, "preprocessing").items()}
    if "weights" in environment:
        table["weights from"] = environment["weights"]
    return table


def _table(record: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = record.get(key)
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return format_value(value) if isinstance(value, bool | int | float) else str(value)
