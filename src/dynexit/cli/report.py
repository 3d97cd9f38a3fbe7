"""`dynexit report`: records into the tables and figures of a paper."""

from pathlib import Path
from typing import Annotated

import typer

from dynexit.cli.options import check_folder
from dynexit.cli.printing import note, notes, write


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN.jsonl...", help="Files written by `dynexit bench`.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder to write; an older report is replaced.")
    ],
    roofline: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Output of `dynexit roofline --json`; may repeat."),
    ] = None,
) -> None:
    """Write report.md, report.html (self-contained) and figures/ from benchmark records."""
    check_folder(out, "--out")
    from dynexit.bench.report.writing import write_report

    written = write_report(runs, out, roofline or [])
    for name in ("report.md", "report.html"):
        write(f"{written.folder / name}\n")
    notes.print(f"{written.records} records, {written.figures} figures")
    if written.failed:
        left_out = f"{written.failed} records of failures left out:"
        note(left_out, "yellow", "the report says why.")
    if written.unpaired:
        notes.print(f"{written.unpaired} records without vanilla left out", style="yellow")
