"""The article's table: what a method computes and takes for one input, beside plain decoding.

Source: Hugging Face, "Faster Text Generation with Self-Speculative Decoding".
"""

from collections.abc import Iterable, Sequence
from statistics import fmean

from dynexit.bench.records import Record
from dynexit.bench.report.flops import SECOND_MODEL, decoding_flops
from dynexit.bench.report.markdown import NONE, code, fixed, scaled, table, times
from dynexit.bench.report.naming import VANILLA
from dynexit.bench.report.rounds import mean_exit_layer, pooled
from dynexit.bench.report.sections.base import Section, per_model
from dynexit.bench.report.study import Sample, Study
from dynexit.decoding.records import Round

HEADINGS = (
    "method",
    "parameters",
    "draft layers",
    "FLOPs per input",
    "plain FLOPs",
    "s per input",
    "plain s",
    "efficiency",
)
NOTE = (
    "Means over inputs, of decoding alone. FLOPs are counted from the layers and heads that were "
    "executed, 2 per parameter and row: the row of every drafted token passes all layers once, "
    "accepted or not; shadow tokens cost their heads. Attention over the context is not counted. "
    "Efficiency = plain seconds / seconds. Parameters are those held: a second model's are added."
)


def _write(study: Study) -> Iterable[str]:
    others = [method for method in study.methods if method != VANILLA]
    if others:
        yield table(HEADINGS, (_row(study.of(method)) for method in others))
        yield NOTE


def _row(samples: Sequence[Sample]) -> list[str]:
    own, plain = [s.record for s in samples], [s.plain for s in samples]
    taken, plainly = _seconds(own), _seconds(plain)
    rounds = pooled(samples).rounds
    return [
        code(own[0].method),
        scaled(_parameters(own[0], rounds)),
        _draft_layers(own[0], rounds),
        scaled(_flops(own)),
        scaled(_flops(plain)),
        fixed(taken, 3),
        fixed(plainly, 3),
        times(plainly / taken if taken else None),
    ]


def _seconds(records: Sequence[Record]) -> float:
    return fmean(record.statistics.decode_seconds for record in records)


def _flops(records: Sequence[Record]) -> float | None:
    counts = [count for record in records if (count := decoding_flops(record)) is not None]
    return fmean(counts) if len(counts) == len(records) else None


def _parameters(record: Record, rounds: Sequence[Round]) -> int | None:
    held = record.shape.get("parameters")
    second = record.shape.get("draft_parameters", 0) if _by_second(rounds) else 0
    return None if held is None else held + second


def _draft_layers(record: Record, rounds: Sequence[Round]) -> str:
    if _by_second(rounds):
        return f"{record.shape.get('draft_num_layers', NONE)} of its own"
    return fixed(mean_exit_layer(rounds), 1)


def _by_second(rounds: Sequence[Round]) -> bool:
    return any(r.plan.drafter == SECOND_MODEL for r in rounds)


SECTION = Section("Cost per input", per_model(_write))
