"""Generated texts as users see them: finished, or as a stream."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dynexit.decoding.loop import generate
from dynexit.decoding.records import FinishReason
from dynexit.decoding.sequence import Decoding
from dynexit.decoding.state import Chunk
from dynexit.decoding.statistics import Statistics

Prompt = str | Sequence[int]


@dataclass(frozen=True)
class Generation:
    """A finished text.

    `token_ids` are the new tokens, without the prompt and without the EOS that ended them. With a
    stop string, they go up to the token that completed it, while `text` ends before it.
    """

    text: str
    token_ids: list[int]
    stats: Statistics
    finish_reason: FinishReason | None
    seed: int

    @classmethod
    def of(cls, decoding: Decoding) -> "Generation":
        """The text that a decoding has generated so far."""
        return cls(
            "".join(chunk.text for chunk in decoding.chunks),
            decoding.new_tokens,
            decoding.stats,
            decoding.finish_reason,
            decoding.sampler.seed,
        )


class Stream:
    """An iterator over a text's chunks. `output` is the text so far, even after an interruption."""

    def __init__(self, decoding: Decoding) -> None:
        self._decoding, self._chunks = decoding, generate(decoding)

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        return next(self._chunks)

    @property
    def output(self) -> Generation:
        """The text so far."""
        return Generation.of(self._decoding)
