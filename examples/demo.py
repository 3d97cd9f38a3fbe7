"""`make demo`: a chat model, faster by what it is known to say; then a toy with early exits."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table
from rich.text import Text

import dynexit
from dynexit.bench.peers import Peer, peers
from dynexit.cli.generate import COLOURS, LEGEND
from dynexit.cli.printing import print_table, say, write
from dynexit.comparing import (
    PLAIN,
    REPEATS,
    median_speed,
    rounded_speed,
    run_in_turn,
    shown_speed,
    shown_speedup,
)
from dynexit.errors import DynexitError
from dynexit.model.places import CHAT_MODEL, find_chat_model
from dynexit.rates import speedup, tokens_per_second

CHATS = {
    "question": "Why is the sky blue?",
    "program": "Write a Python function that returns the n-th Fibonacci number, then call it.",
    "rewrite": "Rewrite this notice so that it sounds friendly:\nThe kitchen is closed from Monday "
    "to Wednesday because of repairs. Do not leave food in the fridge. Anyone who does will find "
    "it in the bin. The kitchen opens again on Thursday at nine.",
}
TOY_PROMPTS = {
    "word problem": "Question: A baker makes 12 trays of rolls with 9 rolls on each tray. She "
    "sells 70 rolls in the morning and half of the rest later. How many rolls are left?\nAnswer:",
    "story": "The old man walked down to the harbour, where",
    "python": 'def is_prime(n):\n    """Return True if n is a prime number."""\n',
}
TOY_METHODS = {
    "plain": PLAIN,
    "LayerSkip: a fixed exit": "layerskip",
    "DEL": "del",
    "DEL without its threshold": "del-e",
    "auto, exits alone": "auto:lookup=false,table=false",
    "auto": "auto",
}
NEW_TOKENS = {"chat": 160, "toy": 96}


def main() -> None:
    if (file := find_chat_model()) is not None:
        _chat(file)
    else:
        say(
            f"{CHAT_MODEL} could not be fetched, so there is no chat model to show: "
            "the bundled model alone.\n"
        )
    _toy()


def _chat(file: Path) -> None:
    say(Text(file.stem, "bold"), ", a chat model as people run it: 4 bits a weight.")
    lm = dynexit.load(file, check=False)
    drafted = (LEGEND[name] for name in ("lookup", "table"))
    colours = zip(drafted, ("lookup", "table"), strict=True)
    say(
        "Plain decoding runs the model once a token. Here tokens are guessed first, and one run\n"
        "checks them all: what it would have written itself stays, so that the text is the same.\n"
        "Colours: ",
        *(part for name, source in colours for part in (Text(name, COLOURS[source]), ", ")),
        "the model's own.\n",
    )
    title = f"tokens per second of decoding, medians of {REPEATS} runs in turn"
    table = Table("prompt", title=title, title_style="")
    peer = _llama_cpp(lm)
    for heading in (*(["llama.cpp"] if peer else []), "plain", "auto", "tokens a run", "identical"):
        table.add_column(heading, justify="right")
    for name, prompt in CHATS.items():
        write(f"{prompt}\n", "dim")
        for chunk in lm.stream(prompt, chat=True, max_new_tokens=NEW_TOKENS["chat"]):
            write(chunk.text, COLOURS[chunk.source])
        write("\n\n")
        table.add_row(name, *_beside_peer(lm, prompt, peer))
    print_table(table)


def _llama_cpp(lm: dynexit.LanguageModel) -> Peer | None:
    """The program, where it is installed."""
    try:
        return peers()["llama.cpp"].make(lm)
    except DynexitError:
        return None


def _beside_peer(lm: dynexit.LanguageModel, prompt: str, peer: Peer | None) -> list[str | Text]:
    count = NEW_TOKENS["chat"]
    ids = lm.prompt_tokens(prompt, chat=True)
    outputs = run_in_turn(lm, ids, {PLAIN: PLAIN, "auto": "auto"}, max_new_tokens=count)
    base, own = (median_speed(runs) for runs in outputs.values())
    cells: list[str | Text] = []
    if peer is not None:
        told = [peer.generate("", ids, count) for _ in range(REPEATS)]
        speeds = [tokens_per_second(one.decoded, one.decode_seconds) or 0.0 for one in told]
        cells.append(_compared(base, rounded_speed(median(speeds))))
    rounds = f"{outputs['auto'][0].stats.mean_acceptance_length:.2f}"
    return [*cells, shown_speed(base), _compared(base, own), rounds, _identical(outputs)]


def _toy() -> None:
    lm = dynexit.load()
    config = lm.model.config
    say(
        Text("\nThe bundled model", "bold"),
        f" is a toy of {config.num_layers} layers, trained for early exit: what it says is often "
        "wrong.\nIts first layers guess tokens, the rest checks them. LayerSkip always stops at "
        "the same layer;\nDEL (Dynamic Exit Layer) chooses the layer anew by how often each was "
        "right; `auto` also\nreckons what layers cost here, looks tokens up, and has a table.\n",
    )
    title = f"tokens per second of decoding, medians of {REPEATS} runs in turn"
    table = Table("method", title=title, title_style="")
    cells: dict[str, list[str | Text]] = {name: [] for name in TOY_METHODS}
    same: dict[str, bool] = dict.fromkeys(TOY_METHODS, True)
    for name, prompt in TOY_PROMPTS.items():
        table.add_column(name, justify="right")
        outputs = run_in_turn(lm, prompt, TOY_METHODS, max_new_tokens=NEW_TOKENS["toy"])
        base = median_speed(outputs["plain"])
        for method, runs in outputs.items():
            own = median_speed(runs)
            cells[method].append(shown_speed(own) if method == "plain" else _compared(base, own))
            same[method] &= runs[0].token_ids == outputs["plain"][0].token_ids
    table.add_column("identical", justify="right")
    for method, row in cells.items():
        table.add_row(method, *row, _yes(same[method]))
    print_table(table)


def _compared(plain: float, own: float) -> str:
    """Tokens per second, and how many times plain decoding's that is."""
    return f"{shown_speed(own)} ({shown_speedup(speedup(own, plain))})"


def _identical(outputs: Mapping[str, Sequence[Any]]) -> Text:
    plain = outputs[PLAIN][0].token_ids
    return _yes(all(one.token_ids == plain for runs in outputs.values() for one in runs))


def _yes(so: bool) -> Text:
    return Text("yes", "green") if so else Text("no", "red")


if __name__ == "__main__":
    main()
