"""`dynexit check`: is a method's text plain decoding's, token for token?"""

from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import track

from dynexit.cli.bench import Methods
from dynexit.cli.options import DraftModel, Loading, Model, NewTokens, Prompts, notes
from dynexit.cli.spreading import spread

if TYPE_CHECKING:
    from dynexit.bench.check import Difference
    from dynexit.language_model import LanguageModel


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(check)


@spread
def check(
    model: Model = None,
    method: Methods = None,
    *,
    prompts: Prompts,
    max_new_tokens: NewTokens = 128,
    draft_model: DraftModel = None,
    how: Loading,
) -> None:
    """Compare greedy texts with plain decoding's; exit code 1 where more than rounding differs."""
    from dynexit.bench.options import TABLE_1
    from dynexit.methods import usable_controller

    methods = [m for m in (method or TABLE_1) if m != "vanilla"]
    controllers = {m: usable_controller(m, draft_model is not None) for m in methods}
    examples = prompts.load()
    lm, second = how.load(model), how.load_second(draft_model)
    console, wrong = Console(highlight=False, soft_wrap=True), 0
    counts = dict.fromkeys(methods, 0)
    for name, example in track(examples, "checking", console=notes, transient=True):
        plain = lm.generate(example.prompt, "vanilla", max_new_tokens=max_new_tokens).token_ids
        for one, controller in controllers.items():
            other = lm.generate(
                example.prompt, controller, max_new_tokens=max_new_tokens, draft_model=second
            )
            found = _compare(lm, example.prompt, plain, other.token_ids)
            counts[one] += found is None
            if found is not None:
                wrong += not found.near_tie
                console.print(f"{name} {example.id} {one}: {describe(found, lm)}")
    for one, same in counts.items():
        console.print(f"{one}: {same} of {len(examples)} texts identical to vanilla's")
    if wrong:
        console.print(f"[red]{wrong} differ by more than rounding[/]")
        raise typer.Exit(1)


def _compare(
    lm: "LanguageModel", prompt: str, plain: list[int], other: list[int]
) -> "Difference | None":
    from dynexit.bench.check import first_difference

    ids = lm.tokenizer.encode(prompt) if lm.tokenizer else []
    return first_difference(lm, ids, plain, other)


def describe(found: "Difference", lm: "LanguageModel") -> str:
    """One line: where, what, and whether rounding explains it."""
    decode = lm.tokenizer.decode if lm.tokenizer else str
    words = ["the end" if t is None else repr(decode([t])) for t in (found.plain, found.other)]
    verdict = "a near tie" if found.near_tie else "NOT a near tie"
    return (
        f"new token {found.position} is {words[1]} instead of {words[0]}; the target's logits are "
        f"{found.gap:.2g} apart, rounding moves them by {found.rounding:.2g}: {verdict}"
    )
