"""`dynexit models`: lists the checkpoints on this machine."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from dynexit.cli.options import starting
from dynexit.cli.printing import notes, print_table
from dynexit.errors import DynexitError


def models(
    folder: Annotated[Path, typer.Argument(help="Folder to search, one level deep.")] = Path(),
) -> None:
    """List checkpoints in a folder and in the hub's cache, with sizes, formats and early exits."""
    if not folder.is_dir():
        raise DynexitError(f"{folder} is not a folder: give an existing one.")
    with starting():
        from dynexit.learning.finding import learned_folders
        from dynexit.model.inventory import inventory
    table = Table("model", "size", "layers", "weights", "exits", "learned")
    for column in table.columns[1:3]:
        column.justify = "right"
    for entry in inventory(folder):
        if entry.trouble:
            notes.print(f"{entry.name} does not run: {entry.trouble}", highlight=False)
            continue
        learned = "yes" if any(learned_folders(entry.where)) else ""
        size, weights = f"{entry.bytes / 1e6:,.0f} MB", entry.types or "not quantised"
        cells = (size, str(entry.layers), weights, "yes" if entry.exits else "", learned)
        table.add_row(entry.name, *cells)
    print_table(table)
