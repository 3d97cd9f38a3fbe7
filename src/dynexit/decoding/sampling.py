"""From logits to a token: processors (`processing.py`), and noise keyed by position.

A token is the argmax of processed logits plus Gumbel noise, which depends only on the seed and the
token's position. So the text is a function of target and seed: a method that accepts a drafted
token only where it equals the target's choice generates vanilla's text, token for token, no matter
what was drafted. Greedy decoding is the same rule without noise.
"""

import math
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynexit.decoding.guide import Guide
from dynexit.decoding.processing import Ends, Processors, exact_logits
from dynexit.decoding.sampling_parameters import Sampling
from dynexit.errors import DynexitError
from dynexit.model.readings import Readings

NO_TOKEN = -1  # what is chosen where logits are not numbers, or nothing may be chosen
NOT_NUMBERS = (
    "the model's logits are not numbers (NaN): its weights are damaged, or this dtype is too "
    "narrow for it; try --dtype fp32."
)
NOTHING_LEFT = "bad_words and the constraint leave no token that could be written next."


class NotNumbersError(DynexitError):
    """The target's own logits are NaN, or every token is refused: none can be chosen."""

    def __init__(self, restricted: bool = False) -> None:
        super().__init__(NOTHING_LEFT if restricted else NOT_NUMBERS)


class UnsettledError(Exception):
    """Readings do not suffice to choose a token: the logits are needed."""


@dataclass(frozen=True)
class Choice:
    """Tokens chosen for n rows; confidences and processed logits only where asked for.

    A row where nothing can be chosen has `NO_TOKEN`: a draft's row may never be needed.
    """

    tokens: list[int]
    confidences: list[float]
    logits: Tensor | None  # processed, [n, V]; None where only readings were there


class Sampler:
    """Chooses the tokens of one sequence. It reads the sequence's tokens and never writes them.

    Row i of a call is the token at position `len(tokens) + first + i`; its context is the
    committed tokens and the first `first + i` drafts (for positions of the prompt, where `first`
    is negative, the whole prompt).

    Args:
        ends: tokens that cannot be chosen before the text has `min_new_tokens`.
        guide: leads the text along a grammar.
    """

    def __init__(
        self,
        sampling: Sampling,
        tokens: Sequence[int],
        ends: frozenset[int] = frozenset(),
        min_new_tokens: int = 0,
        guide: Guide | None = None,
    ) -> None:
        self.sampling, self._tokens, self.guide = sampling, tokens, guide
        self._prompt_length = len(tokens)
        self._processors = Processors(sampling, tokens, Ends(ends, min_new_tokens), guide)
        self.seed = secrets.randbits(31) if sampling.seed is None else int(sampling.seed)
        self._noise: dict[tuple[int, torch.dtype], Tensor] = {}
        self._noise_base = len(tokens)
        self._generator: torch.Generator | None = None

    @property
    def best_only(self) -> bool:
        """Whether each row's top token and its probability are enough."""
        return self._processors.idle

    @property
    def by_path(self) -> bool:
        """Whether a row's choice should be computed only if the row is reached."""
        return self.guide is not None

    @property
    def restricted(self) -> bool:
        """Whether some tokens can never be chosen."""
        return self.by_path or bool(self.sampling.banned)

    @property
    def settles(self) -> bool:
        """Whether a row's top token mostly determines the choice under the grammar."""
        return self.guide is not None and self._processors.only_guided

    def settle(self, readings: Readings, row: int, path: list[int]) -> int:
        """The choice of a row after accepted drafts.

        Raises:
            UnsettledError: only logits can tell.
        """
        assert self.guide is not None
        best = int(readings.tokens[row]) if readings.log_sum[row] > -math.inf else None
        token = self.guide.settled(self._tokens[self._prompt_length :], path, best)
        if token is None:
            raise UnsettledError
        return token

    def choose(
        self,
        logits: Tensor | Readings,
        drafts: Sequence[int] = (),
        first: int = 0,
        confident: bool = False,
    ) -> Choice:
        """Choose for logits [n, V], or what was read off them. Ties go to the lowest id."""
        if isinstance(logits, Readings):
            likely = logits.confidence.tolist() if confident else []
            return Choice(_numbers(logits.tokens.tolist(), logits.log_sum.tolist()), likely, None)
        processed = self.process(logits, drafts, first)
        best, index = self._best(processed, first)
        confidences = self.confidence(processed, index).tolist() if confident else []
        return Choice(_numbers(index.tolist(), best.tolist()), confidences, processed)

    def candidates(
        self, logits: Tensor, ranks: int, drafts: Sequence[int], first: int
    ) -> tuple[list[int], list[float]]:
        """The best tokens for a row of logits [1, V], best first, and how likely each is; fewer
        where fewer can be chosen.
        """
        processed = self.process(logits, drafts, first)
        greedy = self.sampling.greedy
        scores = processed if greedy else processed + self.noise(processed, first)
        best, index = scores[0].topk(min(ranks, scores.shape[-1]))  # NaN counts as the greatest
        known = 0 if bool(best.isnan().any()) else int((best > -math.inf).sum())
        likely = self.confidence(processed.expand(known, -1), index[:known])
        return index[:known].tolist(), likely.tolist()

    def best(self, processed: Tensor, first: int = 0) -> list[int]:
        """The best tokens under processed logits [n, V], noise included, or `NO_TOKEN`."""
        best, index = self._best(processed, first)
        return _numbers(index.tolist(), best.tolist())

    def _best(self, processed: Tensor, first: int) -> tuple[Tensor, Tensor]:
        greedy = self.sampling.greedy
        scores = processed if greedy else processed + self.noise(processed, first)
        best, index = scores.max(-1)
        return best, index

    def judge(self, logits: Tensor | Readings, drafts: Sequence[int] = ()) -> list[int]:
        """What the target chooses after each draft, from its logits [d + 1, V].

        A sampler that must not look further ends with its first choice that is no draft.
        """
        return self.choose(logits, drafts).tokens

    def after(self, logits: Tensor, path: Sequence[int]) -> int:
        """What the target chooses from one row's logits [1, V] after drafts that stay. Of a round,
        every such row is asked for once, in order, beginning with an empty path.
        """
        return self.choose(logits, path, len(path)).tokens[0]

    def judged(self, logits: Tensor, drafts: Sequence[int]) -> Iterator[Tensor]:
        """The target's processed logits [V] after each draft; read on only while drafts stay."""
        if not self.by_path:
            yield from self.process(logits, drafts)
            return
        for row in range(len(logits)):
            yield self.process(logits[row : row + 1], drafts, row)[0]

    def shadow(
        self, logits: Tensor | Readings, layers: int, drafts: Sequence[int], first: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """What each of l layers would choose, and how surely: [l * n, V] -> two of [l, n]."""
        if isinstance(logits, Readings):
            return logits.tokens.reshape(layers, -1), logits.confidence.reshape(layers, -1)
        processed = self.process(logits.unflatten(0, (layers, -1)), drafts, first)
        scores = processed if self.sampling.greedy else processed + self.noise(processed, first)
        index = argmax(scores)
        return index.cpu().numpy(), self.confidence(processed, index).float().cpu().numpy()

    @staticmethod
    def confidence(processed: Tensor, index: Tensor) -> Tensor:
        """Probability of the chosen tokens under processed logits [..., V]."""
        exact = exact_logits(processed)
        chosen = exact.gather(-1, index[..., None])[..., 0]
        return (chosen - exact.logsumexp(-1)).exp()

    def process(self, logits: Tensor, drafts: Sequence[int] = (), first: int = 0) -> Tensor:
        """What tokens are chosen from, [..., n, V]: see `Processors`."""
        return self._processors.process(logits, drafts, first)

    def noise(self, like: Tensor, first: int) -> Tensor:
        """Gumbel noise [n, V] of the positions of n rows, drawn once per position."""
        start = len(self._tokens) + first
        positions = range(start, start + like.shape[-2])
        if self._noise_base != len(self._tokens):  # a round is over
            self._noise_base, keep = len(self._tokens), self.sampling.acceptance == "shared-noise"
            kept = self._noise.items() if keep else ()
            self._noise = {key: drawn for key, drawn in kept if key[0] >= self._noise_base}
        return torch.stack([self._noise_at(p, like) for p in positions])

    def _noise_at(self, position: int, like: Tensor) -> Tensor:
        key = position, like.dtype  # a draft model's may be another: it is not the target's noise
        if key not in self._noise:
            generator = torch.Generator(like.device).manual_seed(self._key(position))
            exponential = torch.empty(like.shape[-1], device=like.device, dtype=like.dtype)
            exponential.exponential_(generator=generator)
            tiny = torch.finfo(like.dtype).tiny
            self._noise[key] = exponential.clamp_(min=tiny).log_().neg_()
        return self._noise[key]

    def _key(self, position: int) -> int:
        """Shared noise: a function of seed and position alone. Speculative: anew every round.

        A controller may have seen what was drafted with a position's noise and then rejected, so
        speculative proposals must not be drawn from that noise again.
        """
        if self.sampling.acceptance == "speculative":
            return _mix(_mix(self.seed, len(self._tokens)), position)
        return _mix(self.seed, position)

    def uniform(self) -> float:
        """The next number of a stream of its own in [0, 1), for speculative acceptance."""
        return float(torch.rand((), generator=self._stream(), dtype=torch.float64))

    def draw(self, weights: Tensor) -> int:
        """A token drawn in proportion to `weights` [V]."""
        return int(torch.multinomial(weights.cpu(), 1, generator=self._stream()))

    def _stream(self) -> torch.Generator:
        if self._generator is None:
            self._generator = torch.Generator().manual_seed(_mix(self.seed, -1))
        return self._generator


def _numbers(tokens: list[int], values: list[float]) -> list[int]:
    """The tokens of rows in which one can be chosen: `values` are their best."""
    return [
        token if value > -math.inf else NO_TOKEN
        for token, value in zip(tokens, values, strict=True)
    ]


def argmax(scores: Tensor) -> Tensor:
    """Of the last dimension, the lowest id of equals. On a CPU numpy does it six times as fast."""
    if scores.device.type == "cpu" and scores.dtype in (torch.float32, torch.float64):
        return torch.from_numpy(np.asarray(scores.numpy().argmax(-1)))
    return scores.argmax(-1)


def _mix(seed: int, position: int) -> int:
    """A 63-bit key of (seed, position): neighbours differ widely (splitmix64's finaliser)."""
    z = (seed * 0x9E3779B97F4A7C15 + (position + 2) * 0xD1B54A32D192ED03) & 0xFFFFFFFFFFFFFFFF
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return (z ^ (z >> 31)) >> 1
