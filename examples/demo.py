"""`make demo`: real prompts through the bundled model: vanilla, auto and DEL."""

from collections.abc import Sequence
from statistics import median

from rich.console import Console
from rich.table import Table

import dynexit
from dynexit.cli.generate import COLOURS

PROMPTS = {
    "word problem": "Question: A baker makes 12 trays of rolls with 9 rolls on each tray. She "
    "sells 70 rolls in the morning and half of the rest later. How many rolls are left?\nAnswer:",
    "translation": "German: Ich habe gestern meinen alten Freund in der Stadt gesehen.\nEnglish:",
    "python": 'def is_prime(n):\n    """Return True if n is a prime number."""\n',
}
NEW_TOKENS, REPEATS = 96, 3
# DEL with exits that choose among a quarter of the tokens and layers past 8 not analysed: cheaper.
METHODS = {"auto": "auto", "DEL": "del:draft_vocabulary=2048,max_layer=8"}


def main() -> None:
    console = Console(highlight=False, soft_wrap=True)
    lm = dynexit.load()
    config = lm.model.config
    console.print(
        f"[bold]The bundled model[/]: {config.num_layers} layers of {config.hidden_size}, trained "
        f"for early exit; {str(lm.model.dtype).removeprefix('torch.')} on {lm.model.device} "
        f"({lm.model.runtime_name}).\n"
        "Colours: [green]accepted draft[/], [yellow]looked up[/], [red]recovered[/], "
        "[blue]bonus[/], plain step.\n"
    )
    table = Table("prompt", title="tokens per second of decoding", title_style="")
    for heading in ("vanilla", *METHODS, "auto's tokens a round", "identical"):
        table.add_column(heading, justify="right")
    for method in METHODS.values():
        lm.generate("Warm up.", method, max_new_tokens=16)
    for name, prompt in PROMPTS.items():
        console.print(prompt, style="dim", end="", markup=False)
        for chunk in lm.stream(prompt, max_new_tokens=NEW_TOKENS):
            console.print(chunk.text, style=COLOURS[chunk.source], end="", markup=False)
        console.print("\n")
        table.add_row(name, *_compare(lm, prompt))
    console.print(table)


def _compare(lm: dynexit.LanguageModel, prompt: str) -> list[str]:
    """All methods in turn, a few times."""
    runs = [
        [lm.generate(prompt, m, max_new_tokens=NEW_TOKENS) for m in ("vanilla", *METHODS.values())]
        for _ in range(REPEATS)
    ]
    plain, *others = zip(*runs, strict=True)
    same = all(output.token_ids == plain[0].token_ids for run in runs for output in run)
    return [
        f"{median(_speed(output) for output in plain):.0f}",
        *(_beside(plain, outputs) for outputs in others),
        f"{others[0][0].stats.mean_acceptance_length:.2f}",
        "[green]yes[/]" if same else "[red]no[/]",
    ]


def _beside(plain: Sequence[dynexit.Generation], others: Sequence[dynexit.Generation]) -> str:
    """Tokens per second, and how many times plain decoding's that is."""
    own, base = median(map(_speed, others)), median(map(_speed, plain))
    return f"{own:.0f} ({own / max(base, 1e-9):.2f}x)"


def _speed(output: dynexit.Generation) -> float:
    return output.stats.tokens_per_second


if __name__ == "__main__":
    main()
