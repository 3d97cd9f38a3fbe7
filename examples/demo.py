"""`make demo`: real prompts through the bundled model, vanilla beside DEL."""

from statistics import median

from rich.console import Console
from rich.table import Table

import dynexit
from dynexit.cli.generate import COLOURS

PROMPTS = {
    "word problem": "Question: A baker makes 12 trays of rolls with 9 rolls on each tray. She "
    "sells 70 rolls in the morning and half of the rest later. How many rolls are left?\nAnswer:",
    "translation": "German: Ich habe gestern meinen alten Freund in der Stadt gesehen.\nEnglish:",
    "python": "import os\n\n\nclass Cache:\n"
    '    """What was not used for long is forgotten."""\n\n    def __init__(self, size):\n',
}
NEW_TOKENS, REPEATS = 96, 3
# Exits choose among a quarter of the tokens, and layers past 8 are not analysed: cheaper rounds.
DEL = "del:draft_vocabulary=2048,max_layer=8"


def main() -> None:
    console = Console(highlight=False, soft_wrap=True)
    lm = dynexit.load()
    config = lm.model.config
    console.print(
        f"[bold]The bundled model[/]: {config.num_layers} layers of {config.hidden_size}, trained "
        f"for early exit; {str(lm.model.dtype).removeprefix('torch.')} on {lm.model.device} "
        f"({lm.model.runtime_name}).\n"
        "Colours: [green]accepted draft[/], [red]recovered[/], [cyan]bonus[/], plain step.\n"
    )
    table = Table("prompt", title="tokens per second of decoding", title_style="")
    for heading in ("vanilla", "DEL", "speedup", "accepted", "tokens/round", "identical"):
        table.add_column(heading, justify="right")
    lm.generate("Warm up.", DEL, max_new_tokens=16)
    for name, prompt in PROMPTS.items():
        console.print(prompt, style="dim", end="", markup=False)
        for chunk in lm.stream(prompt, DEL, max_new_tokens=NEW_TOKENS):
            console.print(chunk.text, style=COLOURS[chunk.source], end="", markup=False)
        console.print("\n")
        table.add_row(name, *_compare(lm, prompt))
    console.print(table)


def _compare(lm: dynexit.LanguageModel, prompt: str) -> list[str]:
    """Both methods in turn, a few times."""
    pairs = [
        [lm.generate(prompt, method, max_new_tokens=NEW_TOKENS) for method in ("vanilla", DEL)]
        for _ in range(REPEATS)
    ]
    speeds = [[output.stats.tokens_per_second for output in pair] for pair in pairs]
    stats = pairs[0][1].stats
    same = all(plain.token_ids == drafted.token_ids for plain, drafted in pairs)
    return [
        f"{median(plain for plain, _ in speeds):.0f}",
        f"{median(drafted for _, drafted in speeds):.0f}",
        f"{median(drafted / max(plain, 1e-9) for plain, drafted in speeds):.2f}x",
        f"{stats.acceptance_rate:.0%}",
        f"{stats.mean_acceptance_length:.2f}",
        "[green]yes[/]" if same else "[red]no[/]",
    ]


if __name__ == "__main__":
    main()
