"""How good the texts are: task scores over all of a method's texts."""

from collections.abc import Sequence
from statistics import fmean

from dynexit.bench.records import Record
from dynexit.errors import DynexitError


def task_scores(records: Sequence[Record]) -> dict[str, float]:
    """Scores over records of one task and method; {} without references.

    The mean of the texts' own, except for what the task computes of a whole corpus.
    """
    names = dict.fromkeys(name for record in records for name in record.scores)
    means = {name: fmean(r.scores[name] for r in records if name in r.scores) for name in names}
    return means | _of_corpus(records) if means else means


def _of_corpus(records: Sequence[Record]) -> dict[str, float]:
    """What the task scores over all texts together; {} where that is the mean over texts."""
    from dynexit.tasks import Task, make_task

    try:
        task = make_task(records[0].task)
    except DynexitError:  # a task of another version
        return {}
    if type(task).score_all is Task.score_all:
        return {}
    return task.score_all([r.text for r in records], [r.reference for r in records])
