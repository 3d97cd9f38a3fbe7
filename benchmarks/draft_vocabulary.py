"""Which tokens of the head a draft should read: shares of a model's text that they hold, how often
exits are right among them, and costs.

    python benchmarks/draft_vocabulary.py MODEL DATA_DIR [--prompts 6] [-n 160] [--exits 3,5]
        [--learned FOLDER] [--method METHOD ...]

Greedy texts to English instructions, to requests for German and to Python functions; where DATA_DIR
holds training texts, to word problems, to requests for German and to prose. A token that is not
read cannot be drafted, so what a choice does not hold is the acceptance that it loses at most. How
often an exit says what the model says counts what it would say instead, too. Compared, by rows of
the head that a draft reads:

- ids: the first N ids of the vocabulary.
- frequent: the N most frequent tokens of the model's own text (VocabTrim, arXiv 2506.22694).
- with text: the same, and the tokens of prompt and text so far (MicroSpec, arXiv 2605.26444); its
  rows are a mean.

With methods, it times these instead, there and back, with and without the text's own tokens:
speed against plain decoding, tokens per round and the share of drafted tokens that are accepted.
"""

import argparse
import json
import sys
from pathlib import Path
from random import Random
from statistics import mean, median
from time import perf_counter

import torch
from torch import Tensor

import dynexit
from dynexit.learning.learned import read_learned
from dynexit.model.interface import Span
from dynexit.model.text_tokens import TextTokens
from dynexit.tasks.rows import read_file

SIZES = 256, 512, 1_024, 2_048, 4_096, 6_144, 8_192
USUAL = 1_024  # tokens that are read beside those of a text
GATHERED = 1, 32, 256  # rows of the head that are gathered at once
TURNS = 1  # there and back, of all methods
GERMAN = "Übersetze ins Deutsche: "


def prompts_of(data: Path, count: int) -> dict[str, list[str]]:
    """Of a folder with benchmarks, or of one with training texts."""
    if (data / "gsm8k_train.jsonl").exists():
        lines = (data / "tatoeba_eng_deu.tsv").read_text("utf-8").splitlines()
        prose = (data / "wikitext2_valid.txt").read_text("utf-8").splitlines()
        problems = (data / "gsm8k_train.jsonl").read_text("utf-8").splitlines()
        rows = {
            "problems": [json.loads(line)["question"] for line in problems],
            "German": [f"{GERMAN}{line.split(chr(9))[0]}" for line in lines if len(line) > 50],
            "prose": [line.strip()[:300] for line in prose if len(line) > 400],
        }
    else:
        pairs = [row["translation"] for row in read_file(data / "wmt14_de_en_test.jsonl")]
        functions = [row["prompt"] for row in read_file(data / "HumanEval.jsonl.gz")]
        english = Path(__file__).with_name("held_out_instructions.txt")
        rows = {
            "English": english.read_text("utf-8").splitlines(),
            "German": [f"{GERMAN}{pair['en']}" for pair in pairs],
            "code": [f"Complete this Python function:\n{text}" for text in functions],
        }
    draw = Random(5)
    return {kind: draw.sample(found, count) for kind, found in rows.items()}


def choices_of(frequent: list[int], vocabulary: int) -> dict[str, list[int]]:
    sizes = [size for size in SIZES if size < vocabulary]
    found = {f"ids {size}": list(range(size)) for size in sizes}
    return found | {f"frequent {size}": frequent[:size] for size in sizes if size < len(frequent)}


class Read:
    """What exits say of a text, after each of its tokens from the prompt's last on.

    Attributes:
        following: [P], the text's tokens.
        logits: of each exit, [P, V].
    """

    def __init__(self, lm: dynexit.LanguageModel, ids: list[int], start: int, exits: list[int]):
        model, states = lm.model, []
        rows = model.rows([Span(model.new_cache(), 0, len(ids) - 1)])
        model.run_layers(model.embed(ids[:-1]), rows, 0, max(exits, default=1), states)
        self.logits = [model.unembed(states[layer - 1][start - 1 :]) for layer in exits]
        self.ids, self.start = torch.tensor(ids), start
        self.following = self.ids[start:]
        seen = torch.arange(len(ids) - 1)[None] < torch.arange(start, len(ids))[:, None]
        self._unseen = ~seen  # [P, T]: tokens that are not in the text yet

    def of(self, choice: list[int], with_text: bool) -> tuple[float, ...]:
        """The share of the text that a choice holds, its rows, and how often each exit is right."""
        chosen = torch.tensor(choice)
        held, rows = torch.isin(self.following, chosen), float(len(choice))
        if with_text:
            before = self.ids[:-1]
            known = (self.following[:, None] == before[None]) & ~self._unseen
            held = held | known.any(1)
            new = [token for token in self.ids[: self.start].tolist() if token not in set(choice)]
            later = [t for t in self.ids[self.start :].tolist() if t not in {*choice, *new}]
            rows += len(set(new)) + len(set(later)) / 2
        right = [self._right(logits, chosen, with_text) for logits in self.logits]
        return held.float().mean().item(), rows, *right

    def _right(self, logits: Tensor, chosen: Tensor, with_text: bool) -> float:
        best, place = logits[:, chosen].max(1)
        said = chosen[place]
        if with_text:
            own = logits[:, self.ids[:-1]].masked_fill(self._unseen, -torch.inf)
            theirs, at = own.max(1)
            said = torch.where(theirs > best, self.ids[:-1][at], said)
        return (said == self.following).float().mean().item()


def milliseconds(work, times: int = 15) -> float:
    taken = []
    for _ in range(times):
        began = perf_counter()
        work()
        taken.append(1e3 * (perf_counter() - began))
    return median(taken)


def following(model, tokens: list[int]) -> TextTokens:
    found = model.new_text_tokens(USUAL)
    found.follow(tokens)
    return found


def costs(lm: dynexit.LanguageModel) -> list[str]:
    """Milliseconds of a plain step's layers, of the head by size, and of gathering rows of it."""
    model, depth = lm.model, lm.num_layers
    hidden, span = model.embed([5]), Span(model.new_cache(), 0, 1)
    timed = {
        "layers": lambda: model.run_layers(hidden, model.rows([span]), 0, depth),
        "whole head": lambda: model.read(hidden),
    }
    timed |= {f"head of {n} rows": lambda n=n: model.read(hidden, n) for n in SIZES}
    for count in GATHERED:
        some = list(range(USUAL, USUAL + count))
        own = [following(model, some)]
        timed[f"taking {count} rows in place"] = lambda some=some: model.embed(some)
        timed[f"adding {count} tokens of a text"] = lambda some=some: following(model, some)
        timed[f"head of {USUAL} rows and {count} of a text"] = lambda own=own: model.read_with(
            hidden, USUAL, own, True
        )
    return [f"{name}: {milliseconds(work):.3f} ms" for name, work in timed.items()]


@torch.inference_mode()
def compare(lm: dynexit.LanguageModel, prompts: list[list[int]], count: int, exits: list[int]):
    """Of each choice, what `Read.of` says, by the mean over texts."""
    choices = choices_of(list(lm.learned.frequent), lm.model.vocabulary_size)
    found: dict[str, list[tuple[float, ...]]] = {}
    for ids in prompts:
        if not (new := lm.generate(ids, "vanilla", max_new_tokens=count).token_ids):
            continue
        read = Read(lm, [*ids, *new], len(ids), exits)
        every = list(range(lm.model.vocabulary_size))
        found.setdefault("whole head", []).append(read.of(every, with_text=False))
        for choice, chosen in choices.items():
            found.setdefault(choice, []).append(read.of(chosen, with_text=False))
            found.setdefault(f"{choice} with text", []).append(read.of(chosen, with_text=True))
    for choice, all_of in found.items():
        held, rows, *right = map(mean, zip(*all_of, strict=True))
        exit_by_exit = zip(exits, right, strict=True)
        said = ", ".join(f"exit {layer} {share:.1%}" for layer, share in exit_by_exit)
        yield f"{choice}: {held:.1%} of the text, {rows:.0f} rows, {said}"


def race(lm: dynexit.LanguageModel, prompts: list[list[int]], count: int, methods: list[str]):
    """Methods in turn, each with and without tokens of the text."""
    names = ["vanilla"]
    for method in methods:
        joined = f"{method}{',' if '=' in method else ':'}"
        names += [f"{joined}text_tokens={state}" for state in ("false", "true")]
    seconds, totals = dict.fromkeys(names, 0.0), {name: [0, 0, 0, 0] for name in names}
    for number, ids in enumerate([prompts[0], *prompts]):
        for name in (names + names[::-1]) * TURNS:
            stats = lm.generate(ids, name, max_new_tokens=count).stats
            if not number:  # the first text warms up
                continue
            seconds[name] += stats.decode_seconds
            counts = stats.tokens, len(stats.rounds), stats.drafted, stats.accepted
            totals[name] = [sum(pair) for pair in zip(totals[name], counts, strict=True)]
    for name in names:
        tokens, rounds, drafted, accepted = totals[name]
        speed = seconds["vanilla"] / seconds[name]
        share = accepted / drafted if drafted else 0.0
        yield f"{name}: {speed:.3f}x, {tokens / rounds:.2f} tokens a round, {share:.1%} accepted"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("--prompts", type=int, default=6)
    parser.add_argument("-n", "--max-new-tokens", type=int, default=160)
    parser.add_argument("--exits", default="")
    parser.add_argument("--learned", type=Path)
    parser.add_argument("--method", action="append", default=[])
    given = parser.parse_args()
    lm = dynexit.load(given.model, check=False)
    if given.learned:
        lm.learned = read_learned(given.learned, lm.model.vocabulary_size)
        lm.model.draft_by(lm.learned.draft_tokens)
    assert lm.learned is not None, "run `dynexit learn` on the model first"
    chat = bool(lm.tokenizer.loaded.chat_template)
    exits = [int(layer) for layer in given.exits.split(",") if layer]
    for kind, prompts in prompts_of(given.data, given.prompts).items():
        asked = [lm.prompt_tokens(prompt, chat) for prompt in prompts], given.max_new_tokens
        lines = race(lm, *asked, given.method) if given.method else compare(lm, *asked, exits)
        for line in lines:
            sys.stdout.write(f"{kind}: {line}\n")
            sys.stdout.flush()
    if not given.method:
        sys.stdout.write("\n".join(costs(lm)) + "\n")


if __name__ == "__main__":
    main()
