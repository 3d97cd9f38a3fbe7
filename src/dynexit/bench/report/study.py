"""Records that can be compared: every generation beside vanilla's of the same prompt and run.

A run is the records with equal options, in practice one file. A prompt that several runs have timed
counts with the sum of them.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

import numpy as np

from dynexit.bench.passes import Roofline
from dynexit.bench.records import Record
from dynexit.bench.report.rounds import Rounds
from dynexit.bench.report.speeds import FixedPair, Grid, Interval, Prompt, Timing, interval, total
from dynexit.bench.report.wording import VANILLA, drafts_blocks, reads_shadow
from dynexit.errors import DynexitError

GRAM = 4  # tokens


@dataclass(kw_only=True)
class Generation(Record):
    """A record of a text, made small: a report of the paper's full set reads some 175,000 of them.

    Attributes:
        run: names the options; records with equal ones were timed together.
        ids: `token_ids` as bytes, which are empty themselves, as `stats` is.
        tokens: that `decode_seconds` paid for; prefill's is not among them.
    """

    run: str
    ids: bytes
    prefill_seconds: float
    decode_seconds: float
    tokens: int
    rounds: Rounds

    @classmethod
    def of(cls, record: Record, stats: Mapping[str, Any], shared: dict[str, Any]) -> "Generation":
        """A record that has statistics; `shared` holds once what many have in common."""
        common = ("model", "task", "method", "shape", "options", "environment", "checkpoint")
        found = vars(record) | {name: _held(getattr(record, name), shared) for name in common}
        return cls(
            **(found | {"stats": None, "token_ids": []}),
            run=text_of(record.options),
            ids=np.array(record.token_ids, np.int64).tobytes(),
            prefill_seconds=stats["prefill_seconds"],
            decode_seconds=stats["decode_seconds"],
            tokens=stats["tokens"],
            rounds=Rounds.read(stats),
        )

    @property
    def new_tokens(self) -> int:
        """How many tokens the text has."""
        return len(self.ids) // np.int64().itemsize

    @property
    def flops(self) -> int | None:
        """Floating-point operations of decoding, counted from the layers and heads that rounds ran:
        2 (multiply, add) x parameters for every row that passes one.

        Attention's products with the cache (which grow with the context) and the embedding, a
        look-up, are not counted. None where the record does not hold the parts' parameters, or how
        many rows a diffusion model read.
        """
        if drafts_blocks(self.method):
            return None
        rows = self.rounds.rows(reads_shadow(self.method))
        parts = {
            "layer_parameters": rows.layers,
            "head_parameters": rows.heads,
            "draft_layer_parameters": rows.draft_rows * self.shape.get("draft_num_layers", 0),
            "draft_head_parameters": rows.draft_heads,
        }
        needed = {name: count for name, count in parts.items() if count}
        if any(name not in self.shape for name in needed):
            return None
        return 2 * sum(self.shape[name] * count for name, count in needed.items())


@dataclass(frozen=True)
class Sample:
    """One generation, and vanilla's of the same prompt and run."""

    own: Generation
    plain: Generation

    @property
    def prompt(self) -> Prompt:
        """Unique within a model."""
        return self.own.task, self.own.example

    @property
    def identical(self) -> bool:
        """Whether the text is vanilla's, token for token."""
        return self.own.ids == self.plain.ids

    @property
    def timing(self) -> Timing:
        """Seconds and tokens of decoding."""
        plain, own = self.plain, self.own
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

    @property
    def others(self) -> list[str]:
        """Methods of the tables but vanilla."""
        return [method for method in self.methods if method != VANILLA]

    @cached_property
    def fixed_pairs(self) -> Grid:
        """What the grid's pairs took; without prompts where there is no grid."""
        return Grid({pair: self.timings(method) for pair, method in self.grid.items()})

    def of(self, method: str, task: str | None = None) -> list[Sample]:
        """Samples of a method, of one task or of all."""
        return [s for s in self.samples.get(method, ()) if task in (None, s.own.task)]

    def texts(self, method: str, task: str) -> list[Generation]:
        """One generation for each prompt, whatever number of runs there were."""
        return list({sample.prompt: sample.own for sample in self.of(method, task)}.values())

    def rounds(self, method: str, task: str | None = None) -> Rounds:
        """All rounds of a method that has samples there."""
        return Rounds.join(self.rounds_of_texts(method, task))

    def rounds_of_texts(self, method: str, task: str | None = None) -> list[Rounds]:
        """The same, text by text."""
        return [sample.own.rounds for sample in self.of(method, task)]

    def timings(self, method: str, task: str | None = None) -> dict[Prompt, Timing]:
        """Timing of every prompt."""
        found: dict[Prompt, list[Timing]] = {}
        for sample in self.of(method, task):
            found.setdefault(sample.prompt, []).append(sample.timing)
        return {prompt: Timing.sum(several) for prompt, several in found.items()}

    def fastest(self, methods: Iterable[str], count: int) -> list[str]:
        """Of these methods, in their order, so many: what a figure has room for."""
        listed = list(methods)
        kept = sorted(listed, key=lambda method: -(self.total(method).speedup or 0.0))[:count]
        return [method for method in listed if method in kept]

    @property
    def ranked(self) -> list[str]:
        """Methods of the tables, the fastest first."""
        return sorted(self.methods, key=lambda method: -(self.total(method).speedup or 0.0))

    def peak_memory(self, method: str) -> int:
        """The most bytes that a process held at a method's texts."""
        return max(sample.own.peak_memory for sample in self.of(method))

    def total(self, method: str, task: str | None = None) -> Timing:
        """Timing over all prompts."""
        return total(self.timings(method, task))

    def interval(self, method: str, task: str | None = None) -> Interval | None:
        """95 % interval of the speedup."""
        return interval(self.timings(method, task))


@dataclass(frozen=True)
class Evidence:
    """Everything that a report stands on, and what was left out of it.

    Attributes:
        failed: records of an error, and those that hold no statistics.
        unpaired: records without a vanilla record of the same prompt and run.
        rooflines: measured beside the records; none of their numbers is a record's.
    """

    studies: Sequence[Study]
    failed: Sequence[Record]
    unpaired: Sequence[Generation]
    rooflines: Sequence[Roofline] = ()

    @property
    def generations(self) -> list[Generation]:
        """Every one that a number was taken from."""
        return [s.own for study in self.studies for found in study.samples.values() for s in found]


def text_of(values: Any) -> str:
    """Equal for equal values."""
    return json.dumps(values, sort_keys=True, default=str)


def _held(value: Any, shared: dict[str, Any]) -> Any:
    return shared.setdefault(text_of(value), value)


def task_scores(texts: Sequence[Generation]) -> dict[str, float]:
    """Scores over texts of one task and method; {} without references.

    The mean of the texts' own, except for what the task computes of a whole corpus.
    """
    names = dict.fromkeys(name for one in texts for name in one.scores)
    means = {name: fmean(one.scores[name] for one in texts if name in one.scores) for name in names}
    return means | _of_corpus(texts) if means else {}


def _of_corpus(texts: Sequence[Generation]) -> dict[str, float]:
    """What the task scores over all texts together; {} where that is the mean over texts."""
    from dynexit.tasks import Task, make_task

    try:
        task = make_task(texts[0].task)
    except DynexitError:  # a task of another version
        return {}
    if type(task).score_all is Task.score_all:
        return {}
    return task.score_all([one.text for one in texts], [one.reference for one in texts])


def repeated(texts: Iterable[Generation]) -> float | None:
    """Share of n-grams that stood earlier in the same text; None of texts too short to have any."""
    total = distinct = 0
    for one in texts:
        ids = np.frombuffer(one.ids, np.int64).tolist()
        grams = list(zip(*(ids[start:] for start in range(GRAM)), strict=False))
        total += len(grams)
        distinct += len(set(grams))
    return (total - distinct) / total if total else None
