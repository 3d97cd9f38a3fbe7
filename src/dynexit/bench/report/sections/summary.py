"""The figures that a reader came for, in a few lines a model."""

from collections.abc import Iterable

from dynexit.bench.report.grid import Grid
from dynexit.bench.report.markdown import bold, bullets, code, counted, percent, within
from dynexit.bench.report.naming import VANILLA, contends, lossless, pair_label
from dynexit.bench.report.rounds import pooled, split
from dynexit.bench.report.sections.base import Section, per_model
from dynexit.bench.report.study import Study

CONTROL_GOAL = 0.02  # of a round
SHOWN = 6  # the fastest methods


def _write(study: Study) -> Iterable[str]:
    others = [method for method in study.methods if method != VANILLA]
    if not others:
        return
    speeds = {method: study.total(method).speedup or 0.0 for method in others}
    ranked = sorted(others, key=lambda method: -speeds[method])
    best = max(filter(contends, others), key=lambda method: speeds[method], default=None)
    shown = [m for m in ranked if m == best or m in ranked[:SHOWN]]
    yield bullets(
        [
            *(_speed(study, method, method == best and speeds[method] > 1) for method in shown),
            _same(study),
            *(line for method in shown for line in _regret(study, method)),
        ]
    )


def _speed(study: Study, method: str, best: bool) -> str:
    speedup = within(study.total(method).speedup, study.interval(method))
    prompts = counted(len(study.timings(method)), "prompt")
    tasks = counted(len(study.tasks), "task")
    speed = f"{bold(speedup) if best else speedup} the speed of vanilla"
    return f"{code(method)} decodes at {speed}: {prompts} of {tasks}{_control(study, method)}."


def _same(study: Study) -> str:
    samples = [
        s for m, found in study.samples.items() if m != VANILLA and lossless(m) for s in found
    ]
    same = sum(sample.identical for sample in samples)
    return f"{same} of {len(samples)} texts are vanilla's, token for token."


def _control(study: Study, method: str) -> str:
    parts = split(pooled(study.of(method)))
    if parts is None:
        return ""
    share = percent(parts.control_share, 1)
    return f"; its controller takes {share} of a round (goal: at most {percent(CONTROL_GOAL)})"


def _regret(study: Study, method: str) -> Iterable[str]:
    grid = Grid.of(study)
    strategy = grid.method(study, method) if grid else None
    if strategy is None:
        return
    best, pair = grid.best_overall, grid.best_overall.pair()
    assert pair is not None
    regret = percent(grid.regret(strategy), 1)
    yield (
        f"{code(method)} against fixed pairs: regret {regret} to the oracle, "
        f"{percent(grid.regret(best), 1)} for {pair_label(pair)}, the best pair overall."
    )


SECTION = Section("In short", per_model(_write))
