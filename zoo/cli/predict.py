"""``zoo predict``: what trained runs say about images, as a table, a file or a picture."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Self

import click

from zoo.cli.console import apart
from zoo.cli.values import FiniteRange
from zoo.errors import UsageError, count_of, printable

if TYPE_CHECKING:
    from zoo.evaluation.predict.answers import OnBadImage, Tally
    from zoo.evaluation.predict.records import Columns, Prediction
    from zoo.evaluation.predict.session import Session
    from zoo.evaluation.predict.writers import Rows

__all__ = ["predict"]

_BAD = 3  # the exit code of data
_MANY = 256  # images from which on it is worth a line how the network is computed
_BLOCK = 1000
# Rows that are printed with widths of their own: a million need not be held for it.


@click.command("predict")
@click.argument("arguments", nargs=-1, metavar="RUN... PATHS...")
@click.option("-o", "--output", metavar="FILE",
              help="Write .csv, .json, .jsonl or .parquet instead of a table.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace files that are there.")
@click.option("--top-k", type=click.IntRange(0), default=0, metavar="K",
              help="Also the K most probable classes.")  # fmt: skip
@click.option("--probabilities", is_flag=True, help="Also the probability of every class.")
@click.option("--threshold", type=FiniteRange(0, 1),
              help="Above it an image has a label, where it can have several.  [0.5]")  # fmt: skip
@click.option("--tta", metavar="VIEWS",
              help="Average over views: flip, five-crop, ten-crop, or a transform.")  # fmt: skip
@click.option("--tta-views", type=click.IntRange(2, 1000), metavar="K",
              help="How many views, where that is a transform.  [8]")  # fmt: skip
@click.option("--engine", type=click.Choice(["auto", "torch", "folded", "onnx", "openvino"]),
              default="auto", show_default=True, help="How the network is computed.")  # fmt: skip
@click.option("--manifest", metavar="FILE", help="A table with a column of paths.")
@click.option("-0", "--null", is_flag=True, help="Names on standard input end in NUL.")
@click.option("--data", metavar="DATA", help="Predict a data set, as zoo run --data takes it.")
@click.option("--split", metavar="SPLIT", help="Which split of it, or of the run's own data.")
@click.option("--on-bad", type=click.Choice(["row", "skip", "fail"]), default="row",
              show_default=True, help="Images that cannot be read, or that the network gives NaN "
              "for: a row with the error and exit code 3 at the end, no row, or stop.")  # fmt: skip
@click.option("--grid", metavar="FILE.png", help="Draw a sample with labels; wrong ones framed.")
@click.option("--workers", type=click.IntRange(1), metavar="N",
              help="Threads that decode; one for each core.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def predict(
    arguments: tuple[str, ...],
    output: str | None,
    force: bool,
    top_k: int,
    probabilities: bool,
    threshold: float | None,
    tta: str | None,
    tta_views: int | None,
    engine: str,
    manifest: str | None,
    null: bool,
    data: str | None,
    split: str | None,
    on_bad: OnBadImage,
    grid: str | None,
    workers: int | None,
    as_json: bool,
) -> int:
    """Say what is on images. Several runs answer together, by the mean of their probabilities.

    PATHS are files, folders (with all below), patterns such as 'photos/**/*.jpg', tables with a
    column of paths (.csv, .tsv, .jsonl, .parquet), or - for names on standard input. The order is
    kept. Exits with 3 if an image has no prediction; the others are predicted all the same.
    """
    from zoo.cli.data.output import bar
    from zoo.evaluation.predict.answers import Tally
    from zoo.evaluation.predict.grid import sample_rows
    from zoo.evaluation.predict.session import Session, runs_first
    from zoo.evaluation.predict.writers import open_rows, whole_file
    from zoo.registry import Registry

    if output is not None and as_json:
        raise UsageError("--json prints and -o writes", hint="-o FILE.json")
    runs, paths = runs_first(arguments)
    _check_files(output, grid, force=force, inputs=[*paths, *([manifest] if manifest else [])])
    notes: list[str] = []
    with apart(as_json):
        session = Session.open(
            runs, paths, registry=Registry.installed(), manifest=manifest, data=data, split=split,
            stdin=lambda: _standard_input(null), top_k=top_k, probabilities=probabilities,
            threshold=threshold, tta=tta, tta_views=tta_views, engine=engine, on_bad=on_bad,
            noted=notes.append,
        )  # fmt: skip
    for note in session.notes:
        click.echo(f"note: {printable(note)}", err=True)
    tally, total = Tally(), len(session.images)
    sampled = frozenset(sample_rows(total)) if grid is not None else frozenset[int]()
    kept: dict[int, Prediction] = {}

    def write(rows: Rows) -> None:
        done = 0
        with rows, bar("predicting") as progress, closing(
            session.ask(on_bad=on_bad, num_threads=workers, progress=progress, tally=tally)
        ) as blocks:  # fmt: skip
            for block in blocks:
                kept.update((done + i, p) for i, p in enumerate(block) if done + i in sampled)
                done += len(block)
                rows.write([p for p in block if not (on_bad == "skip" and p.error)])

    if output is not None:
        path = Path(output)
        whole_file(path, lambda part: write(open_rows(part, session.columns, suffix=path.suffix)))
    else:
        rows: Rows = _PrintedJson(session.columns) if as_json else _PrintedTable(session.columns)
        with apart(as_json):
            write(rows)
    if grid is not None:
        with apart(as_json):
            _draw(Path(grid), session, kept)
    if total >= _MANY:
        for note in notes:
            click.echo(f"note: {printable(note)}", err=True)
    _tell(tally, [name for name in (output, grid) if name is not None])
    return _BAD if tally.num_bad and on_bad == "row" else 0


def _standard_input(null: bool) -> Iterator[str]:
    from zoo.evaluation.predict.inputs import names_on

    return names_on(sys.stdin.buffer, end=b"\0" if null else b"\n")


def _check_files(
    output: str | None, grid: str | None, *, force: bool, inputs: Sequence[str]
) -> None:
    """Refuses before any work what could not be written after it."""
    from zoo.evaluation.predict.writers import check_output

    if output is not None:
        check_output(Path(output), force=force)
    if grid is not None:
        check_output(Path(grid), force=force, suffixes=(".png",))
    for name in (output, grid):
        for other in inputs:
            if name is not None and Path(name).exists() and Path(other).is_file() and (
                Path(name).samefile(other)
            ):  # fmt: skip
                raise UsageError(f"{printable(name)} is read, and cannot be written as well")


class _PrintedTable:
    """Prints aligned columns, a block at a time."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._waiting: list[list[str]] = []

    def write(self, predictions: Sequence[Prediction]) -> None:
        """Prints the rows that wait when there are enough of them."""
        for prediction in predictions:
            cells = prediction.cells(self._columns)
            self._waiting.append([
                f"{cell:.4f}" if isinstance(cell, float) else "" if cell is None else cell
                for cell in cells
            ])  # fmt: skip
        if len(self._waiting) >= _BLOCK:
            self._flush()

    def _flush(self) -> None:
        """Prints what waits; a column of errors that are none is left out."""
        from zoo.cli.console import print_table

        if not self._waiting:
            return
        names, rows = self._columns.names, self._waiting
        if not any(row[-1] for row in rows):
            names, rows = names[:-1], [row[:-1] for row in rows]
        print_table([printable(name) for name in names], rows)
        self._waiting = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self._flush()


class _PrintedJson:
    """Prints one array, an object a line, on the standard output that there is now."""

    def __init__(self, columns: Columns) -> None:
        from zoo.evaluation.predict.writers import JsonRows

        self._shown, self._text = sys.stdout, io.StringIO()
        self._rows = JsonRows(self._text, columns)

    def write(self, predictions: Sequence[Prediction]) -> None:
        """Prints some objects."""
        self._rows.write(predictions)
        self._print()

    def _print(self) -> None:
        click.echo(self._text.getvalue(), file=self._shown, nl=False)
        self._text.seek(0)
        self._text.truncate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self._rows.end()
            self._print()


def _draw(path: Path, session: Session, kept: Mapping[int, Prediction]) -> None:
    """Writes the picture of a sample."""
    from zoo.evaluation.predict.grid import grid, shown_of
    from zoo.evaluation.predict.writers import whole_file

    page = grid(
        session.images, shown_of(sorted(kept), kept, session.truths), total=len(session.images)
    )
    whole_file(path, lambda part: page.save(part, format="PNG", optimize=True))


def _tell(tally: Tally, written: Sequence[str]) -> None:
    """Says how it went, on standard error: standard output has the predictions and nothing else."""
    click.echo(
        f"{count_of(tally.num_images, 'image')} in {tally.seconds:.1f} s, "
        f"{tally.images_per_second:,.0f} images/s" + (f", {tally.engine}" if tally.engine else ""),
        err=True,
    )
    if tally.num_bad:
        click.echo(
            f"{count_of(tally.num_bad, 'image')} without a prediction; "
            f"the first: {tally.first_bad}",
            err=True,
        )
    for name in written:
        click.echo(f"written    {printable(name)}", err=True)
