"""What can be set about how a step is computed, and which of several settings is the fastest."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from zoo.config.run_config import option_of
from zoo.engine.step.graphs import GRAPH_MODES

if TYPE_CHECKING:
    from zoo.config import RunConfig

__all__ = ["Settings", "decided_by_trial", "fastest", "thread_counts"]

GAIN = 0.05
"""Share of a step's time that another setting must save to be taken."""

_Name = TypeVar("_Name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a step is computed. Each field is the option of that name; what is learned is the same.

    Args:
        threads: Compute threads.
        workers: Decoding threads.
        channels_last: Whether the channels of a pixel lie side by side in memory.
        fast_convolutions: Whether zoo's own code computes some convolutions.
        compile: Whether torch.compile compiles the network.
        compile_mode: How; ``default`` where it does not.
    """

    threads: int
    workers: int
    channels_last: bool
    fast_convolutions: bool
    compile: bool
    compile_mode: str = "default"

    @property
    def has_graphs(self) -> bool:
        """Whether a GPU replays the steps as CUDA graphs."""
        return self.compile and self.compile_mode in GRAPH_MODES

    def described(self, before: Settings) -> str:
        """Returns what is other than ``before``; all that can be, when nothing is."""
        old, new = asdict(before), asdict(self)
        changed = {name: value for name, value in new.items() if value != old[name]} or new
        return ", ".join(f"{name} {_shown(value)}" for name, value in changed.items())

    @classmethod
    def from_mapping(cls, values: object) -> Settings | None:
        """Returns what a table says, None when it is not one of exactly these settings.

        Tables of earlier versions have no mode of torch.compile: it was the default.
        """
        if not isinstance(values, dict):
            return None
        values = {"compile_mode": "default", **values}
        if set(values) != set(cls.__slots__):
            return None
        counts = [values["threads"], values["workers"]]
        switches = [values[key] for key in ("channels_last", "fast_convolutions", "compile")]
        if not all(type(count) is int and 0 <= count <= 4096 for count in counts):
            return None
        if counts[0] < 1 or not all(type(switch) is bool for switch in switches):
            return None
        modes = option_of("compile_mode").choices if values["compile"] else ("default",)
        return cls(**values) if values["compile_mode"] in modes else None


def _shown(value: Any) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def decided_by_trial(config: RunConfig) -> set[str]:
    """Returns the options that ``--tune`` decides: not threads and workers that the user names.

    Args:
        config: What the user asked for.
    """
    if not config.tune:
        return set()
    return {
        "tune", "channels_last", "fast_convolutions",
        *(key for key in ("threads", "workers") if getattr(config, key) is None),
        *(("compile", "compile_mode") if config.compile else ()),
    }  # fmt: skip


def fastest(
    rounds: Mapping[_Name, Sequence[float]], *, default: _Name, gain: float = GAIN
) -> _Name:
    """Returns the setting that is faster than the default beyond doubt, else the default.

    Rounds are compared with the default's of the same number, which was measured next to them, so
    a machine that slows down in between favours nobody. A setting wins with a median saving of at
    least ``gain``, when it is faster in all rounds, or in all but one of five or more.

    Args:
        rounds: Seconds of a step by setting and round, of the default too.
        default: What is kept in doubt.
        gain: Share of the default's time.

    Example:
        >>> fastest({1: [0.9, 0.8, 0.9], 2: [1.0, 1.0, 1.0]}, default=2)
        1
        >>> fastest({1: [0.9, 0.8, 1.1], 2: [1.0, 1.0, 1.0]}, default=2)
        2
    """
    best, best_ratio = default, 1.0
    base = rounds[default]
    for name, seconds in rounds.items():
        ratios = [mine / its for mine, its in zip(seconds, base, strict=True)]
        lost = sum(ratio >= 1 for ratio in ratios)
        ratio = statistics.median(ratios)
        if (
            name != default
            and ratio <= 1 - gain
            and lost <= len(ratios) // 5
            and ratio < best_ratio
        ):
            best, best_ratio = name, ratio
    return best


def thread_counts(cores: int) -> list[int]:
    """Returns the numbers of threads to try: all of a few, doubling numbers of many.

    >>> thread_counts(2), thread_counts(4), thread_counts(24)
    ([1, 2], [1, 2, 3, 4], [1, 2, 4, 8, 16, 24])
    """
    if cores <= 4:
        return list(range(1, cores + 1))
    doubling = [2**power for power in range(cores.bit_length())]
    return sorted({*(count for count in doubling if count < cores), cores})
