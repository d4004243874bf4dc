"""``zoo verify-resume``: kills a run of the user's own options at random and compares."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, cast

import click

from zoo.cli.run import Grouped, run_flags, table_of
from zoo.plugin import Value

if TYPE_CHECKING:
    from zoo.evaluation.resume_proof import Proof, Trial

__all__ = ["verify_resume"]

_DIFFERENT = 4


class _Fresh:
    """A fresh Python process that runs or resumes a run: what a user's own command does."""

    def __init__(self, options: Mapping[str, object], errors: IO[bytes]) -> None:
        self._errors = errors
        self._process = subprocess.Popen(
            [sys.executable, "-m", "zoo.cli.victim", json.dumps(options)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, bufsize=0,
        )  # fmt: skip
        self._killed = False
        self.marks = cast("BinaryIO", self._process.stdout)

    def kill(self) -> None:
        """SIGKILL; TerminateProcess on Windows."""
        self._killed = True
        self._process.kill()

    def wait(self) -> int:
        """Returns the exit code, negative if it was killed, on Windows too."""
        code = self._process.wait()
        return -9 if self._killed and sys.platform == "win32" and code == 1 else code

    def errors(self) -> str:
        """Returns what it wrote to stderr."""
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace")
        self._errors.close()
        return text


def _verify_resume(
    config_file: str | None, settings: tuple[str, ...], kills: int, as_json: bool, **flags: Value
) -> None:
    """Kill a run of your own configuration at random instants, resume it, and compare.

    The configuration is cut down to an epoch or two on a few batches. It runs once uninterrupted,
    then again and again with a kill at a drawn instant: in start-up, a step, validation, a save,
    between the phases, at the end. Every tensor of the final checkpoint, the optimizer's state,
    the best weights and the table must come out the same, to the bit. --seed also draws the
    instants. Takes all flags of zoo run. Exits with 4 if anything differs.
    """
    from zoo.api import prepare
    from zoo.cli.console import apart
    from zoo.evaluation.resume_proof import prove, shortened

    with apart(as_json):
        config = shortened(prepare(table_of(config_file, settings, flags)).config)
    with tempfile.TemporaryDirectory(prefix="zoo-verify-", ignore_cleanup_errors=True) as folder:
        runs = Path(folder) / "runs"
        options = {**config.as_mapping(), "runs": str(runs), "resume": "never"}

        def launch(name: str) -> _Fresh:
            errors = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # the process closes it
            return _Fresh({**options, "name": name}, errors)

        proof = prove(
            launch, runs, kills=kills, seed=config.seed,
            told=(lambda trial: None) if as_json else _show_trial,
        )  # fmt: skip
    _show(proof, as_json=as_json)
    if not proof.holds:
        raise click.exceptions.Exit(_DIFFERENT)


def _show_trial(trial: Trial) -> None:
    """Prints a line when a run is over: a proof takes a minute."""
    from zoo.cli.console import echo

    stages = ", ".join(hit for _, hit in trial.kills) or "none"
    echo(f"{trial.name}: killed in {stages}; resumed to the end; {trial.verdict}")


def _show(proof: Proof, *, as_json: bool) -> None:
    from zoo.cli.console import echo, print_json, print_table
    from zoo.evaluation.stages import Stage

    if as_json:
        print_json({**proof.as_dict(), "holds": proof.holds})
        return
    echo()
    rows = []
    for stage in Stage:
        visits, seconds = proof.stages.get(stage.label, (0, 0.0))
        rows.append((stage.label, proof.hit.get(stage.label, 0), visits, f"{seconds:.4f}"))
    print_table(("stage", "kills", "visits in a run", "median seconds"), rows)
    bad = [trial for trial in proof.trials if trial.outcome != "same"]
    verdict = bad[0].verdict if bad else "bit-identical"
    echo(
        f"\n{proof.num_kills} kills over {len(proof.trials)} runs in {proof.seconds:.0f} s, "
        f"{len(bad)} not the same: {verdict}"
    )


verify_resume = Grouped(
    "verify-resume",
    callback=_verify_resume,
    help=_verify_resume.__doc__,
    params=[
        click.Option(
            ["--kills"], type=click.IntRange(1), default=10, show_default=True,
            help="How many times to kill it.",
        ),
        click.Option(["--json", "as_json"], is_flag=True, help="Print the result as JSON."),
        *run_flags(),
    ],
)  # fmt: skip
