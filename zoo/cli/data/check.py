"""``zoo data check``: what is wrong or odd about a data set, and files moved out of the way."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.cli.console import apart, echo, print_json, print_table, reader_may_leave
from zoo.cli.data.output import bar, counted, print_pairs
from zoo.errors import UsageError, count_of, printable

if TYPE_CHECKING:
    from zoo.data.inspection.findings import Finding, Report, Spread
    from zoo.data.inspection.quarantine import Move

__all__ = ["check"]

_STRICT = 3  # the exit code of data


@click.command("check")
@click.argument("source", metavar="[PATH]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--strict", is_flag=True, help="Exit with 3 if there is an error or a warning.")
@click.option("--near", type=click.IntRange(0, 10), default=6, show_default=True, metavar="BITS",
              help="In how many of 64 bits images that look alike may differ.")  # fmt: skip
@click.option("--fix", type=click.Choice(["quarantine"]),
              help="Move unreadable files and the doubles of files out of the data.")  # fmt: skip
@click.option("--fix-leaks", is_flag=True,
              help="With --fix: also files of training that are in test or val.")  # fmt: skip
@click.option("--to", metavar="DIR", help="The quarantine; else PATH-quarantine beside the data.")
@click.option("--dry-run", is_flag=True, help="With --fix or --restore: say it and move nothing.")
@click.option("--restore", metavar="DIR", help="Put everything in a quarantine back.")
def check(
    source: str | None,
    as_json: bool,
    strict: bool,
    near: int,
    fix: str | None,
    fix_leaks: bool,
    to: str | None,
    dry_run: bool,
    restore: str | None,
) -> int:
    """Find what is broken, odd, doubled or leaking in a data set. Every image is decoded.

    PATH is a folder of images, anything else that zoo run --data takes, or a data set's name.
    Nothing is changed without --fix; a fix is a move that --restore takes back.
    """
    if restore is not None:
        return _restore(source, Path(restore), as_json=as_json, dry_run=dry_run)
    if source is None:
        raise UsageError("which data?", hint="zoo data check PATH")
    if fix is None and (fix_leaks or to or dry_run):
        raise UsageError(
            "--fix-leaks, --to and --dry-run have no effect without a fix", hint="--fix quarantine"
        )
    root = _image_folder(source)
    if fix and root is None:
        raise UsageError(
            f"{printable(source)} is not a folder of images",
            hint="--fix moves files of image folders only",
        )
    with apart(as_json):
        report = _report(source, root, near)
    moves: list[Move] = []
    if fix and root:
        from zoo.data.inspection.quarantine import plan_moves

        moves = plan_moves(root, report, leaks=fix_leaks)
    if not as_json:
        with reader_may_leave():
            _print(report, source, fixable=root is not None)
    place = _fix(root, moves, to=to, dry_run=dry_run, as_json=as_json) if fix and root else None
    if as_json:
        done = {"quarantine": str(place) if place else None, "moves": [asdict(m) for m in moves]}
        print_json(report.as_mapping() | (done if fix else {}))
    return _STRICT if strict and (report.count("error") or report.count("warning")) else 0


def _image_folder(source: str) -> Path | None:
    """Returns the path where the source is a folder of images; a name wins over a folder."""
    from zoo.data.inspection.check import is_image_folder
    from zoo.registry import Registry

    is_name = Registry.installed().get("dataset", source.partition(":")[0]) is not None
    return None if is_name or not is_image_folder(Path(source)) else Path(source)


def _report(source: str, root: Path | None, near: int) -> Report:
    """Returns what is found, file by file in a folder, else in whatever ``--data`` would read."""
    from zoo.data.inspection.check import check_data, check_folder

    with bar("checking") as progress:
        if root is not None:
            return check_folder(root, near=near, progress=progress)
        from zoo.api import read_data

        data = read_data(source, on_bad="skip")
        return check_data(data, near=near, progress=progress)


def _print(report: Report, source: str, *, fixable: bool) -> None:
    """Prints a report on ``source``: the table of findings, then the totals, then what to try."""
    from zoo.data.inspection.findings import KINDS

    rows = []
    for kind, facts in KINDS.items():
        if found := report.of(kind):
            num_images = sum(len(finding.files) for finding in found)
            rows.append((kind, facts.severity, f"{len(found):,}", f"{num_images:,}",
                         f"{facts.meaning}: {_examples(found)}"))  # fmt: skip
    if rows:
        print_table(("finding", "severity", "count", "images", "what, and examples"), rows)
    else:
        echo("nothing found")
    echo()
    print_pairs(_totals(report))
    for note in report.notes:
        echo(f"note       {printable(note)}")
    advice = dict.fromkeys(fact.advice for kind, fact in KINDS.items() if report.of(kind))
    for line in advice:
        # Only files can be moved, and classes be balanced where an image has one.
        possible = fixable if "--fix" in line else not report.multi_label
        if line and possible:
            echo(f"try        {line.replace('PATH', shlex.quote(printable(source)))}")


def _examples(found: list[Finding]) -> str:
    """Returns the first two findings in a few words."""
    shown = []
    for finding in found[:2]:
        names = finding.files or finding.classes
        text = " = ".join(printable(name) for name in names[:2])
        if len(names) > 2:
            text += f" and {len(names) - 2} more"
        own = len(found) == 1 or len(names) < 2
        shown.append(f"{text} ({printable(finding.detail)})" if finding.detail and own else text)
    return "; ".join(text.strip() for text in shown)


def _totals(report: Report) -> dict[str, str]:
    """Returns a line for each fact about the whole data set."""
    unreadable = report.num_images - report.num_readable
    num_classes = len({label for classes in report.counts.values() for label in classes})
    megabytes = f", {report.num_bytes / 1e6:,.1f} MB" if report.num_bytes else ""
    pairs = {
        "images": f"{report.num_images:,} of {num_classes:,} classes{megabytes}"
        + (f", {unreadable:,} cannot be read" if unreadable else ""),
        "splits": "none yet" if list(report.splits) == [""] else counted(report.splits),
        "formats": counted(report.formats),
        "modes": counted(report.modes),
    }
    if sizes := report.sizes:
        pairs["size"] = (
            f"width {_spread(sizes.width)}, height {_spread(sizes.height)}, "
            f"aspect {_spread(sizes.aspect)}"
        )
    if balance := report.imbalance:
        pairs["balance"] = (
            f"largest class {balance.ratio:.3g} times the smallest; {balance.num_classes:,} "
            f"classes, as if {balance.effective_classes:.1f} of equal size"
        )
    words = (("error", "errors"), ("warning", "warnings"), ("note", "notes"))
    counts = [f"{report.count(one):,} {many}" for one, many in words]  # type: ignore[arg-type]  # a Severity
    pairs["found"] = ", ".join(counts)
    return pairs


def _spread(spread: Spread) -> str:
    return f"{spread.smallest:,g} to {spread.largest:,g} (median {spread.median:,g})"


def _fix(
    root: Path, moves: list[Move], *, to: str | None, dry_run: bool, as_json: bool
) -> Path | None:
    """Moves files, telling each move before it is made, and returns the quarantine."""
    from zoo.data.inspection.quarantine import default_quarantine, quarantine

    def tell(move: Move) -> None:
        if not as_json:
            with reader_may_leave():
                echo(f"move       {printable(move.source)} to {printable(place)}: "
                     f"{printable(move.why)}")  # fmt: skip

    place = Path(to) if to else default_quarantine(root)
    if not as_json:
        echo()
    if not moves or dry_run:
        for move in moves:
            tell(move)
        if not as_json:
            echo(f"moved      nothing{' (--dry-run)' if moves else ', there is nothing to move'}")
        return None
    num_moved = quarantine(root, moves, to=place, tell=tell)
    if not as_json:
        echo(f"moved      {count_of(num_moved, 'file')} to {printable(place)}")
        echo(f"back       zoo data check {printable(root)} --restore {printable(place)}")
    return place


def _restore(source: str | None, place: Path, *, as_json: bool, dry_run: bool) -> int:
    """Puts the files of a quarantine back."""
    from zoo.data.inspection.quarantine import origin_of, restore

    root = Path(source) if source is not None else origin_of(place)

    def tell(name: str) -> None:
        if not as_json:
            with reader_may_leave():
                echo(f"move       {printable(name)} back to {printable(root)}")

    num_back, problems = restore(root, place, tell=tell, dry_run=dry_run)
    if as_json:
        print_json({"restored": num_back, "problems": problems})
    else:
        for problem in problems:
            echo(f"stays      {problem}")
        echo(f"restored   {count_of(num_back, 'file')}" + " (--dry-run: none was moved)" * dry_run)
    return _STRICT if problems else 0
