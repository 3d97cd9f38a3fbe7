"""Windowed drafts in long texts of a real model: what they bring, and how often they are right.

    python benchmarks/long_texts.py MODEL TEXT_FILE... [--lengths 2000,7900] [--tokens 64]

Each file's first tokens are a prompt, whose keys and values all methods share.
"""

import argparse
import sys
from pathlib import Path

import dynexit

METHODS = (
    *("vanilla", "window:speculation_length=1", "window:speculation_length=4"),
    *("window:recent=1024,speculation_length=4", "window", "lookup"),
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--lengths", default="2000,7900")
    parser.add_argument("--tokens", type=int, default=64)
    given = parser.parse_args()
    lm = dynexit.load(given.model, check=False)
    for length in map(int, given.lengths.split(",")):
        found: dict[str, list] = {}
        for file in given.files:
            prompt = lm.prompt_tokens(file.read_text(encoding="utf-8")[: 8 * length])[:length]
            reuse, plain = lm.reuse(), None
            for method in METHODS:
                options = {"max_new_tokens": given.tokens, "ignore_eos": True, "reuse": reuse}
                made = lm.generate(prompt, method, **options)
                plain = plain or made.token_ids
                assert made.token_ids == plain, f"{method} wrote another text"
                found.setdefault(method, []).append(made.stats)
        slow = sum(s.decode_seconds for s in found["vanilla"])
        for method, stats in found.items():
            taken = sum(s.decode_seconds for s in stats)
            tokens, rounds = sum(s.tokens for s in stats), sum(len(s.rounds) for s in stats)
            drafted = sum(s.drafted for s in stats) or 1
            sys.stdout.write(
                f"{length} positions, {method}: {1e3 * taken / tokens:.1f} ms a token, "
                f"{slow / taken:.2f}x, {tokens / rounds:.2f} tokens a round, "
                f"{sum(s.accepted for s in stats) / drafted:.0%} accepted\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
