"""Whether a checkpoint's head is tied to its embedding, decided by the files, as transformers does.

A configuration may say that they are tied where the files hold both. They are tied if both are
equal, or if there is only one, under either name.
"""

from collections.abc import Callable, Container
from dataclasses import replace

import torch
from torch import Tensor

from dynexit.model.weights import Part

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
Wanted = dict[str, tuple[Part, ...]]


def are_one(held: Container[str], read: Callable[[str], Tensor]) -> bool:
    """Whether the tensors of these names, which `read` reads, hold one matrix for both."""
    if EMBEDDING not in held or HEAD not in held:
        return True
    return torch.equal(read(EMBEDDING), read(HEAD))


def named_as_held(wanted: Wanted, held: Container[str]) -> Wanted:
    """A weight map whose shared matrix has the name under which a checkpoint holds it."""
    if "head.weight" in wanted or EMBEDDING in held or HEAD not in held:
        return wanted
    (part,) = wanted["embedding.weight"]
    return {**wanted, "embedding.weight": (replace(part, name=HEAD),)}
