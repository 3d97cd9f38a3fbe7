"""A chat model writes texts to train on, thousands at a time: through transformers, best on a GPU.

The prompts are those of `dynexit learn`, and a user's. Half the batches are greedy, half are drawn.
Texts go to a file of JSON lines, `text` with the chat template's own tokens, prompt included.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from dynexit.errors import DynexitError
from dynexit.learning.prompts import in_turn, is_held_out, make_prompt, rewrites
from dynexit.model.dtypes import fast_dtype, parse_device
from dynexit.model.loading import load_eos, load_model, load_shape
from dynexit.model.saving import save_checkpoint
from dynexit.model.tokenizer import CheckpointTokenizer, load_tokenizer

LONGEST_PROMPT = 256  # tokens
FIRST = 1_000_000  # number of the first prompt: those of `dynexit learn` come before
LOOP = 24  # tokens that end a text when they come a second time


def main() -> None:
    """Write until there are enough tokens, or no time is left."""
    given = arguments()
    device = parse_device(None)
    tokenizer = load_tokenizer(given.model)
    if tokenizer is None:
        sys.exit(f"{given.model} has no tokenizer.")
    model = transformers_model(given.model, device)
    ends = load_eos(given.model, tokenizer.eos)
    prompts, sources = [*own_prompts(given.prompts)], []
    began, written = monotonic(), 0
    with given.out.open("w", encoding="utf-8") as file:
        for batch in count():
            if written >= given.tokens or monotonic() - began > given.seconds:
                break
            asked = take(prompts, sources, batch, given.batch)
            texts = write(model, tokenizer, asked, ends, given.longest, greedy=batch % 2 == 0)
            for prompt, new in texts:
                written += len(new)
                text = tokenizer.loaded.decode([*prompt, *new])
                file.write(json.dumps({"text": text}) + "\n")
            sources += [tokenizer.decode(new) for _, new in texts[:200] if len(new) > 60]
            speed = written / (monotonic() - began)
            sys.stdout.write(f"batch {batch}: {written} tokens, {speed:.0f} a second\n")


def arguments() -> argparse.Namespace:
    """What the user wants."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="folder or GGUF file")
    parser.add_argument("out", type=Path, help="file of JSON lines")
    parser.add_argument("--tokens", type=int, default=5_000_000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--batch", type=int, default=2_048)
    parser.add_argument("--longest", type=int, default=288, help="new tokens of a text")
    parser.add_argument(
        "--prompts",
        type=Path,
        help="strings of JSON, one a line, half of each batch while there are any",
    )
    return parser.parse_args()


def transformers_model(checkpoint: Path, device: torch.device) -> Any:
    """The model as transformers runs it."""
    loaded = load_model(checkpoint, load_shape(checkpoint), torch.float32, torch.device("cpu"))
    with TemporaryDirectory() as folder:
        save_checkpoint(loaded, Path(folder), fast_dtype(device))
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=fast_dtype(device))
    return model.to(device).eval()


def own_prompts(file: Path | None) -> Iterator[str]:
    """Each line is a string of JSON."""
    if file is not None:
        yield from (json.loads(line) for line in file.read_text("utf-8").splitlines())


def take(own: list[str], sources: Sequence[str], batch: int, size: int) -> list[str]:
    """The prompts of a batch: half of a user's while there are any, the others built in."""
    asked = [own.pop() for _ in range(min(len(own), size // 2))]
    numbers = (n for n in count(FIRST + batch * size) if not is_held_out(n))
    made = (
        make_prompt(family, number, True, sources).text
        for number in numbers
        for family in in_turn()
        if sources or not rewrites(family)
    )
    return asked + list(islice(made, size - len(asked)))


@torch.inference_mode()
def write(
    model: Any,
    tokenizer: CheckpointTokenizer,
    prompts: Sequence[str],
    ends: frozenset[int],
    longest: int,
    greedy: bool,
) -> list[tuple[list[int], list[int]]]:
    """Token ids of prompts and of what follows them."""
    encoded = [encode(tokenizer, prompt) for prompt in prompts]
    encoded = [ids for ids in encoded if ids and len(ids) <= LONGEST_PROMPT]
    width, pad = max(map(len, encoded)), min(ends)
    ids = torch.tensor([[pad] * (width - len(one)) + one for one in encoded], device=model.device)
    seen = torch.tensor(
        [[0] * (width - len(one)) + [1] * len(one) for one in encoded], device=model.device
    )
    how = {"do_sample": False} if greedy else {"do_sample": True, "temperature": 1.0, "top_k": 0}
    out = model.generate(
        input_ids=ids,
        attention_mask=seen,
        max_new_tokens=longest,
        eos_token_id=sorted(ends),
        pad_token_id=pad,
        **how,
    )
    new = out[:, width:].tolist()
    return [(one, whole(text, ends)) for one, text in zip(encoded, new, strict=True)]


def encode(tokenizer: CheckpointTokenizer, prompt: str) -> list[int]:
    """A message's tokens; none where the template cannot write it."""
    try:
        return tokenizer.encode_chat([{"role": "user", "content": prompt}])
    except DynexitError:
        return []


def whole(tokens: list[int], ends: frozenset[int]) -> list[int]:
    """A text up to its end, or to where it goes round in a loop."""
    end = next((i for i, token in enumerate(tokens) if token in ends), len(tokens))
    seen: set[tuple[int, ...]] = set()
    for stop in range(LOOP, end + 1):
        piece = tuple(tokens[stop - LOOP : stop])
        if piece in seen:
            return tokens[:stop]
        seen.add(piece)
    return tokens[:end]


if __name__ == "__main__":
    main()
