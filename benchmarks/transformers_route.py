"""Tokens per second inside transformers' `generate`, beside our own routes, on the same prompts.

    python benchmarks/transformers_route.py [DTYPE]

The bundled model; routes take turns on every prompt, and times include the prompt's pass.
"""

import sys
from time import perf_counter

import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM

import dynexit
from dynexit.integrations.transformers.trial import adapted
from dynexit.model.dtypes import parse_dtype
from dynexit.model.places import BUNDLED

PROMPTS = [
    "Question: Lena buys 3 boxes of 8 crayons and gives 5 away. How many are left?\nAnswer:",
    "German: Wir fahren morgen mit dem Zug nach Berlin.\nEnglish:",
    "The old house stood at the end of the lane, and nobody in the village",
]
METHODS = ["vanilla", "layerskip:exit_layer=3,speculation_length=3,draft_vocabulary=2048"]
NEW_TOKENS, TURNS = 48, 3


def loaded(dtype):
    return AutoModelForCausalLM.from_pretrained(BUNDLED, dtype=dtype)


def inside(model, **options):
    """`generate` of a loaded model: how many tokens it writes after these ids."""
    settings = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "pad_token_id": 0, **options}

    def write(ids):
        given = torch.tensor([ids])
        made = model.generate(given, attention_mask=torch.ones_like(given), **settings)
        return made.shape[1] - len(ids)

    return write


def ours(lm, method):
    return lambda ids: len(lm.generate(ids, method, max_new_tokens=NEW_TOKENS).token_ids)


def routes(dtype):
    """Name -> function of prompt ids; the same weights in the same dtype everywhere."""
    shared, packed = loaded(dtype), dynexit.accelerate(loaded(dtype), release=True)
    by_layers = dynexit.LanguageModel(adapted(loaded(dtype)))
    speculative = {"custom_generate": dynexit.generate_hf}
    found = {"generate": inside(shared)}
    for method in METHODS:
        name, options = method.partition(":")[0], {**speculative, "method": method}
        found[f"generate_hf, shared weights, {name}"] = inside(shared, **options)
        found[f"generate_hf, accelerated, {name}"] = inside(packed, **options)
        found[f"its own layers, {name}"] = ours(by_layers, method)
        for runtime in ("eager", "native"):
            lm = dynexit.load(dtype=dtype, device="cpu", runtime=runtime, check=False)
            found[f"dynexit, {runtime}, {name}"] = ours(lm, method)
    return found


def main():
    dtype = parse_dtype(sys.argv[1] if len(sys.argv) > 1 else "bf16")
    encode = dynexit.load(dtype=dtype, device="cpu", check=False).tokenizer.encode
    timed = {name: [write, 0, 0.0] for name, write in routes(dtype).items()}
    for turn in range(TURNS + 1):  # the first is not counted
        for ids in map(encode, PROMPTS):
            for entry in timed.values():
                began = perf_counter()
                tokens = entry[0](ids)
                if turn:
                    entry[1] += tokens
                    entry[2] += perf_counter() - began
    table = Table("route", "tok/s", title=f"{dtype}, {torch.get_num_threads()} threads")
    for name, (_, tokens, seconds) in timed.items():
        table.add_row(name, f"{tokens / seconds:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
