"""`dynexit check`: is a method's text plain decoding's, token for token?"""

from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import track

from dynexit.cli.bench import (
    DataDir,
    DraftModel,
    Methods,
    NewTokens,
    NumSamples,
    Seed,
    Shots,
    Tasks,
    Template,
)
from dynexit.cli.options import (
    Device,
    Dtype,
    Model,
    Runtime,
    Threads,
    load_for_command,
    load_second,
    notes,
)

if TYPE_CHECKING:
    from dynexit.bench.check import Difference
    from dynexit.language_model import LanguageModel


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(check)


def check(
    task: Tasks = None,
    model: Model = None,
    method: Methods = None,
    data_dir: DataDir = None,
    num_samples: NumSamples = 8,
    n_shot: Shots = None,
    template: Template = "del",
    max_new_tokens: NewTokens = 128,
    seed: Seed = 0,
    dtype: Dtype = None,
    device: Device = None,
    threads: Threads = None,
    runtime: Runtime = None,
    draft_model: DraftModel = None,
) -> None:
    """Compare greedy texts with plain decoding's; exit code 1 where more than rounding differs."""
    from dynexit.bench.options import TABLE_1
    from dynexit.tasks import load_examples, task_names

    names = task or task_names()
    loaded = {n: load_examples(n, data_dir, num_samples, n_shot, template, seed) for n in names}
    lm = load_for_command(model, dtype, device, threads, runtime)
    second = load_second(draft_model, dtype, device, runtime)
    methods = [m for m in (method or TABLE_1) if m != "vanilla"]
    console, wrong = Console(highlight=False, soft_wrap=True), 0
    counts = dict.fromkeys(methods, 0)
    prompts = [(name, example) for name, examples in loaded.items() for example in examples]
    for name, example in track(prompts, "checking", console=notes, transient=True):
        plain = lm.generate(example.prompt, "vanilla", max_new_tokens=max_new_tokens).token_ids
        for one in methods:
            other = lm.generate(
                example.prompt, one, max_new_tokens=max_new_tokens, draft_model=second
            )
            found = _compare(lm, example.prompt, plain, other.token_ids)
            counts[one] += found is None
            if found is not None:
                wrong += not found.near_tie
                console.print(f"{name} {example.id} {one}: {describe(found, lm)}")
    for one, same in counts.items():
        console.print(f"{one}: {same} of {len(prompts)} texts identical to vanilla's")
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
