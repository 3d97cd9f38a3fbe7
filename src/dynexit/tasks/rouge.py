"""ROUGE, as summaries are compared: F-measures on word stems, from 0 to 1."""

from functools import cache
from typing import Any

KINDS = ["rouge1", "rouge2", "rougeL"]


def rouge(text: str, reference: str) -> dict[str, float]:
    """Overlap of words, of pairs of words, and of the longest common subsequence."""
    return {kind: float(s.fmeasure) for kind, s in _scorer().score(reference, text).items()}


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(KINDS, use_stemmer=True)
