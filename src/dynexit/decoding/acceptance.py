"""Acceptance: how much of a draft is kept. One entry for greedy, shared-noise and speculative.

Sources: Leviathan et al. 2023 and Chen et al. 2023 for speculative sampling.
"""

from collections.abc import Callable

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
        target_logits: [d + 1, V], unprocessed, or readings of them; row i is the target's after
            row i of the draft.
        independent: rows do not affect each other, so that a NaN row matters only if it follows
            the accepted tokens.

    Raises:
        NotNumbersError: a row that matters is NaN (any row, if they are not independent), or no
            token may be chosen there.
        UnsettledError: the readings do not suffice; logits are needed.
    """
    if draft.tokens and not independent and not _are_numbers(target_logits):
        raise NotNumbersError  # before anything is drawn or told: it will be judged again
    if isinstance(target_logits, Tensor) and sampler.sampling.speculative:
        verdict = _accept_speculative(draft, target_logits, sampler)
    elif isinstance(target_logits, Tensor) and (draft.parents is not None or sampler.by_path):
        rows = target_logits.split(1)  # a choice depends on the path, so only the path is asked
        verdict = _accept_equal(draft, lambda row, path: sampler.after(rows[row], path))
    elif isinstance(target_logits, Readings) and sampler.by_path:
        readings = target_logits
        verdict = _accept_equal(draft, lambda row, path: sampler.settle(readings, row, path))
    else:
        chosen = sampler.judge(target_logits, draft.tokens)
        verdict = _accept_equal(draft, lambda row, path: chosen[row])
    if verdict.token == NO_TOKEN:
        raise NotNumbersError(sampler.restricted)
    return verdict


def choices(draft: Draft, logits: Tensor | Readings, sampler: Sampler) -> list[int]:
    """The target's choice after every row of a draft, accepted or not, or `NO_TOKEN`. Where tokens
    are drawn, or a grammar restricts them, the likeliest one.

    Args:
        logits: as `target_logits` of `accept`.
    """
    if isinstance(logits, Readings):
        return sampler.choose(logits).tokens
    if sampler.by_path or sampler.sampling.speculative:
        likeliest: list[int] = logits.argmax(-1).tolist()
        return likeliest
    if draft.parents is None or sampler.best_only:
        return sampler.choose(logits, draft.tokens).tokens
    paths = map(draft.path_to, range(len(logits)))
    each = zip(logits.split(1), paths, strict=True)
    return [sampler.choose(row, path, len(path)).tokens[0] for row, path in each]


def _are_numbers(logits: Tensor | Readings) -> bool:
    if isinstance(logits, Readings):
        return not np.isnan(logits.log_sum).any()
    return not bool(logits.isnan().any())


def _accept_equal(draft: Draft, choose: Callable[[int, list[int]], int]) -> Verdict:
    """Walk down the draft as long as a child equals the target's choice.

    Args:
        choose: the target's choice after a row and the accepted tokens up to there.
    """
    count, row, path = len(draft.tokens), 0, []
    parents = range(count) if draft.parents is None else draft.parents
    tokens: list[int] = []
    chosen = choose(0, tokens)
    for child in range(1, count + 1):  # parents come before their children
        if parents[child - 1] == row and draft.tokens[child - 1] == chosen:
            path.append(row := child)
            tokens.append(chosen)
            chosen = choose(row, tokens)
    return Verdict(path, chosen, count, whole=row not in parents)


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
