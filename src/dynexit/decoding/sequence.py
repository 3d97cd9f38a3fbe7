"""Decoding of one sequence: its state, and the round that advances it.

Not responsible for when a round runs: `prefill` and `round` are generators of requests, which a
scheduler runs and may interleave with those of other sequences.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from dynexit.decoding.acceptance import accept, choices
from dynexit.decoding.controllers.base import Controller
from dynexit.decoding.drafters import Drafter, Given, make_drafters
from dynexit.decoding.drafters.grammar import GRAMMAR, GrammarDrafter, within_grammar
from dynexit.decoding.earlier import added
from dynexit.decoding.facts import Facts
from dynexit.decoding.job import Job
from dynexit.decoding.laps import Laps
from dynexit.decoding.logprobs import TokenLogprobs, following_logprobs, token_logprobs
from dynexit.decoding.plans import Plan
from dynexit.decoding.records import Draft, FinishReason, Round, ShadowTokens, Source, Verdict
from dynexit.decoding.requests import Segment, Steps, Turn, Unembed, Verifying
from dynexit.decoding.sampling import NO_TOKEN, NotNumbersError, Sampler, UnsettledError
from dynexit.decoding.shadow import gather_states, shadow_tokens
from dynexit.decoding.statistics import Statistics
from dynexit.errors import DynexitError
from dynexit.model.drafting_rule import homes
from dynexit.model.interface import BLOCK, Model, SavedCache, Span
from dynexit.model.readings import Readings, after_unread
from dynexit.model.text_tokens import TextTokens

PREFILL_ROWS = 256  # more are somewhat faster, but their activations take as much more memory
COURTEOUS = 12  # tokens of a draft while others wait: each of them is a pass


class Chunk(NamedTuple):
    """One token of the text: its id, its source, and the text that is final with it.

    Text that is released at the end, without a new token, has no ids.
    """

    text: str
    token_ids: list[int]
    source: Source
    logprobs: TokenLogprobs | None = None  # where the sequence was asked for them


class Verified(NamedTuple):
    """The result of a verification: the target's logits [d + 1, V] or readings of them, the hidden
    states after the layers above the draft's, and those [d + 1, D] after the last layer.
    """

    logits: Tensor | Readings
    states: Sequence[Tensor] = ()
    left: Tensor | None = None


class Decoding:
    """Tokens, cache and controller of one text. `cache.length` is always `len(tokens) - 1`.

    Attributes:
        batch_size: sequences that run their rounds together, including this one.
        awaited: whether other sequences wait for this one's draft or round to end.
        draft_vocabulary: tokens of the head that exits choose among; None is all.
    """

    def __init__(self, model: Model, controller: Controller, facts: Facts, job: Job) -> None:
        self.model, self.controller = model, controller
        self.limits, self.text = job.limits, job.text
        self._job, self.batch_size, self.awaited = job, 1, False
        self.prompt_logprobs: list[TokenLogprobs] = []
        self.end_logprobs: TokenLogprobs | None = None  # of the token that ended the text
        controller.start(facts)
        self.draft_vocabulary = facts.draft_vocabulary
        limit = facts.draft_vocabulary if controller.text_tokens and model.reads_text else None
        trims = limit is not None and limit < model.vocabulary_size
        self._text_tokens = model.new_text_tokens(limit) if limit and trims else None
        self.depth = controller.target_layer()
        self._all_read = _layers_read(controller, self.depth)
        self.shadowed = self._all_read  # layers whose shadow tokens the round brings
        self.tokens = list(job.prompt)
        self.prompt_length = len(job.prompt)
        self.cache = model.new_cache()
        self.sampler = Sampler(job.sampling, self.tokens, *self.limits.forbidden, job.guide)
        self.drafters = make_drafters(
            controller.drafters, Given(controller.proposers, facts, job.second)
        )
        self._grammar: GrammarDrafter | None = None
        if job.guide is not None and controller.drafts:
            self.drafters[GRAMMAR] = self._grammar = GrammarDrafter(job.guide)
        self.finish_reason: FinishReason | None = None
        self.stats = Statistics(self.depth)
        self.chunks: list[Chunk] = []

    def release(self) -> None:
        """Free the KV cache. The text stays, but no further round can run."""
        self.cache, self.drafters = self.model.new_cache(), {}
        self._text_tokens = None

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
    def text_tokens(self) -> TextTokens | None:
        """What the text so far adds to the tokens that exits choose among; None is nothing."""
        if self._text_tokens is not None:
            self._text_tokens.follow(self.tokens)
        return self._text_tokens

    @property
    def _best_only(self) -> bool:
        return self.sampler.best_only and self._job.logprobs is None

    def prefill(self) -> Steps[list[Chunk]]:
        """Run the prompt and choose the first token."""
        began = self._job.clock()
        states: list[Tensor] = []
        wanted = self.controller.prompt_positions if self._all_read else 0
        start = yield from self._recall(wanted)
        for stop in _chunk_ends(start, len(self.tokens)):
            hidden = self.model.embed(self.tokens[start:stop])
            span, last = Span(self.cache, start, stop - start), stop == len(self.tokens)
            taps = states if wanted and last else None
            hidden = yield Segment(hidden, span, 0, self.depth, taps, wanted + 1)
            if self._job.prompt_logprobs:
                following = self.tokens[start + 1 : stop + 1]
                scored = yield from following_logprobs(hidden, following, self._job.logprobs or 0)
                self.prompt_logprobs += scored
            start = stop
        if not self.limits.max_new_tokens:
            return self._read_only(began)
        logits = yield Unembed(hidden[-1:], self._best_only)
        if (token := self.sampler.judge(logits)[0]) == NO_TOKEN:
            raise NotNumbersError(self.sampler.restricted)
        if states and len(states[0]) > 1:
            self.controller.observe_prompt((yield from self._prompt_shadow(states)))
        for drafter in self.drafters.values():
            yield from drafter.prefill(self)
        chunks = self._commit([], token, ["target"], logits)
        self._remember()
        self.stats.prefill_seconds = self._job.clock() - began
        return chunks

    def _recall(self, wanted: int) -> Steps[int]:
        """Restore the prompt's prefix from the prefix cache, except the last token and those whose
        hidden states are needed. Returns the number of restored positions.
        """
        reuse, fresh = self._job.reuse, len(self.tokens) - 1 - wanted
        known = reuse.prefixes
        if known is None or self._job.prompt_logprobs or not self._whole or fresh < BLOCK:
            return 0
        yield Turn()
        found = known.restore(cast(SavedCache, self.cache), self.tokens[:fresh], reuse.salt)
        self.stats.cached_tokens = found
        return found

    def _remember(self) -> None:
        """Keep what later texts may reuse: keys and values so far, and a finished text's tokens."""
        reuse = self._job.reuse
        if self.finish_reason and self.generated and reuse.earlier is not None:
            reuse.earlier.add(added(self.tokens, self.prompt_length))
        if reuse.prefixes is not None and self._whole:
            reuse.prefixes.keep(cast(SavedCache, self.cache), self.tokens, reuse.salt)

    @property
    def _whole(self) -> bool:
        """Whether all layers have computed this text's keys and values."""
        return self.depth == self.model.config.num_layers

    def _read_only(self, began: float) -> list[Chunk]:
        """End a text that only reads its prompt."""
        self.cache.length, self.finish_reason = len(self.tokens) - 1, "length"
        self._remember()
        self.stats.prefill_seconds = self._job.clock() - began
        return []

    def round(self) -> Steps[list[Chunk]]:
        """Plan, draft, verify, accept, observe. Returns the text's new tokens."""
        laps = Laps(self._job.clock)
        certain = self._grammar and self._grammar.plan(self)
        if not certain:
            self._consider()
        plan = self._fit(certain or self._planned())
        self.shadowed = self._all_read if plan.shadow is None else plan.shadow
        control_seconds = laps.lap()
        draft = yield from self._draft(plan)
        draft_seconds = laps.lap()
        logits, states, left = yield from self._verify(draft)
        draft.arrive()
        try:
            verdict, logits = yield from self._accept(draft, logits, left)
        except NotNumbersError:
            if self.model.rows_independent or not draft.tokens:
                raise
            draft = Draft()  # rows beside it have spoilt the newest token's: a plain step instead
            logits, states, left = yield from self._verify(draft)
            verdict, logits = yield from self._accept(draft, logits, left)
        verify_seconds = laps.lap()
        shadow = (yield from self._shadow(draft, states, logits, verdict)) if states else None
        control_seconds += laps.lap()
        drafter = self.drafters.get(plan.drafter)
        if drafter is not None and drafter.reads and draft.tokens:
            drafter.read(self, draft, choices(draft, logits, self.sampler))
        stays, before = [draft.tokens[row - 1] for row in verdict.path], len(self.tokens)
        if draft.parents is not None:
            logits = self._bring_home(draft, logits, verdict)
        origins = [draft.source_of(row) for row in verdict.path]
        chunks = self._commit(stays, verdict.token, [*origins, verdict.source], logits)
        if self.finish_reason:
            self._remember()
        finished = Round(
            plan=plan,
            drafted=verdict.drafted,
            accepted=verdict.accepted,
            tokens=len(self.tokens) - before,
            position=before,
            draft=draft.bare(),
            path=verdict.path,
            shadow=shadow,
            agreement=draft.agreement,
            found=draft.found,
            draft_seconds=draft_seconds,
            verify_seconds=verify_seconds,
            control_seconds=control_seconds,
            text_seconds=laps.lap(),
        )
        try:
            if not certain:  # such a round is no controller's
                self.controller.observe(finished)
        finally:  # the text has the round already
            finished.control_seconds += laps.lap()
            self.stats.rounds.append(finished.bare())
            self.stats.decode_seconds += laps.total
        return chunks

    def _planned(self) -> Plan:
        """The controller's plan."""
        self.controller.share(self.batch_size)
        return self.controller.plan()

    def _consider(self) -> None:
        """Pass a drafter's offer to the controller."""
        for drafter in self.drafters.values():
            if (offer := drafter.offer(self)) is not None:
                self.controller.consider(offer)
                break

    def _fit(self, plan: Plan) -> Plan:
        """Shorten a plan to fit the text's limit, the context and other sequences.

        Raises:
            DynexitError: the controller planned an exit that this model does not have.
        """
        drafter = self._drafter(plan) if plan.speculation_length else None
        if drafter and drafter.early and not 1 <= plan.exit_layer < self.depth:
            raise DynexitError(
                f"the method planned exit layer {plan.exit_layer}, but this model's early exits "
                f"are 1 to {self.depth - 1}."
            )
        wanted = self.limits.max_new_tokens - self.generated - 1
        room = self.limits.max_positions - len(self.tokens)
        most = COURTEOUS if self.awaited and drafter and drafter.passes else wanted
        length = max(0, min(plan.speculation_length, wanted, room, most))
        if length == plan.speculation_length:
            return plan
        return dataclasses.replace(plan, speculation_length=length)

    def _draft(self, plan: Plan) -> Steps[Draft]:
        """Run the planned drafter."""
        if not plan.speculation_length:
            return Draft()
        draft = yield from self._drafter(plan).draft(self, plan)
        if self.sampler.guide is not None and draft.hidden is None:
            draft.arrive()
            draft = within_grammar(draft, self.sampler.guide, self.new_tokens)
        return draft

    def _drafter(self, plan: Plan) -> Drafter:
        """The drafter that a plan names.

        Raises:
            DynexitError: the controller's `drafters` do not include it.
        """
        if plan.drafter not in self.drafters:
            raise DynexitError(
                f"the method planned drafter {plan.drafter!r}, which its `drafters` do not name."
            )
        return self.drafters[plan.drafter]

    def _verify(self, draft: Draft) -> Steps[Verified]:
        """Run the target over a draft.

        Rows continue from the draft's last layer: layers that the draft ran are not run again.
        """
        given: list[int] | Tensor | None = draft.hidden
        if given is None:
            given = [self.tokens[-1], *draft.tokens]
        span = Span(self.cache, self.cache.length, len(given), draft.parents, draft.slot)
        if self.alone and self._best_only and not self.shadowed:
            return Verified((yield Verifying(given, span, draft.layer, self.depth)))
        hidden = given if isinstance(given, Tensor) else self.model.embed(given)
        late: list[Tensor] | None = [] if self.shadowed else None
        hidden = yield Segment(hidden, span, draft.layer, self.depth, late)
        settles = self.sampler.settles and self._job.logprobs is None
        known = draft.certain if settles else 0
        logits = yield Unembed(hidden[known:], self._best_only or settles)
        return Verified(after_unread(logits, known), late or [], hidden)

    def _accept(
        self, draft: Draft, logits: Tensor | Readings, left: Tensor | None
    ) -> Steps[tuple[Verdict, Tensor | Readings]]:
        """Accept a draft by the readings or, if they do not suffice, the logits. Returns the
        verdict and what decided it.
        """
        independent = self.model.rows_independent
        try:
            return accept(draft, logits, self.sampler, independent), logits
        except UnsettledError:
            assert left is not None
            logits = yield Unembed(left)
            return accept(draft, logits, self.sampler, independent), logits

    def _bring_home(
        self, draft: Draft, logits: Tensor | Readings, verdict: Verdict
    ) -> Tensor | Readings:
        """Move keys and values of the accepted path to their positions. Returns the path's logits,
        as of a chain.
        """
        home = homes(draft.parents or ())
        for position, row in enumerate(verdict.path, self.cache.length + 1):
            if not home[row]:
                self.cache.move(draft.slot + row, position)
        return logits[[0, *verdict.path]] if isinstance(logits, Tensor) else logits

    def _shadow(
        self, draft: Draft, states: Sequence[Tensor], logits: Tensor | Readings, verdict: Verdict
    ) -> Steps[ShadowTokens]:
        """Shadow tokens of the positions that this verdict commits."""
        accepted = draft.tokens[: verdict.accepted]
        layers = self.shadowed
        gathered = gather_states(draft.states, states, len(accepted) + 1, layers)
        target = [*accepted, verdict.token]
        if isinstance(logits, Tensor) and self.sampler.sampling.speculative:
            # tokens are drawn: count what the shared noise would choose
            target = self.sampler.choose(logits[: len(target)], accepted).tokens
        return (
            yield from shadow_tokens(
                *(gathered, layers, target, self.sampler, accepted, 0),
                *(self.draft_vocabulary, self.text_tokens),
            )
        )

    def _prompt_shadow(self, states: list[Tensor]) -> Steps[ShadowTokens]:
        """Shadow tokens of the prompt's last positions but the very last."""
        rows = [state[:-1] for state in states]
        count = rows[0].shape[0]
        target = yield Unembed(rows[-1], self.sampler.best_only)
        chosen = self.sampler.shadow(target, 1, (), -count)[0][0].tolist()
        return (
            yield from shadow_tokens(
                torch.stack([rows[layer - 1] for layer in self._all_read]),
                self._all_read,
                chosen,
                self.sampler,
                (),
                -count,
                self.draft_vocabulary,
                self.text_tokens,
            )
        )

    def _commit(
        self,
        accepted: list[int],
        token: int,
        sources: list[Source],
        logits: Tensor | Readings,
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
        return chunks

    def _said_of(
        self, tokens: list[int], logits: Tensor | Readings
    ) -> list[TokenLogprobs] | list[None]:
        if self._job.logprobs is None or isinstance(logits, Readings):
            return [None] * len(tokens)
        return token_logprobs(logits, tokens, self._job.logprobs)

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


def _chunk_ends(start: int, length: int) -> list[int]:
    """Ends of the prefill's passes from `start` on, of equal length: long enough not to share a
    pass with other sequences' rounds. The last one has the rows whose states seed the controller.
    """
    passes = -(-(length - start) // PREFILL_ROWS)
    return [start + (length - start) * (index + 1) // passes for index in range(passes)]
