"""The article's table: what a method computes and takes for one input, beside plain decoding.

Source: Hugging Face, "Faster Text Generation with Self-Speculative Decoding".
"""

from collections.abc import Iterable, Sequence
from statistics import fmean

from dynexit.bench.report.columns import Rounds
from dynexit.bench.report.flops import decoding_flops
from dynexit.bench.report.generation import Generation
from dynexit.bench.report.markdown import NONE, code, fixed, scaled, table, times
from dynexit.bench.report.naming import VANILLA
from dynexit.bench.report.rounds import pooled
from dynexit.bench.report.sections.base import Section, per_model
from dynexit.bench.report.study import Sample, Study

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
    own, plain = [s.own for s in samples], [s.plain for s in samples]
    taken, plainly = _seconds(own), _seconds(plain)
    rounds = pooled(samples)
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


def _seconds(texts: Sequence[Generation]) -> float:
    return fmean(one.decode_seconds for one in texts)


def _flops(texts: Sequence[Generation]) -> float | None:
    counts = [count for one in texts if (count := decoding_flops(one)) is not None]
    return fmean(counts) if len(counts) == len(texts) else None


def _parameters(one: Generation, rounds: Rounds) -> int | None:
    held = one.shape.get("parameters")
    second = one.shape.get("draft_parameters", 0) if rounds.second.any() else 0
    return None if held is None else held + second


def _draft_layers(one: Generation, rounds: Rounds) -> str:
    if rounds.second.any():
        return f"{one.shape.get('draft_num_layers', NONE)} of its own"
    return fixed(rounds.mean_exit_layer, 1)


SECTION = Section("Cost per input", per_model(_write))
