"""The figures that a reader came for, in four lines a model."""

from collections.abc import Iterable

from dynexit.bench.report.grid import Grid
from dynexit.bench.report.markdown import bold, bullets, code, counted, percent, within
from dynexit.bench.report.naming import DEL, VANILLA, lossless, pair_label
from dynexit.bench.report.rounds import pooled, split
from dynexit.bench.report.sections.base import Section, per_model
from dynexit.bench.report.study import Study

CONTROL_GOAL = 0.02  # of a round


def _write(study: Study) -> Iterable[str]:
    others = [method for method in study.methods if method != VANILLA]
    if not others:
        return
    subject = DEL if DEL in others else max(others, key=lambda m: study.total(m).speedup or 0.0)
    yield bullets(
        [_speed(study, subject), _same(study), _control(study, subject), *_regret(study, subject)]
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
    return f"The controller takes {bold(percent(share, 1))} of a round (goal: at most {goal})."


def _regret(study: Study, method: str) -> Iterable[str]:
    grid = Grid.of(study)
    strategy = grid.method(study, method) if grid else None
    if strategy is None:
        return
    best, pair = grid.best_overall, grid.best_overall.pair()
    assert pair is not None
    yield (
        f"Against fixed pairs: regret {bold(percent(grid.regret(strategy), 1))} to the oracle, "
        f"{percent(grid.regret(best), 1)} for {pair_label(pair)}, the best pair overall."
    )


SECTION = Section("In short", per_model(_write))
