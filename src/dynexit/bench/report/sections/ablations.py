"""What every method that drafts does in a round, and what it is worth."""

from collections.abc import Iterable

from dynexit.bench.report.markdown import (
    Cell,
    best_in_bold,
    code,
    fixed,
    gain,
    percent,
    table,
    within,
)
from dynexit.bench.report.rounds import pooled
from dynexit.bench.report.sections.base import Section, per_model
from dynexit.bench.report.study import Study

HEADINGS = (
    "method",
    "speedup [95 %]",
    "eTPL",
    "acceptance rate",
    "tokens per round",
    "mean exit layer",
    "drafted per round",
)


def _write(study: Study) -> Iterable[str]:
    drafting = [method for method in study.methods if pooled(study.of(method)).drafted.any()]
    if drafting:
        yield table(HEADINGS, best_in_bold([_row(study, method) for method in drafting]))
        yield (
            "Mean exit layer: over the rounds that drafted; the others are over all rounds. "
            "Bold: the best of a column."
        )


def _row(study: Study, method: str) -> list[Cell]:
    rounds, speedup = pooled(study.of(method)), study.total(method).speedup
    accepted, kept = rounds.acceptance_rate, rounds.mean_acceptance_length
    return [
        Cell(code(method)),
        Cell(within(speedup, study.interval(method)), gain(speedup)),
        Cell(fixed(rounds.etpl, 4), rounds.etpl),
        Cell(percent(accepted, 1), accepted),
        Cell(fixed(kept), kept),
        Cell(fixed(rounds.mean_exit_layer, 1)),
        Cell(fixed(rounds.mean_drafted)),
    ]


SECTION = Section("Exit layers and drafts", per_model(_write))
