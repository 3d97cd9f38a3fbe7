"""How fast methods are on each category of a task, as SPEED-Bench's tables have it."""

from collections.abc import Iterator, Sequence

from dynexit.bench.report.rounds import Rounds
from dynexit.bench.report.speeds import Timing
from dynexit.bench.report.study import Sample, Study
from dynexit.bench.report.wording import code, fixed, table, task_label, times

SHOWN = 6  # the fastest methods
NOTE = (
    "Speedup over vanilla, tokens per round in brackets: 1 + accepted drafts / rounds, which "
    "SPEED-Bench calls the acceptance length. Every turn of a conversation counts as a prompt."
)


def by_category(study: Study) -> Iterator[str]:
    """A table for each task whose rows have categories."""
    methods = study.fastest(study.others, SHOWN)
    written = False
    for task in study.tasks:
        found = {s.own.category: None for s in study.of(study.methods[0], task)}
        if not any(found) or not methods:
            continue
        names = sorted(name for name in found if name)
        rows = [_row(study, task, methods, name) for name in names]
        headings = [code(task_label(task)), "prompts", *map(code, methods)]
        yield table(headings, [*rows, _row(study, task, methods, None)])
        written = True
    if written:
        yield NOTE


def _row(study: Study, task: str, methods: Sequence[str], category: str | None) -> list[str]:
    chosen = [
        [s for s in study.of(method, task) if category in (None, s.own.category)]
        for method in methods
    ]
    prompts = {sample.prompt for samples in chosen for sample in samples}
    return [category or "all", str(len(prompts)), *map(_cell, chosen)]


def _cell(samples: Sequence[Sample]) -> str:
    if not samples:
        return times(None)
    speedup = Timing.sum(sample.timing for sample in samples).speedup
    length = Rounds.join(sample.own.rounds for sample in samples).mean_acceptance_length
    return f"{times(speedup)} ({fixed(length, 2)})"
