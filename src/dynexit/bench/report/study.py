"""Records that can be compared: every generation beside vanilla's of the same prompt and run.

A run is the records with equal options, in practice one file. A prompt that several runs have timed
counts with the sum of them.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from dynexit.bench.records import Record
from dynexit.bench.report.naming import VANILLA, FixedPair, fixed_pair, model_label, rank
from dynexit.bench.report.timing import Interval, Timing, interval, total
from dynexit.errors import DynexitError

GRID_SIZE = 4  # fixed pairs in one run that make a grid of them
DECISIVE = ("max_new_tokens", "temperature", "top_k", "top_p", "template", "shots")
DECISIVE_PLACE = ("dtype", "device")

Prompt = tuple[str, str]  # task, example


@dataclass(frozen=True)
class Sample:
    """One generation, and vanilla's of the same prompt and run."""

    record: Record
    plain: Record

    @property
    def prompt(self) -> Prompt:
        """Unique within a model."""
        return self.record.task, self.record.example

    @property
    def identical(self) -> bool:
        """Whether the text is vanilla's, token for token."""
        return self.record.token_ids == self.plain.token_ids

    @property
    def timing(self) -> Timing:
        """Seconds and tokens of decoding."""
        plain, own = self.plain.statistics, self.record.statistics
        return Timing(plain.decode_seconds, plain.tokens, own.decode_seconds, own.tokens)


@dataclass(frozen=True)
class Study:
    """All samples of one model.

    Attributes:
        samples: by method.
        methods: those of the tables, in their order; those of a grid alone are not among them.
        grid: the methods of a grid by exit layer and speculation length; empty without one.
        tasks: in the order of the records.
    """

    model: str
    samples: Mapping[str, Sequence[Sample]]
    methods: Sequence[str]
    grid: Mapping[FixedPair, str]
    tasks: Sequence[str]

    def of(self, method: str, task: str | None = None) -> list[Sample]:
        """Samples of a method, of one task or of all."""
        return [s for s in self.samples.get(method, ()) if task in (None, s.record.task)]

    def timings(self, method: str, task: str | None = None) -> dict[Prompt, Timing]:
        """Timing of every prompt."""
        found: dict[Prompt, Timing] = {}
        for sample in self.of(method, task):
            found[sample.prompt] = found.get(sample.prompt, Timing()) + sample.timing
        return found

    def total(self, method: str, task: str | None = None) -> Timing:
        """Timing over all prompts."""
        return total(self.timings(method, task).values())

    def interval(self, method: str, task: str | None = None) -> Interval | None:
        """95 % interval of the speedup."""
        return interval(by_task(self.timings(method, task)))


@dataclass(frozen=True)
class Evidence:
    """Everything that a report stands on, and what was left out of it.

    Attributes:
        failed: records of an error, and those that hold no statistics.
        unpaired: records without a vanilla record of the same prompt and run.
    """

    studies: Sequence[Study]
    failed: Sequence[Record]
    unpaired: Sequence[Record]

    @property
    def records(self) -> list[Record]:
        """Every record that a number was taken from."""
        return [
            s.record for study in self.studies for found in study.samples.values() for s in found
        ]


def by_task(timings: Mapping[Prompt, Timing]) -> list[list[Timing]]:
    """Timings of prompts, task by task."""
    ordered = sorted(timings.items(), key=lambda item: item[0][0])
    return [[t for _, t in group] for _, group in groupby(ordered, lambda item: item[0][0])]


def gather(records: Iterable[Record]) -> Evidence:
    """Pair records with vanilla's and sort them by model. A record that stands twice counts once.

    Raises:
        DynexitError: nothing to compare, or records that must not be compared.
    """
    found = {(*record.key, _run_of(record)): record for record in records}
    if not found:
        raise DynexitError("these files hold no records: give files that `dynexit bench` wrote.")
    good = {key: record for key, record in found.items() if _check(record)}
    plain = {(*k[:3], k[4]): r for k, r in good.items() if r.method == VANILLA}
    samples = [Sample(r, plain[*k[:3], k[4]]) for k, r in good.items() if (*k[:3], k[4]) in plain]
    if not samples:
        raise DynexitError(_nothing(good.values()))
    paired = {id(sample.record) for sample in samples}
    return Evidence(
        [_study(model, samples) for model in dict.fromkeys(s.record.model for s in samples)],
        failed=[record for key, record in found.items() if key not in good],
        unpaired=[record for record in good.values() if id(record) not in paired],
    )


def _nothing(good: Iterable[Record]) -> str:
    if any(True for _ in good):
        return "these files hold no usable vanilla record, which every speedup is measured against."
    return "every record of these files is of a failure: there is nothing to report."


def _run_of(record: Record) -> str:
    return json.dumps(record.options, sort_keys=True, default=str)


def _check(record: Record) -> bool:
    """Whether the record holds a generation.

    Raises:
        DynexitError: it does, but its statistics cannot be read.
    """
    if record.error is not None or record.stats is None:
        return False
    try:
        return record.statistics is not None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        where = f"{record.task} {record.example} {record.method}"
        raise DynexitError(f"the statistics of {where} cannot be read: {error!r}.") from error


def _study(model: str, samples: Sequence[Sample]) -> Study:
    own = [sample for sample in samples if sample.record.model == model]
    _check_comparable(own)
    by_method: dict[str, list[Sample]] = {}
    for sample in own:
        by_method.setdefault(sample.record.method, []).append(sample)
    listed, grid = _split_grid(own)
    tasks = list(dict.fromkeys(sample.record.task for sample in own))
    return Study(model_label(model), by_method, sorted(listed, key=rank), grid, tasks)


def _split_grid(samples: Iterable[Sample]) -> tuple[list[str], dict[FixedPair, str]]:
    """Methods of the tables, and those that a run timed as part of a grid."""
    runs: dict[str, dict[str, None]] = {}
    for sample in samples:
        runs.setdefault(_run_of(sample.record), {})[sample.record.method] = None
    listed: dict[str, None] = {}
    grid: dict[FixedPair, str] = {}
    for methods in runs.values():
        pairs = {pair: m for m in methods if (pair := fixed_pair(m)) is not None}
        pairs = pairs if len(pairs) >= GRID_SIZE else {}
        grid |= pairs
        listed |= dict.fromkeys(m for m in methods if m not in pairs.values())
    return list(listed), dict(sorted(grid.items()))


def _check_comparable(samples: Sequence[Sample]) -> None:
    """Raises DynexitError where averages over these samples would mean nothing."""
    records = [sample.record for sample in samples]
    for name in (*DECISIVE, *DECISIVE_PLACE):
        holder = "options" if name in DECISIVE else "environment"
        values = {str(getattr(record, holder).get(name)) for record in records}
        if len(values) > 1:
            raise DynexitError(
                f"the records of {model_label(records[0].model)} were made with {name} "
                f"{' and '.join(sorted(values))}: report them apart."
            )
