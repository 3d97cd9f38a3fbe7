"""What methods do in a round, its time and memory, and the cost of passes by number of rows."""

from collections.abc import Iterator, Sequence
from statistics import fmean, median

from dynexit.bench.passes import Roofline
from dynexit.bench.report.study import Evidence, Generation, Study
from dynexit.bench.report.wording import (
    NONE,
    Cell,
    best_in_bold,
    code,
    fixed,
    gain,
    percent,
    roofline_label,
    scaled,
    table,
    times,
    within,
)

DRAFTS = (
    *("method", "speedup [95 %]", "eTPL", "acceptance rate", "tokens per round"),
    *("mean exit layer", "drafted per round"),
)
DRAFTS_NOTE = (
    "Mean exit layer: over the rounds that drafted; the others are over all rounds. "
    "Bold: the best of a column."
)
TIME = (
    *("method", "draft, ms", "verify, ms", "controller, ms", "text, ms", "round, ms"),
    *("controller's share", "prefill, ms (median)", "peak memory"),
)
TIME_NOTE = (
    "Means of a round's phases. The controller's part holds its planning, lookup, the analysis of "
    "shadow tokens and statistics; text is bringing tokens to it. Peak memory is the most that "
    "the process, or the CUDA device, held during any generation, weights included."
)
PASSES = (
    *("positions", "rows", "layers, ms", "head, ms", "pass, ms", "ms a row"),
    *("against the fewest rows", "least possible, ms", "share"),
)
PASSES_NOTE = (
    "Medians. The least possible is what bytes or arithmetic cost at the best rates measured, "
    "whichever takes longer, layers and head apart; the share is that over the time measured."
)
INPUT = (
    *("method", "parameters", "draft layers", "FLOPs per input", "plain FLOPs"),
    *("s per input", "plain s", "efficiency"),
)
INPUT_NOTE = (
    "Means over inputs, of decoding alone. FLOPs are counted from the layers and heads that were "
    "executed, 2 per parameter and row: the row of every drafted token passes all layers once, "
    "accepted or not; shadow tokens cost their heads. Attention over the context is not counted. "
    "Efficiency = plain seconds / seconds. Parameters are those held: a second model's are added."
)


def drafts(study: Study) -> Iterator[str]:
    """What every method that drafts does in a round, and what it is worth."""
    drafting = [method for method in study.methods if study.rounds(method).drafted.any()]
    if drafting:
        yield table(DRAFTS, best_in_bold([_drafts(study, method) for method in drafting]))
        yield DRAFTS_NOTE


def _drafts(study: Study, method: str) -> list[Cell]:
    rounds, speedup = study.rounds(method), study.total(method).speedup
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


def time_and_memory(study: Study) -> Iterator[str]:
    """The time of a round by phase, of prefill, and peak memory."""
    yield table(TIME, (_time_and_memory(study, method) for method in study.methods))
    yield TIME_NOTE


def _time_and_memory(study: Study, method: str) -> list[str]:
    own = [sample.own for sample in study.of(method)]
    phases, peak = study.rounds(method).phases, study.peak_memory(method)
    spent = [NONE] * 6
    if phases is not None:
        spent = [*map(fixed, (*phases, phases.round)), percent(phases.shares.control, 1)]
    prefill = fixed(1e3 * median(one.prefill_seconds for one in own), 1)
    return [code(method), *spent, prefill, scaled(peak, "B") if peak else NONE]


def passes(evidence: Evidence) -> Iterator[str]:
    """Time of passes by number of rows, beside the hardware limit."""
    for found in evidence.rooflines:
        yield (
            f"{code(roofline_label(found))}: {scaled(found.weight_bytes, 'B')} of weights a token. "
            f"The machine: {found.before} before, {found.after} after."
        )
        yield table(PASSES, (row for context in found.contexts for row in _passes(found, context)))
        yield PASSES_NOTE


def _passes(found: Roofline, context: int) -> Iterator[list[str]]:
    points = found.at(context)
    for point in points:
        floor = point.floor_ms(found.limits)
        parts = (point.layers_ms, point.head_ms, point.total_ms, point.total_ms / point.rows)
        yield [
            *(f"{context:,}", str(point.rows), *map(fixed, parts)),
            *(times(point.total_ms / points[0].total_ms), fixed(floor)),
            percent(floor / point.total_ms),
        ]


def per_input(study: Study) -> Iterator[str]:
    """The article's table: what a method computes and takes for one input, beside plain decoding.

    Source: Hugging Face, "Faster Text Generation with Self-Speculative Decoding".
    """
    if study.others:
        yield table(INPUT, (_per_input(study, method) for method in study.others))
        yield INPUT_NOTE


def _per_input(study: Study, method: str) -> list[str]:
    own = [sample.own for sample in study.of(method)]
    plain = [sample.plain for sample in study.of(method)]
    taken, plainly = (fmean(one.decode_seconds for one in texts) for texts in (own, plain))
    rounds, shape = study.rounds(method), own[0].shape
    parameters, layers = shape.get("parameters"), fixed(rounds.mean_exit_layer, 1)
    if rounds.second.any():
        layers = f"{shape.get('draft_num_layers', NONE)} of its own"
        if parameters is not None:
            parameters += shape.get("draft_parameters", 0)
    return [
        *(code(method), scaled(parameters), layers, scaled(_flops(own)), scaled(_flops(plain))),
        *(fixed(taken, 3), fixed(plainly, 3), times(plainly / taken if taken else None)),
    ]


def _flops(texts: Sequence[Generation]) -> float | None:
    counts = [count for one in texts if (count := one.flops) is not None]
    return fmean(counts) if len(counts) == len(texts) else None
