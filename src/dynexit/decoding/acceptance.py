"""Acceptance: how much of a draft stays. One entry for greedy, shared-noise and speculative.

Sources: Leviathan et al. 2023 and Chen et al. 2023 for speculative sampling.
"""

from torch import Tensor

from dynexit.decoding.records import Draft, Verdict
from dynexit.decoding.sampling import NOT_NUMBERS, Chooser
from dynexit.errors import DynexitError
from dynexit.model.drafting_rule import Leaf
from dynexit.model.readings import Readings


def accept(draft: Draft, target_logits: Tensor | Readings, chooser: Chooser) -> Verdict:
    """The longest acceptable prefix of `draft`, and the target's token after it.

    Args:
        target_logits: [d + 1, V], unprocessed, or what was read off them; row i is what the target
            says after i drafts. Readings of leaves may follow: what it says after each.
    """
    if isinstance(target_logits, Tensor) and chooser.sampling.speculative:
        return _accept_speculative(draft, target_logits, chooser)
    chosen = chooser.judge(target_logits, draft.tokens)
    accepted = 0
    while accepted < len(draft.tokens) and draft.tokens[accepted] == chosen[accepted]:
        accepted += 1
    drafted = len(draft.tokens)
    if draft.leaves and accepted < drafted and (accepted, chosen[accepted]) in draft.leaves:
        leaf = draft.leaves.index(Leaf(accepted, chosen[accepted]))
        return Verdict(accepted, chosen[drafted + 1 + leaf], drafted, leaf)
    return Verdict(accepted, chosen[accepted], drafted)


def _accept_speculative(draft: Draft, target_logits: Tensor, chooser: Chooser) -> Verdict:
    """Accept x with min(1, p(x) / q(x)), else draw from max(p - q, 0): distributed exactly as p."""
    rows = chooser.judged(target_logits, draft.tokens)
    for index, (token, row) in enumerate(zip(draft.tokens, rows, strict=False)):
        target, proposal = _probabilities(row), draft.logits[index][0].double().softmax(-1)
        p, q = float(target[token]), float(proposal[token])
        if chooser.uniform() * q < p:
            continue
        residual = (target - proposal).clamp(min=0)
        weights = residual if float(residual.sum()) > 0 else target
        return Verdict(index, chooser.draw(weights), len(draft.tokens))
    return Verdict(len(draft.tokens), chooser.draw(_probabilities(next(rows))), len(draft.tokens))


def _probabilities(logits: Tensor) -> Tensor:
    exact = logits.double().softmax(-1)
    if bool(exact.isnan().any()):
        raise DynexitError(NOT_NUMBERS)
    return exact
