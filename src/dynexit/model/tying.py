"""Whether a checkpoint's head is its embedding: asked of the files, as transformers does.

A configuration may say that they are one where the files hold two. They are one if the two are
equal, and where there is one alone, under either name.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from dynexit.model.weights import Part

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
Wanted = dict[str, tuple[Part, ...]]


def are_one(held: Mapping[str, Path]) -> bool:
    """Whether `held`, the names of tensors and their files, gives one matrix for both."""
    if not {EMBEDDING, HEAD} <= held.keys():
        return True
    return torch.equal(*(_read(held[name], name) for name in (EMBEDDING, HEAD)))


def named_as_held(wanted: Wanted, held: Mapping[str, Path]) -> Wanted:
    """A weight map whose shared matrix has the name under which a checkpoint holds it."""
    if "head.weight" in wanted or EMBEDDING in held or HEAD not in held:
        return wanted
    (part,) = wanted["embedding.weight"]
    return {**wanted, "embedding.weight": (Part(HEAD, part.start, part.stop),)}


def _read(file: Path, name: str) -> Tensor:
    with safe_open(file, framework="pt") as opened:
        return opened.get_tensor(name)
