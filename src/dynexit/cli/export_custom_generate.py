"""`dynexit export-custom-generate`: lets transformers' `generate` decode with dynexit."""

from pathlib import Path
from typing import Annotated

import typer

from dynexit.cli.printing import write


def export_custom_generate(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of the checkpoint.")],
) -> None:
    """Write the folder custom_generate/ that transformers reads beside a checkpoint."""
    from dynexit.integrations.transformers import hub

    for file in hub.export_custom_generate(checkpoint):
        write(f"{file}\n")
