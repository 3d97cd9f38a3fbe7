"""`dynexit learn`: what a model's own text teaches, so that any model drafts well."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from dynexit.cli.options import AsJson, LearnedOut, Loading, ModelArgument, check_folder, starting
from dynexit.cli.printing import notes, print_json, print_table
from dynexit.cli.spreading import spread
from dynexit.errors import INTERRUPTED

if TYPE_CHECKING:
    from dynexit.learning.learned import About

FAMILIES = "Family of built-in prompts: questions, python, translation ..."
EVERY = 20_000  # tokens per line, where there is no terminal to draw a bar on


@dataclass(frozen=True)
class Lessons:
    """What a model writes and how much is kept of it: `learning.collecting.Settings`."""

    tokens: Annotated[int, typer.Option(min=1, help="Tokens that the model writes.")] = 500_000
    table_size: Annotated[int, typer.Option(min=1, help="Bytes of the table, at most.")] = 2_000_000
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="Your own prompts, as lines of text or JSON Lines; used before the built-in ones."
        ),
    ] = None
    judges: Annotated[
        Path | None,
        typer.Option(help="Your own held-out prompts, to judge the result: not learned from."),
    ] = None
    families: Annotated[
        list[str] | None, typer.Option("--family", help=f"{FAMILIES}; may repeat [default: all].")
    ] = None
    longest: Annotated[int, typer.Option(min=1, help="New tokens per text, at most.")] = 256
    batch_size: Annotated[int, typer.Option(min=1, max=1024, help="Texts written at once.")] = 32


@spread
def learn(
    model: ModelArgument = None,
    out: LearnedOut = None,
    *,
    lessons: Lessons,
    as_json: AsJson = False,
    how: Loading,
) -> None:
    """Let a model write, and learn from its text a table of likely next tokens to draft from.

    This works for any model. A stopped or killed run continues when started again.
    """
    if out is not None:
        check_folder(out, "--out")
    lm = how.load(model, check=False)
    with starting():
        from dynexit.learning.learn import folder_for
        from dynexit.learning.learn import learn as run

    settings = {**vars(lessons), "families": tuple(lessons.families or ())}
    try:
        with writing(lessons.tokens) as watch:
            made = run(lm, out, watch, **settings)
    except KeyboardInterrupt:
        notes.print(
            f"interrupted: texts so far are kept in {folder_for(lm, out)}; the same command "
            "continues from there."
        )
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        print_json({"folder": str(folder_for(lm, out)), **asdict(made.about)})
        return
    title = f"{len(made.table):,} contexts in {made.table.num_bytes:,} bytes"
    print_table(figures_table(made.about, title))
    notes.print(f"in {folder_for(lm, out)}")


def figures_table(about: "About", title: str) -> Table:
    """How often the table is right on held-out texts, and what speed that promises."""
    predicted = {} if about.prediction is None else about.prediction.speedup
    table = Table("held-out prompts", title=title, title_style="")
    for name in ("tokens", "best is right", "one of three", "context known", "predicted speed"):
        table.add_column(name, justify="right")
    for name, figures in about.held_out.items():
        count = max(figures.positions, 1)
        shares = (figures.best, figures.best_three, figures.positions - figures.orders[0])
        cells = (f"{share / count:.1%}" for share in shares)
        gain = f"{predicted[name]:.2f}x" if name in predicted else ""
        table.add_row(name, f"{figures.positions:,}", *cells, gain)
    return table


@contextmanager
def writing(tokens: int) -> Iterator[Callable[[int], None]]:
    """Yields a function that takes numbers of new tokens. The bar appears with the first of them,
    so that a refusal prints no bar.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,} of {task.total:,} tokens"),
        TimeRemainingColumn(),
    )
    written = 0
    with ExitStack() as started:
        bar = Progress(*columns, console=notes)
        task = bar.add_task("writing", total=tokens)

        def watch(new: int) -> None:
            nonlocal written
            if not bar.live.is_started:
                started.enter_context(bar)
            if not notes.is_terminal and written // EVERY < (written + new) // EVERY:
                notes.print(f"{written + new:,} of {tokens:,} tokens")
            written += new
            bar.update(task, completed=min(written, tokens))

        yield watch
