"""Where a round's time goes, what prefill costs, and how much memory is held."""

from collections.abc import Iterable
from statistics import median

from dynexit.bench.report.markdown import NONE, code, fixed, percent, scaled, table
from dynexit.bench.report.rounds import Split, pooled, split
from dynexit.bench.report.sections.base import Section, per_model
from dynexit.bench.report.study import Study

HEADINGS = (
    "method",
    "draft, ms",
    "verify, ms",
    "controller, ms",
    "text, ms",
    "round, ms",
    "controller's share",
    "prefill, ms (median)",
    "peak memory",
)
NOTE = (
    "Means of a round's phases. The controller's part holds its planning, lookup, the analysis of "
    "shadow tokens and statistics; text is bringing tokens to it. Peak memory is the most that "
    "the process, or the CUDA device, held during any generation, weights included."
)


def _write(study: Study) -> Iterable[str]:
    yield table(HEADINGS, (_row(study, method) for method in study.methods))
    yield NOTE


def _row(study: Study, method: str) -> list[str]:
    own = [sample.own for sample in study.of(method)]
    peak = max(one.peak_memory for one in own)
    return [
        code(method),
        *_phases(split(pooled(study.of(method)))),
        fixed(1e3 * median(one.prefill_seconds for one in own), 1),
        scaled(peak, "B") if peak else NONE,
    ]


def _phases(parts: Split | None) -> list[str]:
    if parts is None:
        return [NONE] * 6
    spent = (parts.draft, parts.verify, parts.control, parts.text, parts.round)
    return [*(fixed(ms) for ms in spent), percent(parts.control_share, 1)]


SECTION = Section("Time and memory", per_model(_write))
