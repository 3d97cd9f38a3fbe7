"""`dynexit synth`: a random checkpoint of a real shape, for measuring speed."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from dynexit.cli.options import starting
from dynexit.cli.printing import print_table
from dynexit.errors import DynexitError
from dynexit.model.gguf.files import is_gguf
from dynexit.model.names import SYNTHETIC, check_dtype, check_written


def synth(
    out: Annotated[Path, typer.Argument(help="New folder for the checkpoint, or OUT.gguf.")],
    like: Annotated[
        str, typer.Option(help="Model whose shape to copy, such as llama3.2-1b.")
    ] = "llama3.2-1b",
    agreement: Annotated[
        list[str] | None,
        typer.Option(
            help="LAYER:SHARE; may repeat [default: 0.75 at a quarter of the depth, 0.95 at half]."
        ),
    ] = None,
    dtype: Annotated[str, typer.Option(help="For a folder: bf16, fp16 or fp32.")] = "bf16",
    kind: Annotated[
        str | None,
        typer.Option("--type", help=f"For OUT.gguf: {', '.join(SYNTHETIC)} [default: q8_0]."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    zipf: Annotated[
        float,
        typer.Option(help="Zipf exponent of token frequencies; 0 is uniform, text is about 1."),
    ] = 0.0,
) -> None:
    """Make a random checkpoint whose early layers agree with the last at chosen rates."""
    from dynexit.shapes import SHAPES, plan_checkpoint

    layers = SHAPES[like].num_layers if like in SHAPES else 4
    anchors = _anchors(agreement) or {max(1, layers // 4): 0.75, max(2, layers // 2): 0.95}
    check_dtype(dtype)
    if kind is not None and not is_gguf(out):
        raise DynexitError(
            f"--type is for GGUF files, and {out} does not end in .gguf: use --dtype."
        )
    kind = check_written(kind or "q8_0", SYNTHETIC)
    plan_checkpoint(out, like, anchors, zipf)
    with starting("making a checkpoint"):
        from dynexit.model.dtypes import parse_dtype
        from dynexit.synth import synthesise

        made = synthesise(out, like, anchors, parse_dtype(dtype), seed, zipf, kind)
    table = Table("exit layer", "wanted", "achieved", title=f"{out}: {like}", title_style="")
    for layer, achieved in enumerate(made.achieved, start=1):
        table.add_row(str(layer), f"{made.wanted[layer]:.2f}", f"{achieved:.2f}")
    print_table(table)


def _anchors(pairs: list[str] | None) -> dict[int, float]:
    anchors = {}
    for pair in pairs or []:
        layer, _, share = pair.partition(":")
        try:
            anchors[int(layer)] = float(share)
        except ValueError:
            raise DynexitError(f"--agreement {pair!r} is not of the form LAYER:SHARE.") from None
    return anchors
