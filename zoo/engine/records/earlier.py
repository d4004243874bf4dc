"""Runs that are there already: which one to go on with, and how one ended."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.config import RunConfig, load_config
from zoo.engine.events import EpochRow, RunResult
from zoo.engine.tuning.settings import decided_by_trial
from zoo.errors import ZooError, printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from zoo.runs.folder import RunFolder

__all__ = ["cut_short", "other_options", "result_of"]


def cut_short(config: RunConfig, settle: Callable[[RunConfig], RunConfig]) -> Path | None:
    """Returns the run that ``--resume auto`` goes on with, None to start a new one.

    The run of the name that the configuration has; without a name the newest one that has not
    ended and has the same options. What ``--tune`` has decided stands in the run's, and is not
    compared.

    Args:
        config: What the user asked for.
        settle: Decides the open options, as a run's config.toml has them.
    """
    runs = Path(config.runs)
    if config.name is not None:
        named = runs / config.name
        return named if (named / "config.toml").is_file() else None
    apart = {"name", "runs", "resume", *decided_by_trial(config)}
    apart |= {"weights"} if config.weights == "auto" else set()

    def compared(options: RunConfig) -> dict[str, object]:
        return {key: value for key, value in options.as_mapping().items() if key not in apart}

    newest_last = sorted(runs.glob("*/config.toml"), key=lambda p: (len(p.parts[-2]), p))
    open_ones = [path for path in newest_last if not (path.parent / "summary.json").exists()]
    if not open_ones:
        return None
    wanted = compared(settle(config))
    for path in reversed(open_ones):
        with suppress(ZooError):  # another zoo's run: not this one's
            if compared(RunConfig.from_mapping(load_config(path))) == wanted:
                return path.parent
    return None


def other_options(config: RunConfig, path: Path) -> list[str]:
    """Returns a line for each option that the user asked for and the earlier run has otherwise.

    Args:
        config: What the user asked for.
        path: The earlier run, which goes on as it was begun.
    """
    began = RunConfig.from_mapping(load_config(path / "config.toml")).as_mapping()
    plain = RunConfig().as_mapping()
    return [
        f"--{key.replace('_', '-')} {printable(value)} is not taken: the run was begun with "
        f"{printable(began.get(key, 'none'))}"
        for key, value in config.as_mapping().items()
        if key not in ("name", "runs", "resume", "tune") and value != plain.get(key)
        and value != began.get(key)
    ]  # fmt: skip


def result_of(folder: RunFolder) -> RunResult | None:
    """Returns how a run ended, None if it has not."""
    if not (folder.path / "summary.json").exists():
        return None
    rows = tuple(EpochRow.from_dict(row) for row in folder.rows())
    return RunResult.from_summary(folder.read_json("summary.json"), path=folder.path, rows=rows)
