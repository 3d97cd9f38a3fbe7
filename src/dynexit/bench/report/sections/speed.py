"""Table 1 of the paper: every method's speedup, task by task and overall."""

from collections.abc import Iterable

from dynexit.bench.report.markdown import bold, code, fixed, table, times, within
from dynexit.bench.report.naming import DEL, VANILLA, task_label
from dynexit.bench.report.rounds import pooled
from dynexit.bench.report.sections.base import Section, per_model
from dynexit.bench.report.study import Study

NOTE = (
    "Speedup over vanilla, eTPL in brackets: tokens per layer loaded, tokens / sum over rounds of "
    "(exit layer x drafted + layers). It counts layers of the target alone, neither its head nor a "
    "second model."
)


def _write(study: Study) -> Iterable[str]:
    headings = ["method", *(code(task_label(task)) for task in study.tasks)]
    headings += ["eTPL", "tok/s", "speedup [95 %]"]
    rows = [_row(study, method) for method in study.methods]
    counts = [len(study.timings(method)) for method in study.methods]
    if len(set(counts)) > 1:
        headings.append("prompts")
        rows = [[*row, str(count)] for row, count in zip(rows, counts, strict=True)]
    yield table(headings, rows)
    yield NOTE


def _row(study: Study, method: str) -> list[str]:
    cells = [_cell(study, method, task) for task in study.tasks]
    total = study.total(method)
    bounds = None if method == VANILLA else study.interval(method)
    overall = [
        fixed(pooled(study.of(method)).etpl, 4),
        fixed(total.tokens_per_second, 1),
        within(total.speedup, bounds),
    ]
    row = [*cells, *overall]
    return [code(method), *(map(bold, row) if method == DEL else row)]


def _cell(study: Study, method: str, task: str) -> str:
    speedup = study.total(method, task).speedup
    if speedup is None:
        return times(None)
    return f"{times(speedup)} ({fixed(pooled(study.of(method, task)).etpl, 3)})"


SECTION = Section("Speed", per_model(_write))
