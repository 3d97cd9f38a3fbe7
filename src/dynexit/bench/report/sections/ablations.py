"""What the parts of DEL and `auto` are worth, and what each variant does in a round."""

from collections.abc import Iterable

from dynexit.bench.report.markdown import code, fixed, percent, table, within
from dynexit.bench.report.naming import is_adaptive
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
    variants = [method for method in study.methods if is_adaptive(method)]
    if variants:
        yield table(HEADINGS, (_row(study, method) for method in variants))
        yield "Mean exit layer: over the rounds that drafted; the others are over all rounds."


def _row(study: Study, method: str) -> list[str]:
    rounds = pooled(study.of(method))
    return [
        code(method),
        within(study.total(method).speedup, study.interval(method)),
        fixed(rounds.etpl, 4),
        percent(rounds.acceptance_rate, 1),
        fixed(rounds.mean_acceptance_length),
        fixed(rounds.mean_exit_layer, 1),
        fixed(rounds.mean_drafted),
    ]


SECTION = Section("Exit layers and drafts", per_model(_write))
