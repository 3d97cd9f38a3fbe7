"""Acceptance: how much of a draft stays. One entry for greedy, shared-noise and speculative.

Sources: Leviathan et al. 2023 and Chen et al. 2023 for speculative sampling.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from dynexit.decoding.records import Draft, Verdict
from dynexit.decoding.sampling import NO_TOKEN, NotNumbersError, Sampler
from dynexit.model.readings import Readings


def accept(
    draft: Draft, target_logits: Tensor | Readings, sampler: Sampler, independent: bool = True
) -> Verdict:
    """The longest acceptable path of `draft`, and the target's token after it.

    Branches are for equal choices: `speculative` drafts are chains.

    Args:
        target_logits: [d + 1, V], unprocessed, or what was read off them; row i is what the target
            says after row i of the draft.
        independent: a row that is no numbers says nothing of the others. It matters only where it
            follows the accepted drafts.

    Raises:
        NotNumbersError: a row that matters is no numbers, or where rows are not independent, any.
    """
    if draft.tokens and not independent and not _are_numbers(target_logits):
        raise NotNumbersError  # before anything is drawn or told: it will be judged again
    if isinstance(target_logits, Tensor) and sampler.sampling.speculative:
        verdict = _accept_speculative(draft, target_logits, sampler)
    elif isinstance(target_logits, Tensor) and draft.parents is not None:
        verdict = _accept_path(draft, target_logits, sampler)
    else:
        verdict = _accept_equal(draft, sampler.judge(target_logits, draft.tokens))
    if verdict.token == NO_TOKEN:
        raise NotNumbersError
    return verdict


def _are_numbers(logits: Tensor | Readings) -> bool:
    if isinstance(logits, Readings):
        return not np.isnan(logits.log_sum).any()
    return not bool(logits.isnan().any())


def _accept_equal(draft: Draft, chosen: Sequence[int]) -> Verdict:
    """Walk down the draft while a child is what the target has chosen, too."""
    count, path, row = len(draft.tokens), [], 0
    parents = range(count) if draft.parents is None else draft.parents
    for child in range(1, count + 1):  # parents come before their children
        if parents[child - 1] == row and draft.tokens[child - 1] == chosen[row]:
            path.append(row := child)
    whole = row not in parents
    return Verdict(path, chosen[row], count, whole)


def _accept_path(draft: Draft, target_logits: Tensor, sampler: Sampler) -> Verdict:
    """The same where a choice depends on the path: a row is asked when the walk comes to it."""
    path: list[int] = []
    tokens: list[int] = []
    parents, row = draft.parents or [], 0
    while True:
        (chosen,) = sampler.choose(target_logits[row : row + 1], tokens, len(tokens)).tokens
        children = (child for child, parent in enumerate(parents, 1) if parent == row)
        found = next((child for child in children if draft.tokens[child - 1] == chosen), None)
        if found is None:
            return Verdict(path, chosen, len(parents), whole=row not in parents)
        path.append(row := found)
        tokens.append(chosen)


def _accept_speculative(draft: Draft, target_logits: Tensor, sampler: Sampler) -> Verdict:
    """Accept x with min(1, p(x) / q(x)), else draw from max(p - q, 0): distributed exactly as p."""
    rows, drafted = sampler.judged(target_logits, draft.tokens), len(draft.tokens)
    for index, (token, row) in enumerate(zip(draft.tokens, rows, strict=False)):
        target, proposal = row.double().softmax(-1), draft.logits[index][0].double().softmax(-1)
        if bool(target.isnan().any()):
            return Verdict(range(1, index + 1), NO_TOKEN, drafted)
        p, q = float(target[token]), float(proposal[token])
        if sampler.uniform() * q < p:
            continue
        residual = (target - proposal).clamp(min=0)
        weights = residual if float(residual.sum()) > 0 else target
        return Verdict(range(1, index + 1), sampler.draw(weights), drafted)
    target = next(rows).double().softmax(-1)
    token = NO_TOKEN if bool(target.isnan().any()) else sampler.draw(target)
    return Verdict(range(1, drafted + 1), token, drafted, whole=True)
