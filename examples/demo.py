"""`make demo`: real prompts through the bundled model: vanilla, auto and DEL."""

from rich.table import Table
from rich.text import Text

import dynexit
from dynexit.cli.generate import COLOURS
from dynexit.cli.printing import print_table, say, write
from dynexit.comparing import (
    PLAIN,
    REPEATS,
    median_speed,
    run_in_turn,
    shown_speed,
    shown_speedup,
)
from dynexit.rates import speedup

PROMPTS = {
    "word problem": "Question: A baker makes 12 trays of rolls with 9 rolls on each tray. She "
    "sells 70 rolls in the morning and half of the rest later. How many rolls are left?\nAnswer:",
    "translation": "German: Ich habe gestern meinen alten Freund in der Stadt gesehen.\nEnglish:",
    "python": 'def is_prime(n):\n    """Return True if n is a prime number."""\n',
}
SHOWN = {
    "accepted draft": "accepted",
    "looked up": "lookup",
    "recovered": "recovered",
    "bonus": "bonus",
}
NEW_TOKENS = 96
METHODS = {"auto": "auto", "DEL": "del"}


def main() -> None:
    lm = dynexit.load()
    config = lm.model.config
    say(
        Text("The bundled model", "bold"),
        f": {config.num_layers} layers of {config.hidden_size}, trained "
        f"for early exit; {str(lm.model.dtype).removeprefix('torch.')} on {lm.model.device} "
        f"({lm.model.runtime_name}).\nColours: ",
        *(part for name, source in SHOWN.items() for part in (Text(name, COLOURS[source]), ", ")),
        "plain step.\n",
    )
    title = f"tokens per second of decoding, medians of {REPEATS} runs in turn"
    table = Table("prompt", title=title, title_style="")
    for heading in ("vanilla", *METHODS, "auto's tokens a round", "identical"):
        table.add_column(heading, justify="right")
    for name, prompt in PROMPTS.items():
        write(prompt, "dim")
        for chunk in lm.stream(prompt, max_new_tokens=NEW_TOKENS):
            write(chunk.text, COLOURS[chunk.source])
        write("\n\n")
        table.add_row(name, *_compare(lm, prompt))
    print_table(table)


def _compare(lm: dynexit.LanguageModel, prompt: str) -> list[str | Text]:
    """All methods in turn, a few times."""
    outputs = run_in_turn(lm, prompt, {PLAIN: PLAIN, **METHODS}, max_new_tokens=NEW_TOKENS)
    plain = outputs.pop(PLAIN)
    base = median_speed(plain)
    same = all(o.token_ids == plain[0].token_ids for runs in outputs.values() for o in runs)
    return [
        shown_speed(base),
        *(_beside(base, median_speed(runs)) for runs in outputs.values()),
        f"{outputs['auto'][0].stats.mean_acceptance_length:.2f}",
        Text("yes", "green") if same else Text("no", "red"),
    ]


def _beside(plain: float, own: float) -> str:
    """Tokens per second, and how many times plain decoding's that is."""
    return f"{shown_speed(own)} ({shown_speedup(speedup(own, plain))})"


if __name__ == "__main__":
    main()
