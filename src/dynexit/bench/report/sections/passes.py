"""What passes of several widths cost, beside the least that they could."""

from collections.abc import Iterator

from dynexit.bench.passes import Roofline
from dynexit.bench.report.markdown import code, fixed, percent, scaled, table, times
from dynexit.bench.report.naming import roofline_label
from dynexit.bench.report.sections.base import Blocks, Section
from dynexit.bench.report.study import Evidence

HEADINGS = (
    *("positions", "rows", "layers, ms", "head, ms", "pass, ms", "ms a row"),
    *("against the fewest rows", "least possible, ms", "share"),
)
NOTE = (
    "Medians. The least possible is what bytes or arithmetic cost at the best rates measured, "
    "whichever takes longer, layers and head apart; the share is that over the time measured."
)


def _write(evidence: Evidence) -> Blocks:
    return [block for found in evidence.rooflines for block in _blocks(found)]


def _blocks(found: Roofline) -> Iterator[str]:
    yield (
        f"{code(roofline_label(found))}: {scaled(found.weight_bytes, 'B')} of weights a token. "
        f"The machine: {found.before} before, {found.after} after."
    )
    yield table(HEADINGS, (row for context in found.contexts for row in _rows(found, context)))
    yield NOTE


def _rows(found: Roofline, context: int) -> Iterator[list[str]]:
    points = found.at(context)
    for point in points:
        floor = point.floor_ms(found.limits)
        parts = (point.layers_ms, point.head_ms, point.total_ms, point.total_ms / point.rows)
        yield [
            *(f"{context:,}", str(point.rows), *map(fixed, parts)),
            *(times(point.total_ms / points[0].total_ms), fixed(floor)),
            percent(floor / point.total_ms),
        ]


SECTION = Section("What a pass costs", _write)
