"""`dynexit skip-search`: which sublayers drafts should leave out, on this machine."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from dynexit.cli.options import (
    AsJson,
    Loading,
    ModelArgument,
    NewTokens,
    Prompts,
    check_folder_of,
    starting,
)
from dynexit.cli.printing import notes, print_json, say
from dynexit.cli.spreading import spread


@spread
def skip_search(
    model: ModelArgument = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="JSON file to write [default: in the cache].")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, max=10_000, help="Sets to try.")] = 100,
    max_new_tokens: NewTokens = 64,
    as_json: AsJson = False,
    *,
    prompts: Prompts,
    how: Loading,
) -> None:
    """Search for the attention blocks and MLPs to leave out in drafts, by tokens per second."""
    check_folder_of(out, "--out")
    examples = [example for _, example in prompts.load()]
    lm = how.load(model)
    with starting():
        from dynexit.skip_search import keep, search
        from dynexit.skips_found import cached_file

    assert lm.folder is not None
    file = out or cached_file(lm.folder)
    ids = [lm.prompt_tokens(example.prompt) for example in examples]
    with Progress(console=notes, transient=True, disable=not notes.is_terminal) as bar:
        task = bar.add_task("trying sets", total=steps)
        found = search(lm, ids, steps, max_new_tokens, lambda: bar.advance(task))
    keep(found, lm, file)
    best = found.best[1]
    if as_json:
        print_json({"method": found.method, "tokens_per_second": best, "plain": found.plain})
        return
    say(f"{found.method}: {best:.1f} tokens/s, {best / found.plain:.2f}x of plain decoding")
    notes.print(f"{len(found.tried)} sets, in {file}")
