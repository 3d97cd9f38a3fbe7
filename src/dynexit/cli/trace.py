"""`dynexit trace`: what every layer predicts along greedy texts, into one file."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from dynexit.cli.options import Loading, Model, NewTokens, Prompts, check_folder_of
from dynexit.cli.printing import note, notes
from dynexit.cli.spreading import spread
from dynexit.errors import DynexitError


@spread
def trace(
    out: Annotated[Path, typer.Option("--out", "-o", help="New .safetensors file.")],
    model: Model = None,
    *,
    prompts: Prompts,
    max_new_tokens: NewTokens = 128,
    draft_vocabulary: Annotated[
        int | None,
        typer.Option(
            min=1, help="Frequent tokens that early exits choose among [default: as in decoding]."
        ),
    ] = None,
    how: Loading,
) -> None:
    """Record greedy texts with each layer's two likeliest tokens, for `dynexit replay`."""
    if out.suffix != ".safetensors":
        raise DynexitError(f"--out {out}: give a file that ends in .safetensors.")
    check_folder_of(out, "--out")
    examples = [example for _, example in prompts.load()]
    lm = how.load(model)
    from dynexit.replay.recording import record_text, trace_info
    from dynexit.replay.trace import Trace

    made = Trace(trace_info(lm, draft_vocabulary), sample=lm.sample)
    context = lm.model.config.max_positions
    trimmed = made.info.draft_vocabulary
    for example in track(examples, "tracing", console=notes, transient=True):
        ids = lm.prompt_tokens(example.prompt)
        if len(ids) + max_new_tokens > context:
            note("left out:", "yellow", f"{example.id}: too long for {context} positions")
            continue
        made.texts.append(record_text(lm, example.id, ids, max_new_tokens, trimmed))
    if not made.texts:
        raise DynexitError("no prompt fits the model's context: nothing to trace.")
    made.save(out)
    positions = sum(text.generated for text in made.texts)
    notes.print(f"{len(made.texts)} texts, {positions} positions, in {out}")
