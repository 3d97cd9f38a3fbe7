"""The state of one text: tokens, cache, controller and drafters.

Not responsible for how the text grows (`prefilling.py`, `sequence.py`).
"""

from typing import NamedTuple, cast

from torch import Tensor

from dynexit.decoding.controllers.base import Controller
from dynexit.decoding.drafters import Given, make_drafters
from dynexit.decoding.drafters.grammar import GRAMMAR, GrammarDrafter
from dynexit.decoding.earlier import added
from dynexit.decoding.facts import Facts
from dynexit.decoding.job import Job
from dynexit.decoding.logprobs import TokenLogprobs, token_logprobs
from dynexit.decoding.records import FinishReason, Source
from dynexit.decoding.sampling import Sampler
from dynexit.decoding.statistics import Statistics
from dynexit.model.interface import Model, SavedCache
from dynexit.model.readings import Readings


class Chunk(NamedTuple):
    """One token of the text: its id, its source, and the text that is final with it.

    Text that is released at the end, without a new token, has no ids.
    """

    text: str
    token_ids: list[int]
    source: Source
    logprobs: TokenLogprobs | None = None  # where the sequence was asked for them


class State:
    """Tokens, cache and controller of one text. `cache.length` is always `len(tokens) - 1`.

    Attributes:
        batch_size: sequences that run their rounds together, including this one.
        awaited: whether other sequences wait for this one's draft or round to end.
        depth: layers of the target.
        shadow_layers: layers whose shadow tokens the controller reads by default.
        shadowed: those whose shadow tokens the present round brings.
        draft_vocabulary: tokens of the head that exits choose among; None is all.
        text_tokens: what the text so far adds to these; None is nothing.
    """

    def __init__(self, model: Model, controller: Controller, facts: Facts, job: Job) -> None:
        self.model, self.controller = model, controller
        self.limits, self.text = job.limits, job.text
        self.job, self.batch_size, self.awaited = job, 1, False
        self.prompt_logprobs: list[TokenLogprobs] = []
        self.end_logprobs: TokenLogprobs | None = None  # of the token that ended the text
        controller.start(facts)
        self.draft_vocabulary = facts.draft_vocabulary
        limit = facts.draft_vocabulary if controller.text_tokens and model.reads_text else None
        trims = limit is not None and limit < model.vocabulary_size
        self.text_tokens = model.new_text_tokens(limit) if limit and trims else None
        self.depth = controller.target_layer()
        self.shadow_layers = self.shadowed = _layers_read(controller, self.depth)
        self.tokens = list(job.prompt)
        self._follow()
        self.prompt_length = len(job.prompt)
        self.cache = model.new_cache()
        self.sampler = Sampler(job.sampling, self.tokens, *self.limits.forbidden, job.guide)
        self.drafters = make_drafters(
            controller.drafters, Given(controller.proposers, facts, job.second)
        )
        self.grammar: GrammarDrafter | None = None
        if job.guide is not None and controller.drafts:
            self.drafters[GRAMMAR] = self.grammar = GrammarDrafter(job.guide)
        self.finish_reason: FinishReason | None = None
        self.stats = Statistics(self.depth)
        self.chunks: list[Chunk] = []

    def release(self) -> None:
        """Free the KV cache. The text stays, but no further round can run."""
        self.cache, self.drafters = self.model.new_cache(), {}
        self.text_tokens = None

    @property
    def new_tokens(self) -> list[int]:
        """The text's tokens, without the prompt and without the EOS that ended them."""
        return self.tokens[self.prompt_length :]

    @property
    def generated(self) -> int:
        """Number of new tokens."""
        return len(self.tokens) - self.prompt_length

    @property
    def alone(self) -> bool:
        """Whether no other sequence shares its passes, so that a draft may be one call."""
        return self.batch_size == 1

    @property
    def best_only(self) -> bool:
        """Whether only the target's top tokens are needed, so that `Readings` suffice."""
        return self.sampler.best_only and self.job.logprobs is None

    @property
    def whole(self) -> bool:
        """Whether all layers have computed this text's keys and values."""
        return self.depth == self.model.config.num_layers

    def remember(self) -> None:
        """Keep what later texts may reuse: keys and values so far, and a finished text's tokens."""
        reuse = self.job.reuse
        if self.finish_reason and self.generated and reuse.earlier is not None:
            reuse.earlier.add(added(self.tokens, self.prompt_length))
        if reuse.prefixes is not None and self.whole:
            reuse.prefixes.keep(cast(SavedCache, self.cache), self.tokens, reuse.salt)

    def commit(
        self, accepted: list[int], token: int, sources: list[Source], logits: Tensor | Readings
    ) -> list[Chunk]:
        """Append tokens until the text ends, and roll the cache back to the tokens kept."""
        tokens, chunks = [*accepted, token], []
        said = self._said_of(tokens, logits)
        for new, origin, logprobs in zip(tokens, sources, said, strict=True):
            self.finish_reason = "stop" if new in self.limits.eos else None
            if self.finish_reason:
                self.end_logprobs = logprobs
                break
            self.tokens.append(new)
            chunks.append(Chunk(self.text.push(new), [new], origin, logprobs))
            self.finish_reason = self._finished()
            if self.finish_reason:
                break
        if self.finish_reason and (rest := self.text.flush()):
            chunks.append(Chunk(rest, [], sources[-1]))
        self.cache.length = len(self.tokens) - 1
        self.chunks += chunks
        self._follow()
        return chunks

    def _follow(self) -> None:
        if self.text_tokens is not None:
            self.text_tokens.follow(self.tokens)

    def _said_of(
        self, tokens: list[int], logits: Tensor | Readings
    ) -> list[TokenLogprobs] | list[None]:
        if self.job.logprobs is None or isinstance(logits, Readings):
            return [None] * len(tokens)
        return token_logprobs(logits, tokens, self.job.logprobs)

    def _finished(self) -> FinishReason | None:
        if self.text.stopped:
            return "stop"
        if self.sampler.guide is not None and self.sampler.guide.over(self.new_tokens):
            return "stop"
        if self.generated >= self.limits.max_new_tokens:
            return "length"
        return "context" if len(self.tokens) > self.limits.max_positions else None


def _layers_read(controller: Controller, depth: int) -> tuple[int, ...]:
    """Layers whose shadow tokens a controller reads by default."""
    if not controller.reads_shadow:
        return ()
    layers = controller.shadow_layers
    return tuple(range(1, depth)) if layers is None else layers
