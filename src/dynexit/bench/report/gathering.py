"""Pairs records with vanilla's of the same prompt and run, and sets aside those without one."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from dynexit.bench.records import Record
from dynexit.bench.report.speeds import FixedPair
from dynexit.bench.report.study import Evidence, Generation, Sample, Study, text_of
from dynexit.bench.report.wording import VANILLA, fixed_pair, model_label, rank
from dynexit.errors import DynexitError

GRID_SIZE = 4  # fixed pairs in one run that make a grid of them
DECISIVE = ("max_new_tokens", "temperature", "top_k", "top_p", "template", "shots")
DECISIVE_PLACE = ("dtype", "device")


def gather(records: Iterable[Record]) -> Evidence:
    """Pair records with vanilla's and sort them by model. A record that stands twice counts once.

    Args:
        records: as `read_records` gives them, with statistics that have been checked.

    Raises:
        DynexitError: nothing to compare, or records that must not be compared.
    """
    read, failed = _read(records)
    plain = {_where(one): one for one in read if one.method == VANILLA}
    samples = [Sample(one, plain[_where(one)]) for one in read if _where(one) in plain]
    if not samples:
        raise DynexitError(_nothing(read, failed))
    return Evidence(
        [_study(model, label, samples) for model, label in _labels(samples).items()],
        failed,
        unpaired=[one for one in read if _where(one) not in plain],
    )


def _read(records: Iterable[Record]) -> tuple[list[Generation], list[Record]]:
    """Split records into generations and failures."""
    shared: dict[str, Any] = {}
    read: dict[tuple[str, ...], Generation] = {}
    failed: dict[tuple[str, ...], Record] = {}
    for record in records:
        key = (*record.key, text_of(record.options))
        if record.gone:
            read.pop(key, None)
            failed.pop(key, None)
        elif record.error is not None or record.stats is None:
            failed[key] = record
        else:
            read[key] = Generation.of(record, record.stats, shared)
    return _distinct(read.values()), [one for key, one in failed.items() if key not in read]


def _distinct(read: Iterable[Generation]) -> list[Generation]:
    """Number examples that share an id but not a prompt, so that each id is one prompt."""
    contents: dict[tuple[str, str, str], list[str]] = {}
    found = []
    for one in read:
        known = contents.setdefault((one.model, one.task, one.example), [])
        if one.prompt not in known:
            known.append(one.prompt)
        place = known.index(one.prompt)
        found.append(replace(one, example=f"{one.example} ({place + 1})") if place else one)
    return found


def _where(one: Generation) -> tuple[str, str, str, str]:
    """The key that a generation shares with its vanilla generation."""
    return one.model, one.task, one.example, one.run


def _nothing(read: Sequence[Generation], failed: Sequence[Record]) -> str:
    if read:
        return "these files hold no usable vanilla record, which every speedup is measured against."
    if failed:
        return "every record of these files is of a failure: there is nothing to report."
    return "these files hold no records: give files that `dynexit bench` wrote."


def _labels(samples: Iterable[Sample]) -> dict[str, str]:
    """The label of each model; folders with the same name are numbered."""
    labels: dict[str, str] = {}
    for model in dict.fromkeys(sample.own.model for sample in samples):
        own = model_label(model)
        same = sum(model_label(other) == own for other in labels)
        labels[model] = f"{own} ({same + 1})" if same else own
    return labels


def _study(model: str, label: str, samples: Sequence[Sample]) -> Study:
    own = [sample for sample in samples if sample.own.model == model]
    _check_comparable([sample.own for sample in own])
    by_method: dict[str, list[Sample]] = {}
    for sample in own:
        by_method.setdefault(sample.own.method, []).append(sample)
    listed, grid = _split_grid(own)
    tasks = list(dict.fromkeys(sample.own.task for sample in own))
    return Study(label, by_method, sorted(listed, key=rank), grid, tasks)


def _split_grid(samples: Iterable[Sample]) -> tuple[list[str], dict[FixedPair, str]]:
    """Split methods into those for the tables and those of a grid of fixed pairs."""
    runs: dict[str, dict[str, None]] = {}
    for sample in samples:
        runs.setdefault(sample.own.run, {})[sample.own.method] = None
    listed: dict[str, None] = {}
    grid: dict[FixedPair, str] = {}
    for methods in runs.values():
        pairs = {pair: m for m in methods if (pair := fixed_pair(m)) is not None}
        pairs = pairs if len(pairs) >= GRID_SIZE else {}
        grid |= pairs
        listed |= dict.fromkeys(m for m in methods if m not in pairs.values())
    return list(listed), dict(sorted(grid.items()))


def _check_comparable(texts: Sequence[Generation]) -> None:
    """Raises DynexitError if averages over these texts would be meaningless."""
    for name in (*DECISIVE, *DECISIVE_PLACE):
        holder = "options" if name in DECISIVE else "environment"
        values = {str(getattr(one, holder).get(name)) for one in texts}
        if len(values) > 1:
            raise DynexitError(
                f"the records of {model_label(texts[0].model)} were made with {name} "
                f"{' and '.join(sorted(values))}: report them separately."
            )
