"""All methods of a model in one table: speed, what a round brings and costs, and our code."""

from collections.abc import Iterator

from dynexit.bench.report.source_lines import source_lines
from dynexit.bench.report.study import Study
from dynexit.bench.report.wording import (
    NONE,
    Cell,
    best_in_bold,
    code,
    contends,
    fixed,
    gain,
    percent,
    scaled,
    table,
    within,
)

HEADINGS = (
    *("method", "tok/s", "speedup [95 %]", "tokens per round", "rows per round"),
    *("ms per token", "drafting", "verifying", "controller", "peak memory", "lines of code"),
)
NOTE = (
    "Rows: those that verification computes in a round, the newest token's included. Drafting, "
    "verifying and controller: shares of a round's time; text takes the rest. Lines of code: of "
    "the files that only this method's drafts need, without what all methods share, the native "
    "library included. Bold: the fastest method."
)


def compared(study: Study) -> Iterator[str]:
    """One row for each method, the fastest first."""
    if not study.others:
        return
    yield table(HEADINGS, best_in_bold(_row(study, method) for method in study.ranked))
    yield NOTE


def _row(study: Study, method: str) -> list[Cell]:
    total, rounds = study.total(method), study.rounds(method)
    speed, phases = total.tokens_per_second, rounds.phases
    peak = study.peak_memory(method)
    shares = [NONE] * 3
    if phases is not None and phases.round:
        shares = [percent(share) for share in phases.shares[:3]]
    lines = source_lines(method)
    best = gain(total.speedup) if contends(method) else None
    return [
        Cell(code(method)),
        Cell(fixed(speed, 1)),
        Cell(within(total.speedup, study.interval(method)), best),
        Cell(fixed(rounds.mean_acceptance_length)),
        Cell(fixed(rounds.mean_rows, 1)),
        Cell(fixed(1e3 / speed if speed else None)),
        *map(Cell, shares),
        Cell(scaled(peak, "B") if peak else NONE),
        Cell(NONE if lines is None else str(lines)),
    ]
