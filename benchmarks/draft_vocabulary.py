"""Which tokens of the head a draft should read: shares of a model's text that they hold, and costs.

    python benchmarks/draft_vocabulary.py MODEL DATA_DIR [PROMPTS] [NEW_TOKENS]

Greedy texts to English instructions, to requests for German and to Python functions. A token that
is not read cannot be drafted, so what a choice does not hold is the acceptance that it loses at
most. Compared, by rows of the head that a draft reads:

- ids: the first N ids of the vocabulary.
- frequent: the N most frequent tokens of the model's own text (VocabTrim, arXiv 2506.22694).
- in context: the tokens of prompt and text so far and the N most frequent ones (MicroSpec,
  arXiv 2605.26444); its rows are a mean.
"""

import sys
from pathlib import Path
from random import Random
from statistics import median
from time import perf_counter

import torch

import dynexit
from dynexit.model.draft_tokens import DraftTokens
from dynexit.model.interface import Span
from dynexit.tasks.rows import read_file

SIZES = 512, 1_024, 2_048, 4_096, 6_144, 8_192
GATHERED = 32, 256, 2_048  # rows of the head that are gathered at once


def prompts_of(data: Path, count: int) -> dict[str, list[str]]:
    pairs = [row["translation"] for row in read_file(data / "wmt14_de_en_test.jsonl")]
    functions = [row["prompt"] for row in read_file(data / "HumanEval.jsonl.gz")]
    english = Path(__file__).with_name("held_out_instructions.txt").read_text().splitlines()
    draw = Random(5)
    chosen = [pair["en"] for pair in draw.sample(pairs, count)]
    return {
        "English": draw.sample(english, count),
        "German": [f"Übersetze ins Deutsche: {text}" for text in chosen],
        "code": [f"Complete this Python function:\n{t}" for t in draw.sample(functions, count)],
    }


def shares(text: list[int], start: int, frequent: list[int]) -> dict[str, tuple[float, float]]:
    """Of each choice: the share of the tokens from `start` on that it holds, and its mean rows."""
    rank = {token: place for place, token in enumerate(frequent)}
    new, found = text[start:], {}
    places = [rank.get(token, len(frequent)) for token in new]
    for size in SIZES:
        found[f"ids {size}"] = sum(token < size for token in new) / len(new), float(size)
        held = sum(place < size for place in places) / len(new)
        found[f"frequent {size}"] = held, float(size)
        right, rows = 0, 0
        known = {token for token in text[:start] if rank.get(token, size) >= size}
        for token, place in zip(new, places, strict=True):
            right += place < size or token in known
            rows += size + len(known)
            if place >= size:
                known.add(token)
        found[f"in context {size}"] = right / len(new), rows / len(new)
    return found


def milliseconds(work, times: int = 15) -> float:
    taken = []
    for _ in range(times):
        began = perf_counter()
        work()
        taken.append(1e3 * (perf_counter() - began))
    return median(taken)


def costs(lm: dynexit.LanguageModel) -> list[str]:
    """Milliseconds of a plain step's layers, of the head by size, and of gathering rows of it."""
    model, depth = lm.model, lm.num_layers
    hidden, span = model.embed([5]), Span(model.new_cache(), 0, 1)
    timed = {
        "layers": lambda: model.run_layers(hidden, model.rows([span]), 0, depth),
        "whole head": lambda: model.read(hidden),
    }
    timed |= {f"head of {n} rows": lambda n=n: model.read(hidden, n) for n in SIZES}
    chosen = [DraftTokens(range(count), count) for count in GATHERED]
    timed |= {f"gathering {len(one.tokens)}": lambda one=one: model.draft_by(one) for one in chosen}
    return [f"{name}: {milliseconds(work):.3f} ms" for name, work in timed.items()]


@torch.inference_mode()
def main(name: str, data: str, count: str = "6", tokens: str = "160") -> None:
    lm = dynexit.load(name, check=False)
    assert lm.learned is not None, "run `dynexit learn` on the model first"
    frequent = list(lm.learned.frequent)
    for language, prompts in prompts_of(Path(data), int(count)).items():
        found: dict[str, list[tuple[float, float]]] = {}
        for prompt in prompts:
            chat = bool(lm.tokenizer.loaded.chat_template)
            ids = lm.prompt_tokens(prompt, chat)
            new = lm.generate(ids, "vanilla", max_new_tokens=int(tokens)).token_ids
            for choice, one in shares([*ids, *new], len(ids), frequent).items():
                found.setdefault(choice, []).append(one)
        for choice, all_of in found.items():
            held, rows = (sum(part) / len(part) for part in zip(*all_of, strict=True))
            sys.stdout.write(f"{language}: {choice}: {held:.1%} of the text, {rows:.0f} rows\n")
    sys.stdout.write("\n".join(costs(lm)) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
