"""The loop: every method's text, one round after the other."""

from collections.abc import Iterator

import torch

from dynexit.decoding.requests import drive
from dynexit.decoding.sequence import Chunk, Sequence


@torch.inference_mode()
def _step(sequence: Sequence, prefill: bool) -> list[Chunk]:
    return drive(sequence.model, sequence.prefill() if prefill else sequence.round())


def generate(sequence: Sequence) -> Iterator[Chunk]:
    """Yield the text's chunks until it ends. The sequence holds tokens, statistics and reason.

    An interrupt inside a round loses that round and nothing else.
    """
    yield from _step(sequence, prefill=True)
    while sequence.finish_reason is None:
        began = sequence.clock()
        chunks = _step(sequence, prefill=False)
        sequence.stats.decode_seconds += sequence.clock() - began
        yield from chunks
