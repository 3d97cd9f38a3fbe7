"""`dynexit draft-vocabulary`: the tokens that exits choose among."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from dynexit.cli.learn import writing
from dynexit.cli.options import AsJson, Loading, ModelArgument, check_folder, starting
from dynexit.cli.printing import notes, print_json, print_table
from dynexit.cli.spreading import spread

if TYPE_CHECKING:
    from dynexit.decoding.costs import Costs
    from dynexit.learning.learned import Learned


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("draft-vocabulary")(draft_vocabulary)


@spread
def draft_vocabulary(
    model: ModelArgument = None,
    size: Annotated[
        int | None,
        typer.Option(min=1, help="Tokens to keep [default: as many as hold 99 % of its text]."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder to write [default: in the cache, found automatically]."
        ),
    ] = None,
    tokens: Annotated[
        int, typer.Option(min=1, help="Tokens that the model writes, if it has not learned yet.")
    ] = 100_000,
    as_json: AsJson = False,
    *,
    how: Loading,
) -> None:
    """Choose how many of a model's most frequent tokens its exits choose among.

    Drafts then read only these rows of the head. Verification reads all of it: the text is the
    same. Prints what share of the model's held-out text each size holds, and what it costs.
    """
    if out is not None:
        check_folder(out, "--out")
    lm = how.load(model, check=False)
    with starting():
        from dynexit.learning.learn import folder_for
        from dynexit.learning.vocabulary import choose_draft_vocabulary

    with writing(tokens) as watch:
        made = choose_draft_vocabulary(lm, size, out, watch, tokens=tokens)
    folder, usual = folder_for(lm, out), made.draft_tokens.usual(lm.model.vocabulary_size)
    if as_json:
        covered = {"covered": dict(made.about.covered), "families": dict(made.about.families)}
        print_json({"folder": str(folder), "draft_tokens": usual, **covered})
        return
    print_table(_table(made, lm.costs, usual))
    notes.print(f"in {folder}")


def _table(made: "Learned", costs: "Costs", usual: int) -> Table:
    """Shares of held-out text by size, and milliseconds of the head for one row."""
    families = made.about.families
    table = Table(title=f"exits choose among {usual:,} tokens", title_style="")
    for heading in ("tokens", "all", *families, "head, ms"):
        table.add_column(heading, justify="right")
    for number, share in made.about.covered.items():
        shares = [share, *(family.get(number, 0.0) for family in families.values())]
        head = 1e3 * costs.unembed(1, int(number))
        table.add_row(f"{int(number):,}", *(f"{one:.1%}" for one in shares), f"{head:.3f}")
    return table
