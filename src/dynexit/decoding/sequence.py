"""Decoding of one sequence: its prompt, and the round that advances it.

Not responsible for when a round runs: `prefill` and `round` are generators of requests, which a
scheduler runs and may interleave with those of other sequences.
"""

import dataclasses

from dynexit.decoding.acceptance import choices
from dynexit.decoding.drafters import Drafter
from dynexit.decoding.drafters.grammar import within_grammar
from dynexit.decoding.laps import Laps
from dynexit.decoding.plans import Plan
from dynexit.decoding.prefilling import prefill
from dynexit.decoding.records import Draft, Round
from dynexit.decoding.requests import Steps
from dynexit.decoding.state import Chunk, State
from dynexit.decoding.verifying import bring_home, round_shadow, verify
from dynexit.errors import DynexitError

COURTEOUS = 12  # tokens of a draft while others wait: each of them is a pass


class Decoding(State):
    """One text that grows: first `prefill`, then a `round` at a time until `finish_reason`."""

    def prefill(self) -> Steps[list[Chunk]]:
        """Run the prompt and choose the first token."""
        return prefill(self)

    def round(self) -> Steps[list[Chunk]]:
        """Plan, draft, verify, accept, observe. Returns the text's new tokens."""
        laps = Laps(self.job.clock)
        certain = self.grammar and self.grammar.plan(self)
        plan = self._fit(certain or self._planned())
        self.shadowed = self.shadow_layers if plan.shadow is None else plan.shadow
        control_seconds = laps.lap()
        draft = yield from self._draft(plan)
        draft_seconds = laps.lap()
        verified = yield from verify(self, draft)
        verify_seconds = laps.lap()
        shadow = yield from round_shadow(self, verified)
        control_seconds += laps.lap()
        draft, verdict, logits, _ = verified
        drafter = self.drafters.get(plan.drafter)
        if drafter is not None and drafter.reads and draft.tokens:
            drafter.read(self, draft, choices(draft, logits, self.sampler))
        stays, before = [draft.tokens[row - 1] for row in verdict.path], len(self.tokens)
        logits = bring_home(self, draft, logits, verdict)
        origins = [draft.source_of(row) for row in verdict.path]
        chunks = self.commit(stays, verdict.token, [*origins, verdict.source], logits)
        if self.finish_reason:
            self.remember()
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
        """The controller's plan, once it has considered a drafter's offer."""
        for drafter in self.drafters.values():
            if (offer := drafter.offer(self)) is not None:
                self.controller.consider(offer)
                break
        self.controller.share(self.batch_size)
        self.controller.reach(len(self.tokens))
        return self.controller.plan()

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
