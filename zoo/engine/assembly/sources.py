"""Where a run's data, network and features come from: made for it alone, or once for several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from zoo.engine.assembly.network import MadeOnce, MakeNetwork, make_network
from zoo.engine.assembly.reading import ReadOnce, ReadSource, read_source
from zoo.engine.features.spare import Spare
from zoo.network.digests import LastDigest
from zoo.runs.provenance import code_digest

__all__ = ["Sources"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where what a run is made of comes from.

    Args:
        read: Reads its data.
        network: Makes its network.
        code: Digests a package's code.
        spare: What the run before it left; None for a run alone.
    """

    read: ReadSource = read_source
    network: MakeNetwork = make_network
    code: Callable[[str], str | None] = code_digest
    spare: Spare | None = None

    @classmethod
    def once(cls) -> Sources:
        """Returns sources for the runs of an experiment: what several ask for is made once."""
        return cls(
            read=ReadOnce(), network=MadeOnce(), code=cache(code_digest), spare=Spare(LastDigest())
        )
