"""How good the texts are: task scores over all of a method's texts."""

from collections.abc import Sequence
from statistics import fmean

from dynexit.bench.report.generation import Generation
from dynexit.errors import DynexitError


def task_scores(texts: Sequence[Generation]) -> dict[str, float]:
    """Scores over texts of one task and method; {} without references.

    The mean of the texts' own, except for what the task computes of a whole corpus.
    """
    names = dict.fromkeys(name for one in texts for name in one.scores)
    means = {name: fmean(one.scores[name] for one in texts if name in one.scores) for name in names}
    return means | _of_corpus(texts) if means else {}


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
