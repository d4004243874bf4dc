"""``zoo export``: a trained run as a file for other programs, proved to be the same."""

from __future__ import annotations

import click

__all__ = ["export"]


@click.command("export")
@click.argument("run", metavar="RUN")
@click.option("--to", metavar="SPEC", default="onnx", show_default=True,
              help="The format: zoo list exporters.")  # fmt: skip
@click.option("-o", "--out", metavar="FOLDER", help="The folder that is made.  [RUN/exports/NAME]")
@click.option("--force", is_flag=True, help="Replace an earlier export that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def export(run: str, to: str, out: str | None, force: bool, as_json: bool) -> None:
    """Write the best weights of a run in another format.

    The folder has the file and model.json: classes, preprocessing, temperature, versions, licence.
    What was written is opened again and compared with the network on validation images; if logits
    are more than 1e-4 of the largest apart, that is an error (exit code 5) and nothing is left.
    """
    from zoo.api import export as make
    from zoo.cli.console import apart, echo, print_json
    from zoo.cli.data.output import bar
    from zoo.errors import printable

    with bar("export") as shown, apart(as_json):
        made = make(
            run, to=to, output=out, force=force,
            progress=lambda what, done, total: shown(done, total),
        )  # fmt: skip
    if as_json:
        print_json(made.as_dict())
        return
    found = made.comparison
    for note in made.notes:
        echo(f"note       {printable(note)}")
    echo(f"written    {printable(made.file)}, {_size(made.num_bytes)}")
    echo(f"weights    {_size(made.network_bytes)} in the run")
    near = f"to {found.difference:.1e} of the largest" if found.difference else "to the bit"
    echo(
        f"equal      logits {near}; the same answer for {found.num_same:,} of "
        f"{found.num_images:,} {made.compared_on}"
    )
    echo(
        f"an image   {found.milliseconds:.2f} ms; {found.network_milliseconds:.2f} ms with the "
        "network (one thread, batches of up to 8)"
    )
    echo(f"beside it  {printable(made.path / 'model.json')}")


def _size(num_bytes: int) -> str:
    """Returns a size in words.

    >>> _size(12), _size(17_400_000)
    ('0.01 KiB', '16.6 MiB')
    """
    kib = num_bytes / 1024
    return f"{kib / 1024:,.1f} MiB" if kib >= 1024 else f"{kib:,.{0 if kib >= 10 else 2}f} KiB"
