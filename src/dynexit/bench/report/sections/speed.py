"""Table 1 of the paper: every method's speedup, task by task and overall."""

from collections.abc import Iterable

from dynexit.bench.report.markdown import (
    Cell,
    best_in_bold,
    code,
    fixed,
    gain,
    table,
    times,
    within,
)
from dynexit.bench.report.naming import VANILLA, contends, task_label
from dynexit.bench.report.rounds import pooled
from dynexit.bench.report.sections.base import Section, per_model
from dynexit.bench.report.study import Study

NOTE = (
    "Speedup over vanilla, eTPL in brackets: tokens per layer loaded, tokens / sum over rounds of "
    "(exit layer x drafted + layers). It counts layers of the target alone, neither its head nor a "
    "second model. Bold: the best of a column, where it is better than vanilla."
)


def _write(study: Study) -> Iterable[str]:
    headings = ["method", *(code(task_label(task)) for task in study.tasks)]
    headings += ["eTPL", "tok/s", "speedup [95 %]"]
    rows = best_in_bold(_row(study, method) for method in study.methods)
    counts = [len(study.timings(method)) for method in study.methods]
    if len(set(counts)) > 1:
        headings.append("prompts")
        rows = [[*row, str(count)] for row, count in zip(rows, counts, strict=True)]
    yield table(headings, rows)
    yield NOTE


def _row(study: Study, method: str) -> list[Cell]:
    total, rounds = study.total(method), pooled(study.of(method))
    bounds = None if method == VANILLA else study.interval(method)
    etpl, faster = rounds.etpl, _worth(method, total.speedup)
    fewer = _worth(method, None if etpl is None else etpl * rounds.num_layers)
    return [
        Cell(code(method)),
        *(_cell(study, method, task) for task in study.tasks),
        Cell(fixed(etpl, 4), fewer),
        Cell(fixed(total.tokens_per_second, 1), faster),
        Cell(within(total.speedup, bounds), faster),
    ]


def _cell(study: Study, method: str, task: str) -> Cell:
    speedup = study.total(method, task).speedup
    if speedup is None:
        return Cell(times(None))
    etpl = fixed(pooled(study.of(method, task)).etpl, 3)
    return Cell(f"{times(speedup)} ({etpl})", _worth(method, speedup))


def _worth(method: str, ratio: float | None) -> float | None:
    """A ratio to vanilla's, where it may be bold."""
    return gain(ratio) if contends(method) else None


SECTION = Section("Speed", per_model(_write))
