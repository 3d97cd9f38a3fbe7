"""A method's numbers, as `dynexit report` takes them from the same records."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from dynexit.bench.records import Record
from dynexit.bench.report.gathering import gather
from dynexit.bench.report.study import Study, repeated

VANILLA = "vanilla"


def summary(records: Sequence[Record]) -> dict[str, Any]:
    """Of every method that has a text beside vanilla's; none before there is one."""
    plain = {one.example for one in records if one.method == VANILLA and one.error is None}
    paired = [one for one in records if one.example in plain]
    if not paired:
        return {}
    (study,) = gather(paired).studies
    return {method: _of(study, method) for method in study.methods}


def text(record: Record) -> dict[str, Any]:
    """Of one text."""
    if record.stats is None:
        return {"error": record.error}
    named = ("tokens_per_second", "prefill_seconds", "rounds", "drafted", "accepted", "tokens")
    return {name: record.stats[name] for name in named}


def differing(records: Sequence[Record]) -> list[tuple[Record, Record]]:
    """Texts that are not vanilla's of the same prompt, each with that."""
    plain = {one.example: one for one in records if one.method == VANILLA}
    pairs = ((plain.get(one.example), one) for one in records)
    return [(p, o) for p, o in pairs if p and p.token_ids != o.token_ids and o.stats and p.stats]


def _of(study: Study, method: str) -> dict[str, Any]:
    samples, timings = study.of(method), study.timings(method).values()
    rounds = study.rounds(method)
    phases = rounds.phases
    return {
        "prompts": len(samples),
        "identical": sum(one.identical for one in samples),
        "tokens_per_second": _median(one.tokens_per_second for one in timings),
        "speedup": _median(one.speedup for one in timings),
        "speedup_by_totals": study.total(method).speedup,
        "interval_by_totals": study.interval(method),
        "round_ms": phases and {**phases._asdict(), "round": phases.round},
        "control_share": phases and phases.shares.control,
        "tokens_per_round": rounds.mean_acceptance_length,
        "drafted_per_round": rounds.mean_drafted,
        "acceptance_rate": rounds.acceptance_rate,
        "mean_exit_layer": rounds.mean_exit_layer,
        "repeated": repeated(one.own for one in samples),  # lookup gains from it
    }


def _median(values: Any) -> float | None:
    there = [value for value in values if value is not None]
    return median(there) if there else None


def line(told: Mapping[str, Any]) -> str:
    """For whoever watches."""
    ms = told["round_ms"]
    return (
        f"{told['tokens_per_second']:.1f} tokens/s, {told['speedup']:.2f}x "
        f"({told['speedup_by_totals']:.2f}x by totals), {told['identical']} of "
        f"{told['prompts']} texts the same, {told['tokens_per_round']:.2f} tokens a round of "
        f"{ms['round']:.2f} ms (draft {ms['draft']:.2f}, verify {ms['verify']:.2f}, control "
        f"{ms['control']:.2f}, text {ms['text']:.2f}), {told['repeated'] or 0:.0%} repeated"
    )
