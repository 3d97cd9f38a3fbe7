"""A batch inside transformers' `generate`: its rows together, beside its rows one after the other.

    python benchmarks/transformers_batch.py [METHOD ...]

The bundled model in bf16, accelerated; both ways take turns, and times include the prompts' passes.
"""

import sys
from time import perf_counter

import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM, AutoTokenizer

import dynexit
from dynexit.model.places import BUNDLED

PROMPTS = [
    "Question: Lena buys 3 boxes of 8 crayons and gives 5 away. How many are left?\nAnswer:",
    "German: Wir fahren morgen mit dem Zug nach Berlin.\nEnglish:",
    "The old house stood at the end of the lane, and nobody in the village",
    "def area(width, height):\n",
    "Question: A box holds 12 pens. How many pens are in 7 boxes?\nAnswer:",
    "German: Das Haus meiner Eltern ist sehr alt.\nEnglish:",
    "import os\n\n\nclass Cache:\n",
    "In the morning the rain had stopped, and",
]
BATCHES, TURNS, NEW_TOKENS = (1, 4, 8), 4, 48


def written(model, inputs, method):
    """(new tokens, seconds) of one call, padding not counted."""
    began = perf_counter()
    made = model.generate(
        **inputs,
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        pad_token_id=0,
        return_dict_in_generate=True,
        custom_generate=dynexit.generate_hf,
        method=method,
    )
    seconds = perf_counter() - began
    return sum(one.tokens + 1 for one in made.statistics), seconds


def rate(calls):
    """Tokens per second of calls, one after the other."""
    tokens, seconds = (sum(part) for part in zip(*calls, strict=True))
    return tokens / seconds


def main():
    model = AutoModelForCausalLM.from_pretrained(BUNDLED, dtype=torch.bfloat16)
    model = dynexit.accelerate(model, release=True)
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    table = Table("method", "rows", "one after the other", "together, tok/s of every turn")
    for method in sys.argv[1:] or ("vanilla", "auto"):
        for count in BATCHES:
            texts = PROMPTS[:count]
            batch = tokenizer(texts, padding=True, return_tensors="pt")
            rows = [tokenizer([text], return_tensors="pt") for text in texts]
            turns = [
                (
                    rate([written(model, row, method) for row in rows]),
                    rate([written(model, batch, method)]),
                )
                for _ in range(TURNS + 1)
            ][1:]  # the first is not counted
            shown = [" ".join(f"{value:.0f}" for value in way) for way in zip(*turns, strict=True)]
            table.add_row(method, str(count), *shown)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
