"""`dynexit train`: the LayerSkip recipe or masked diffusion, from scratch or from a checkpoint."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from dynexit.cli.options import Device, Threads, check_folder, starting
from dynexit.cli.printing import notes, print_table
from dynexit.errors import DynexitError

if TYPE_CHECKING:
    from dynexit.training.evaluation import DomainReport
    from dynexit.training.trainer import Progress as State
    from dynexit.training.trainer import Trainer, Watcher

AGREED = {"layer": "last layer", "mask": "text"}
STEPS_PER_LINE = 10  # where there is no terminal to draw a bar on


def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe file, such as recipes/bundled.yaml.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the run and its checkpoint.")
    ],
    data_dir: Annotated[Path, typer.Option(help="Folder that the recipe's paths are relative to.")],
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting, such as early_exit.distill=0; may repeat."),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(
            help="early-exit, or masked-diffusion for a draft model [default: the recipe's]."
        ),
    ] = None,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Train an early-exit model, or a masked-diffusion model that drafts for another. A stopped or
    killed run continues when started again.

    Ctrl-C and SIGTERM finish and save the running step. A kill loses what followed the last save.
    """
    from dynexit.methods import parse_settings
    from dynexit.model.names import check_names
    from dynexit.model.ranks.joined import refuse_several
    from dynexit.model.threads import check_threads, use_threads
    from dynexit.training.recipe import load_recipe

    refuse_several("training")
    check_names(None, device, None)
    check_threads(threads)
    if not data_dir.is_dir():
        raise DynexitError(f"--data-dir {data_dir} is not a folder: give an existing one.")
    check_folder(out, "--out")
    changes = parse_settings(change or [])
    if objective is not None:
        changes["objective"] = objective
    chosen = load_recipe(recipe, changes)
    with starting():
        from dynexit.model.dtypes import parse_device
        from dynexit.training.trainer import Trainer

    use_threads(threads)
    with starting("reading texts"):
        trainer = Trainer(chosen, data_dir, out, parse_device(device))
    with drawn_steps(trainer) as watch, stopped_by_signals(trainer) as caught:
        reports = trainer.run(watch)
    if reports is None:
        notes.print(
            f"stopped: step {trainer.step} of {trainer.steps} is kept in {out}; "
            "the same command continues from there."
        )
        raise typer.Exit(128 + caught[0])
    print_table(report_table(reports, f"held-out text; checkpoint in {out}"))


@contextmanager
def drawn_steps(trainer: "Trainer") -> "Iterator[Watcher]":
    """Yields what draws a bar, or prints lines, of the steps that it is told of."""
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=notes) as bar:
        task = bar.add_task("", total=trainer.steps, completed=trainer.step)

        def watch(state: "State") -> None:
            text = f"loss {state.loss:.3f}, {state.tokens_per_second:.0f} tok/s"
            bar.update(task, completed=state.step, description=text)
            if not notes.is_terminal and state.step % STEPS_PER_LINE == 0:
                notes.print(f"step {state.step} of {state.steps}: {text}")
            if state.reports:
                bar.console.print(report_table(state.reports, f"after {state.tokens:,} tokens"))

        yield watch


@contextmanager
def stopped_by_signals(trainer: "Trainer") -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM end training after the step that is running; again, they end it at once.

    Yields a list of the signals that have come.
    """
    caught: list[int] = []
    before: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        caught.append(number)
        trainer.stop()
        restore()

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as a shell's background jobs have it
            before[number] = signal.signal(number, stop)
    try:
        yield caught
    finally:
        restore()


def report_table(reports: "dict[str, DomainReport]", title: str) -> Table:
    """Bits per byte and agreement at every quarter of the depth, or of a block's masks."""
    table = Table("domain", title=title, title_style="")
    first = next(iter(reports.values()))
    layers, unit = len(first.agreement), first.unit
    shown = sorted({max(1, layers * part // 8) for part in (1, 2, 3, 4, 6, 8)})
    for layer in shown:
        table.add_column(f"{unit} {layer}", justify="right")
    for name, report in reports.items():
        cells = [
            f"{report.bits_per_byte[layer - 1]:.3f} {report.agreement[layer - 1]:.0%}"
            for layer in shown
        ]
        table.add_row(name, *cells)
    table.caption = f"bits per byte, agreement with the {AGREED[unit]}"
    return table
