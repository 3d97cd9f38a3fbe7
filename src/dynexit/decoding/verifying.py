"""Runs the target over a draft and decides what stays of it."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from dynexit.decoding.acceptance import accept
from dynexit.decoding.records import Draft, ShadowTokens, Verdict
from dynexit.decoding.requests import Segment, Steps, Unembed, Verifying
from dynexit.decoding.sampling import NotNumbersError, UnsettledError
from dynexit.decoding.shadow import gather_states, shadow_tokens
from dynexit.decoding.state import State
from dynexit.model.drafting_rule import homes
from dynexit.model.interface import Span
from dynexit.model.readings import Readings, after_unread

Target = tuple[Tensor | Readings, Sequence[Tensor], Tensor | None]


class Verified(NamedTuple):
    """The result of a verification: the draft that was verified, the verdict, the logits [d + 1, V]
    or readings that decided it, and the hidden states after the layers above the draft's.
    """

    draft: Draft
    verdict: Verdict
    logits: Tensor | Readings
    states: Sequence[Tensor]


def verify(text: State, draft: Draft) -> Steps[Verified]:
    """Run the target over a draft and accept what equals the target's own choices."""
    try:
        return (yield from _verified(text, draft))
    except NotNumbersError:
        if text.model.rows_independent or not draft.tokens:
            raise
        # rows beside it have spoilt the newest token's: a plain step instead
        return (yield from _verified(text, Draft()))


def _verified(text: State, draft: Draft) -> Steps[Verified]:
    logits, states, left = yield from _run(text, draft)
    draft.arrive()
    independent = text.model.rows_independent
    try:
        verdict = accept(draft, logits, text.sampler, independent)
    except UnsettledError:  # the readings do not suffice
        assert left is not None
        logits = yield Unembed(left)
        verdict = accept(draft, logits, text.sampler, independent)
    return Verified(draft, verdict, logits, states)


def _run(text: State, draft: Draft) -> Steps[Target]:
    """Run the target over a draft. Rows continue from the draft's last layer: layers that the draft
    ran are not run again.

    Returns:
        Logits [d + 1, V] or readings of them, the hidden states after the layers above the draft's,
        and those [d + 1, D] after the last layer.
    """
    given: list[int] | Tensor | None = draft.hidden
    if given is None:
        given = [text.tokens[-1], *draft.tokens]
    span = Span(text.cache, text.cache.length, len(given), draft.parents, draft.slot)
    if text.alone and text.best_only and not text.shadowed:
        return (yield Verifying(given, span, draft.layer, text.depth)), (), None
    hidden = given if isinstance(given, Tensor) else text.model.embed(given)
    late: list[Tensor] | None = [] if text.shadowed else None
    hidden = yield Segment(hidden, span, draft.layer, text.depth, late)
    settles = text.sampler.settles and text.job.logprobs is None
    known = draft.certain if settles else 0
    logits = yield Unembed(hidden[known:], text.best_only or settles)
    return after_unread(logits, known), late or (), hidden


def bring_home(
    text: State, draft: Draft, logits: Tensor | Readings, verdict: Verdict
) -> Tensor | Readings:
    """Move keys and values of a tree's accepted path to their positions. Returns the path's logits,
    as of a chain.
    """
    if draft.parents is None:
        return logits
    home = homes(draft.parents)
    for position, row in enumerate(verdict.path, text.cache.length + 1):
        if not home[row]:
            text.cache.move(draft.slot + row, position)
    return logits[[0, *verdict.path]] if isinstance(logits, Tensor) else logits


def round_shadow(text: State, verified: Verified) -> Steps[ShadowTokens | None]:
    """Shadow tokens of the positions that a verdict commits; None where no states were kept."""
    draft, verdict, logits, states = verified
    if not states:
        return None
    accepted = draft.tokens[: verdict.accepted]
    layers = text.shadowed
    gathered = gather_states(draft.states, states, len(accepted) + 1, layers)
    target = [*accepted, verdict.token]
    if isinstance(logits, Tensor) and text.sampler.sampling.speculative:
        # tokens are drawn: count what the shared noise would choose
        target = text.sampler.choose(logits[: len(target)], accepted).tokens
    return (
        yield from shadow_tokens(
            *(gathered, layers, target, text.sampler, accepted, 0),
            *(text.draft_vocabulary, text.text_tokens),
        )
    )
