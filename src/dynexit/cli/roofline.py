"""`dynexit roofline`: how much of the machine's bandwidth a model's layers use."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from dynexit.cli.options import AsJson, Loading, ModelArgument, check_folder_of
from dynexit.cli.printing import notes, print_json, print_table, say
from dynexit.cli.spreading import spread
from dynexit.errors import DynexitError

if TYPE_CHECKING:
    from dynexit.bench.passes import Roofline

HEADINGS = (
    *("context", "rows", "layers ms", "head ms", "ms a layer", "floor ms", "share"),
    *("GB/s", "GFLOP/s"),
)


@spread
def roofline(
    model: ModelArgument = None,
    rows: Annotated[
        str, typer.Option(help="Widths to time: rows per forward pass.")
    ] = "1,2,3,4,6,8,16,32",
    context: Annotated[str, typer.Option(help="Positions in the KV cache.")] = "128,1024",
    as_json: AsJson = False,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw a figure to this .png, .svg or .pdf file.", dir_okay=False),
    ] = None,
    *,
    how: Loading,
) -> None:
    """Time forward passes of several widths against the machine's memory and arithmetic limits."""
    counts, contexts = _numbers(rows, "--rows"), _numbers(context, "--context")
    if plot is not None and plot.suffix not in (".png", ".svg", ".pdf"):
        raise DynexitError(f"--plot {plot}: give a file that ends in .png, .svg or .pdf.")
    check_folder_of(plot, "--plot")
    lm = how.load(model)
    from dynexit.bench.roofline import measure

    with Progress(console=notes, transient=True) as progress:
        task = progress.add_task("measuring", total=len(counts) * len(contexts))
        found = measure(lm, counts, contexts, lambda: progress.advance(task))
    if plot is not None:
        from dynexit.bench.report.figures.roofline import save_roofline

        save_roofline(found, plot)
    if as_json:
        print_json(found.as_dict())
    else:
        _print(found)


def _numbers(text: str, option: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise DynexitError(f"{option} {text!r} is not a list of numbers such as 1,2,4.") from None
    if min(numbers) < 1:
        raise DynexitError(f"{option} {text!r}: every number must be at least 1.")
    return sorted(set(numbers))


def _print(found: "Roofline") -> None:
    machine = found.machine
    say(
        Text(found.model, "bold"),
        f": {machine['dtype']} on {machine['device']} "
        f"({machine['runtime']}), {machine['threads']} threads, "
        f"{found.weight_bytes / 1e6:.1f} MB of weights a token",
    )
    for when, limits in (("before", found.before), ("after", found.after)):
        say(f"the machine's limits {when} the passes: {limits}")
    if found.unsteady:
        say(Text("They differ by more than 20 %: the machine was busy with something else.", "red"))
    if found.cache_bytes and found.weight_bytes <= found.cache_bytes:
        megabytes = found.cache_bytes / 1e6
        say(f"The weights fit in the last-level cache of {megabytes:.0f} MB.")
    table = Table(title="a pass: layers, then head; the floor is bytes or arithmetic")
    for heading in HEADINGS:
        table.add_column(heading, justify="right", min_width=max(map(len, heading.split())))
    for p in found.points:
        floor = p.floor_ms(found.limits)
        moved, flops = p.layer_bytes + p.head_bytes, p.layer_flops + p.head_flops
        table.add_row(
            *(str(p.context), str(p.rows), f"{p.layers_ms:.2f}", f"{p.head_ms:.2f}"),
            *(f"{p.layers_ms / found.num_layers:.3f}", f"{floor:.2f}"),
            f"{floor / p.total_ms:.0%}",
            *(f"{moved / p.total_ms / 1e6:.1f}", f"{flops / p.total_ms / 1e6:.0f}"),
        )
    print_table(table)
