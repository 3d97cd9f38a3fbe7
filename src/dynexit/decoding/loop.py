"""The loop: every method's text, one round after the other."""

from collections.abc import Iterator

import torch

from dynexit.decoding.requests import drive
from dynexit.decoding.sequence import Decoding
from dynexit.decoding.state import Chunk


def generate(sequence: Decoding) -> Iterator[Chunk]:
    """Yield the text's chunks until it ends. The sequence has tokens, statistics and finish reason.

    An interrupt inside a round loses that round and nothing else.
    """
    while sequence.finish_reason is None:
        with torch.inference_mode():
            chunks = _advance(sequence)
        yield from chunks


@torch.inference_mode()
def finish(sequence: Decoding) -> None:
    """Run to the text's end without yielding chunks, which costs less."""
    sequence.text = sequence.text.whole()
    while sequence.finish_reason is None:
        _advance(sequence)


def _advance(sequence: Decoding) -> list[Chunk]:
    """The prompt, or a round."""
    steps = sequence.round() if sequence.chunks else sequence.prefill()
    return drive(sequence.model, steps)
