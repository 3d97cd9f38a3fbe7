"""How good the texts are: task scores over all of a method's texts."""

from collections.abc import Sequence
from statistics import fmean

import numpy as np

from dynexit.bench.report.generation import Generation
from dynexit.errors import DynexitError

GRAM = 4  # tokens


def task_scores(texts: Sequence[Generation]) -> dict[str, float]:
    """Scores over texts of one task and method; {} without references.

    The mean of the texts' own, except for what the task computes of a whole corpus.
    """
    names = dict.fromkeys(name for one in texts for name in one.scores)
    means = {name: fmean(one.scores[name] for one in texts if name in one.scores) for name in names}
    return means | _of_corpus(texts) if means else {}


def repeated(texts: Sequence[Generation]) -> float | None:
    """Share of n-grams that stood earlier in the same text; None of texts too short to have any."""
    total = distinct = 0
    for one in texts:
        ids = np.frombuffer(one.token_ids, np.int64).tolist()
        grams = list(zip(*(ids[start:] for start in range(GRAM)), strict=False))
        total += len(grams)
        distinct += len(set(grams))
    return (total - distinct) / total if total else None


def _of_corpus(texts: Sequence[Generation]) -> dict[str, float]:
    """What the task scores over all texts together; {} where that is the mean over texts."""
    from dynexit.tasks import Task, make_task

    try:
        task = make_task(texts[0].task)
    except DynexitError:  # a task of another version
        return {}
    if type(task).score_all is Task.score_all:
        return {}
    return task.score_all([one.text for one in texts], [one.reference for one in texts])
