"""The figures that a reader came for, in a few lines a model."""

from collections.abc import Iterable

from dynexit.bench.report.grid import Grid
from dynexit.bench.report.markdown import bold, bullets, code, counted, percent, within
from dynexit.bench.report.naming import AUTO, DEL, VANILLA, lossless, pair_label
from dynexit.bench.report.rounds import pooled, split
from dynexit.bench.report.sections.base import Section, per_model
from dynexit.bench.report.study import Study

CONTROL_GOAL = 0.02  # of a round


def _write(study: Study) -> Iterable[str]:
    others = [method for method in study.methods if method != VANILLA]
    if not others:
        return
    fastest = max(others, key=lambda method: study.total(method).speedup or 0.0)
    subjects = [method for method in (AUTO, DEL) if method in others] or [fastest]
    yield bullets(
        [
            *(_speed(study, method) for method in subjects),
            _same(study),
            *(_control(study, method) for method in subjects),
            *(line for method in subjects for line in _regret(study, method)),
        ]
    )


def _speed(study: Study, method: str) -> str:
    speedup = within(study.total(method).speedup, study.interval(method))
    prompts = counted(len(study.timings(method)), "prompt")
    tasks = counted(len(study.tasks), "task")
    return f"{code(method)} decodes at {bold(speedup)} the speed of vanilla: {prompts} of {tasks}."


def _same(study: Study) -> str:
    samples = [
        s for m, found in study.samples.items() if m != VANILLA and lossless(m) for s in found
    ]
    same = sum(sample.identical for sample in samples)
    return f"{bold(f'{same} of {len(samples)}')} texts are vanilla's, token for token."


def _control(study: Study, method: str) -> str:
    parts = split(pooled(study.of(method)))
    share = None if parts is None else parts.control_share
    goal = percent(CONTROL_GOAL)
    taken = f"The controller of {code(method)} takes {bold(percent(share, 1))} of a round"
    return f"{taken} (goal: at most {goal})."


def _regret(study: Study, method: str) -> Iterable[str]:
    grid = Grid.of(study)
    strategy = grid.method(study, method) if grid else None
    if strategy is None:
        return
    best, pair = grid.best_overall, grid.best_overall.pair()
    assert pair is not None
    regret = bold(percent(grid.regret(strategy), 1))
    yield (
        f"{code(method)} against fixed pairs: regret {regret} to the oracle, "
        f"{percent(grid.regret(best), 1)} for {pair_label(pair)}, the best pair overall."
    )


SECTION = Section("In short", per_model(_write))
