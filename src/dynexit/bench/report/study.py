"""Records that can be compared: every generation beside vanilla's of the same prompt and run.

A run is the records with equal options, in practice one file. A prompt that several runs have timed
counts with the sum of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from dynexit.bench.passes import Roofline
from dynexit.bench.records import Record
from dynexit.bench.report.generation import Generation
from dynexit.bench.report.naming import FixedPair
from dynexit.bench.report.timing import Interval, Timing, interval, total

Prompt = tuple[str, str]  # task, example


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
        return self.own.token_ids == self.plain.token_ids

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

    def of(self, method: str, task: str | None = None) -> list[Sample]:
        """Samples of a method, of one task or of all."""
        return [s for s in self.samples.get(method, ()) if task in (None, s.own.task)]

    def texts(self, method: str, task: str) -> list[Generation]:
        """One generation for each prompt, whatever number of runs there were."""
        return list({sample.prompt: sample.own for sample in self.of(method, task)}.values())

    def timings(self, method: str, task: str | None = None) -> dict[Prompt, Timing]:
        """Timing of every prompt."""
        found: dict[Prompt, Timing] = {}
        for sample in self.of(method, task):
            found[sample.prompt] = found.get(sample.prompt, Timing()) + sample.timing
        return found

    def fastest(self, methods: Iterable[str], count: int) -> list[str]:
        """Of these methods, in their order, so many: what a figure has room for."""
        listed = list(methods)
        kept = sorted(listed, key=lambda method: -(self.total(method).speedup or 0.0))[:count]
        return [method for method in listed if method in kept]

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


def by_task(timings: Mapping[Prompt, Timing]) -> list[list[Timing]]:
    """Timings of prompts, task by task."""
    ordered = sorted(timings.items(), key=lambda item: item[0][0])
    return [[t for _, t in group] for _, group in groupby(ordered, lambda item: item[0][0])]
