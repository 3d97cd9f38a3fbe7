"""A model continues the beginnings of a recipe's training texts, greedily: text to train a draft
model on, which should say what the model says.

Texts go to a file of JSON lines, `text` with the beginning included.
"""

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import dynexit
from dynexit.learning.writing import Order, Writer
from dynexit.training.corpus import read_domain
from dynexit.training.recipe import Recipe, load_recipe

BEGINNING = 16, 96  # tokens of a text that the model continues


def main() -> None:
    """Write until there are enough tokens."""
    given = arguments()
    lm = dynexit.load(given.model, check=False)
    tokenizer = lm.tokenizer
    if tokenizer is None:
        sys.exit(f"{given.model} has no tokenizer.")
    recipe = load_recipe(given.recipe)
    begun = beginnings(recipe, given.data_dir, tokenizer.encode)
    writer, began, count = Writer(lm.model, lm.eos, 32, given.longest), monotonic(), 0
    with given.out.open("w", encoding="utf-8") as file:

        def order() -> Order | None:
            return Order(next(begun), 0.0, 0, None) if count < given.tokens else None

        for text in writer.write(order, lambda _: None):
            count += len(text.tokens)
            file.write(json.dumps({"text": tokenizer.loaded.decode(text.tokens)}) + "\n")
    sys.stdout.write(f"{count} tokens, {count / (monotonic() - began):.0f} a second\n")


def arguments() -> argparse.Namespace:
    """What the user wants."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="folder, GGUF file, hub id or bundled")
    parser.add_argument("recipe", type=Path, help="whose domains the beginnings come from")
    parser.add_argument("data_dir", type=Path, help="folder of the recipe's texts")
    parser.add_argument("out", type=Path, help="file of JSON lines")
    parser.add_argument("--tokens", type=int, default=500_000)
    parser.add_argument("--longest", type=int, default=160, help="new tokens of a text")
    return parser.parse_args()


def beginnings(
    recipe: Recipe, data_dir: Path, encode: Callable[[str], list[int]]
) -> Iterator[list[int]]:
    """Of training texts, never of held-out ones, drawn by the domains' weights."""
    draw = random.Random(recipe.seed)
    texts = [read_domain(each, data_dir, recipe.seed).training for each in recipe.domains]
    weights = [each.weight for each in recipe.domains]
    while True:
        (domain,) = draw.choices(texts, weights)
        tokens = encode(draw.choice(domain)[:2_000])
        if len(tokens) >= BEGINNING[0]:
            yield tokens[: draw.randint(*BEGINNING)]


if __name__ == "__main__":
    main()
