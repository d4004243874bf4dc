"""What a comparison of runs is, as data: standings, verdicts, differences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from zoo.errors import CheckFailed, UsageError, printable

if TYPE_CHECKING:
    from zoo.evaluation.comparison.differences import Difference
    from zoo.evaluation.examined import Examined
    from zoo.evaluation.report.facts import RunFacts

__all__ = ["Comparison", "Standing", "Value", "Verdict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A metric of one run, with its 95 % interval; NaN where it is not defined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Standing:
    """One run of a comparison.

    Args:
        label: What it is called: its folder's name, or as much of its path as tells it apart.
        facts: What its folder says.
        examined: What it says about the images.
        values: Each metric by label.
        not_paired: Why it cannot be compared with the first run image by image; None if it can.
    """

    label: str
    facts: RunFacts
    examined: Examined
    values: Mapping[str, Value]
    not_paired: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The first run against another one, by one metric.

    Args:
        metric: Label of the metric.
        first: Label of the first run.
        other: Label of the other run.
        difference: The first one's value less the other's; NaN if not paired.
        low: Lower end of its 95 % interval (paired bootstrap, percentile).
        high: Upper end.
        p_value: Two-sided, of no difference; NaN if not paired or not defined.
        corrected: The same corrected by Holm for all runs that the first one is compared with.
        method: How it was tested; empty if it was not.
        first_only: Images that only the first one has right; None for other metrics than accuracy.
        other_only: Likewise.
        resamples: On how many both values were defined: the interval, and the p-value of a
            bootstrap, come from these; 0 if not paired.
        outcome: ``better`` (the first run is), ``worse``, ``noise`` or ``untested``.
        why: Why it was not tested. With a p-value: that was as small as it can be, or nearly, and
            more resamples might have brought it below ``alpha``.
    """

    metric: str
    first: str
    other: str
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p_value: float = math.nan
    corrected: float = math.nan
    method: str = ""
    first_only: int | None = None
    other_only: int | None = None
    resamples: int = 0
    outcome: str = "untested"
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """What comparing runs says.

    Args:
        runs: In the order in which they were named; the first is compared with each other one.
        verdicts: For each other run, one a metric.
        greater_is_better: The direction of each metric, by label.
        alpha: Below this corrected p-value a difference is no noise.
        split: Which split was looked at.
        differences: What the runs were made with, where it differs.
        notes: What the user should know.
        data: As ``--data``; None for what each run was trained on.
        asked: The metrics as ``--metric`` has them; None for the usual one.
    """

    runs: tuple[Standing, ...]
    verdicts: tuple[Verdict, ...]
    greater_is_better: Mapping[str, bool]
    alpha: float
    split: str
    differences: tuple[Difference, ...]
    notes: tuple[str, ...] = ()
    data: str | None = None
    asked: str | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """Labels of the metrics, in order."""
        return tuple(self.greater_is_better)

    def against(self, other: Standing) -> tuple[Verdict, ...]:
        """Returns the verdicts of the first run against another one, a metric each."""
        return tuple(verdict for verdict in self.verdicts if verdict.other == other.label)

    def as_dict(self) -> dict[str, object]:
        """Returns the comparison as plain data; a number that is not defined is None."""
        from zoo.evaluation.comparison.words import sentence

        return {
            "split": self.split, "alpha": self.alpha, "notes": list(self.notes),
            "runs": [
                {
                    "label": run.label, "path": str(run.facts.folder.path),
                    "data": run.examined.data.name, "num_images": len(run.examined.predictions),
                    "not_paired": run.not_paired,
                    "metrics": {label: _plain(value) for label, value in run.values.items()},
                }
                for run in self.runs
            ],
            "verdicts": [
                {**_plain(verdict), "sentence": sentence(verdict, self)}
                for verdict in self.verdicts
            ],
            "differences": [
                {"group": d.group, "key": d.key, "values": list(d.values)}
                for d in self.differences
            ],
        }  # fmt: skip

    def assert_better(self, metric: str) -> None:
        """Does nothing if the first run is better than every other one by a metric.

        Args:
            metric: Its label: one of :attr:`metrics`.

        Raises:
            CheckFailed: It is not, or it could not be tested.
            UsageError: The metric was not compared.
        """
        from zoo.evaluation.comparison.words import sentence

        if metric not in self.greater_is_better:
            raise UsageError(
                f"{printable(metric)} was not compared", found=", ".join(self.metrics),
                hint=f"--metric {printable(metric)}",
            )  # fmt: skip
        failed = [v for v in self.verdicts if v.metric == metric and v.outcome != "better"]
        if failed:
            more = f"; and {len(failed) - 2} more" if len(failed) > 2 else ""
            raise CheckFailed(
                f"{printable(failed[0].first)} is not better by {metric} than "
                + ", ".join(printable(verdict.other) for verdict in failed),
                found="; ".join(sentence(verdict, self) for verdict in failed[:2]) + more,
            )


def _plain(record: Value | Verdict) -> dict[str, object]:
    """Returns a record for JSON, which has no NaN."""
    return {key: None if value != value else value for key, value in asdict(record).items()}
