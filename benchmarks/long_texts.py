"""Methods in long texts of a real model: what they bring, and how often drafts are right.

    python benchmarks/long_texts.py MODEL TEXT_FILE... [--lengths 2000,7900] [--tokens 64]
        [--times 1] [--method NAME]...

Each file's first tokens are a prompt, whose keys and values all methods share. Methods take turns,
as often as told. The median is of each turn's speed over the first method's in the same turn.
`--method benchmarks/long_texts.py:Near` is `auto` by costs of short contexts.
"""

import argparse
import sys
from pathlib import Path
from statistics import median

import dynexit
from dynexit.decoding.controllers.auto import Auto
from dynexit.decoding.reuse import Reuse

METHODS = (
    *("vanilla", "window:speculation_length=1", "window:speculation_length=4"),
    *("window:recent=1024,speculation_length=4", "window", "lookup"),
)


class Near(Auto):
    """`auto` that is not told how long the context is."""

    def reach(self, context: int) -> None:
        """Nothing."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--lengths", default="2000,7900")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--method", action="append")
    given = parser.parse_args()
    methods = given.method or METHODS
    lm = dynexit.load(given.model, check=False)
    for length in map(int, given.lengths.split(",")):
        found: dict[str, list] = {}
        for file in given.files:
            prompt = lm.prompt_tokens(file.read_text(encoding="utf-8")[: 8 * length])[:length]
            reuse, plain = Reuse(lm.prefix_cache()), None  # no method drafts from another's text
            for method in given.times * tuple(methods):
                options = {"max_new_tokens": given.tokens, "ignore_eos": True, "reuse": reuse}
                made = lm.generate(prompt, method, **options)
                plain = plain or made.token_ids
                assert made.token_ids == plain, f"{method} wrote another text"
                found.setdefault(method, []).append(made.stats)
        first = [s.decode_seconds / s.tokens for s in found[methods[0]]]
        for method, stats in found.items():
            taken = sum(s.decode_seconds for s in stats)
            tokens, rounds = sum(s.tokens for s in stats), sum(len(s.rounds) for s in stats)
            drafted = sum(s.drafted for s in stats) or 1
            gains = [p * s.tokens / s.decode_seconds for p, s in zip(first, stats, strict=True)]
            sys.stdout.write(
                f"{length} positions, {method}: {1e3 * taken / tokens:.1f} ms a token, "
                f"{median(gains):.2f}x, {tokens / rounds:.2f} tokens a round, "
                f"{drafted / rounds:.2f} drafted, "
                f"{sum(s.accepted for s in stats) / drafted:.0%} accepted\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
