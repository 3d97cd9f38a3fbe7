"""Groups of real processes: this one is rank 0, the others run what it announces."""

import multiprocessing
import os
import sys
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

sys.path.append(str(Path(__file__).parents[1] / "decoding"))

from tiny import LLAMA

from dynexit import LanguageModel
from dynexit.model.config import ModelConfig
from dynexit.model.interface import Span
from dynexit.model.loading import load_model, load_shape
from dynexit.model.ranks.group import Seat, join, leave
from dynexit.model.ranks.loading import load_sharded
from dynexit.model.ranks.working import work

# 29 tokens and MLPs of 26 are not to be divided by 2 or 4.
WIDE = replace(LLAMA, num_heads=8, num_kv_heads=4, intermediate_size=26)
LARGE = ModelConfig("llama", 29, 512, 2_048, 8, 8, 4, 64, 160)  # 35M parameters
SHAPES = {
    "llama": WIDE,
    "one-head-each": replace(WIDE, num_heads=4, tie_embeddings=True),
    "biases": replace(WIDE, qkv_bias=True, out_bias=True, mlp_bias=True),
    "seed-oss-biases": replace(WIDE, family="qwen2", qkv_bias=True),
    "qwen3": replace(WIDE, family="qwen3", qk_norm=True),
}
CPU = torch.device("cpu")
FORKS = multiprocessing.get_context("fork")  # PyTorch need not be imported again


def tell(sentence: str) -> None:
    """On standard error."""
    os.write(2, f"{sentence}\n".encode())


def helper(rank: int, size: int, address: str, change: str) -> None:
    """What a process other than rank 0 does."""
    exec(change, {})
    work(join(Seat(rank, size, address), tell))


def helpers(size: int, folder: Path, change: str = "") -> list[Any]:
    """The processes beside rank 0, which run `change` first."""
    address = f"file://{folder}/meet"
    given = [(rank, size, address, change) for rank in range(1, size)]
    found = [FORKS.Process(target=helper, args=one) for one in given]
    for one in found:
        one.start()
    return found


@contextmanager
def joined(size: int, folder: Path):
    """A group, until its end; all processes must end well."""
    others = helpers(size, folder)
    try:
        ranks = join(Seat(0, size, f"file://{folder}/meet"), tell)
        yield ranks
        leave()
        for other in others:
            other.join(10)
        assert [other.exitcode for other in others] == [0] * (size - 1)
    finally:
        for other in others:
            other.kill()


def shared(ranks, folder: Path, dtype=torch.float64):
    """A checkpoint that all processes hold together."""
    return load_sharded(ranks, None, folder, load_shape(folder), dtype, [CPU])


def alone(folder: Path, dtype=torch.float64):
    """The same in this process."""
    return load_model(folder, load_shape(folder), dtype, CPU)


def text_of(model, prompt, method="vanilla", **options) -> list[int]:
    """Only the new tokens."""
    return LanguageModel(model).generate(prompt, method, **options).token_ids


@torch.inference_mode()
def logits_of(model, prompt, layers):
    rows = model.rows([Span(model.new_cache(), 0, len(prompt))])
    hidden = model.embed(prompt)
    seen = [hidden]
    for start, stop in pairwise((0, *layers)):
        seen.append(model.run_layers(seen[-1], rows, start, stop))
    return torch.stack([model.unembed(states) for states in seen])
