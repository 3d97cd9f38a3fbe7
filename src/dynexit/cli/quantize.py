"""`dynexit quantize`: a checkpoint as a GGUF file."""

from pathlib import Path
from typing import Annotated

import typer

from dynexit.cli.options import check_folder_of, noted_warnings, starting
from dynexit.cli.printing import say
from dynexit.errors import DynexitError
from dynexit.model.gguf.files import check_new, is_gguf
from dynexit.model.names import WRITTEN, check_written
from dynexit.model.places import check_checkpoint


def quantize(
    model: Annotated[str, typer.Argument(help="Folder, unquantised GGUF file, hub id or bundled.")],
    out: Annotated[Path, typer.Argument(help="New file, OUT.gguf.")],
    kind: Annotated[
        str, typer.Option("--type", help=f"Type of the matrices: {', '.join(WRITTEN)}.")
    ] = "q8_0",
    head_type: Annotated[
        str | None,
        typer.Option(
            help="Type of the head [default: q8_0 if --type has fewer bits, else --type]."
        ),
    ] = None,
) -> None:
    """Write a checkpoint as a GGUF file, which llama.cpp also runs."""
    kind = check_written(kind)
    head = None if head_type is None else check_written(head_type)
    if not is_gguf(out):
        raise DynexitError(f"{out} does not end in .gguf: give a name that does.")
    check_folder_of(out, "OUT")
    check_new(out)
    folder = check_checkpoint(model)
    with starting():
        from dynexit.model.gguf import writing
        from dynexit.model.quantised import stored_weights, tensor_bytes

    with starting(f"writing {out}"), noted_warnings():
        writing.check_unquantised(folder)
        source = writing.checkpoint(folder, Path(model).name)
        writing.write(source, out, writing.Types.of(kind, head))
    say(f"{out}: {out.stat().st_size / 1e6:.1f} MB")
    written = stored_weights(out)
    assert written is not None  # a GGUF file
    for part, types in tensor_bytes(written).items():
        listed = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in types.items())
        say(f"{part}: {listed}")
