"""The sections of a report, in order. Each turns evidence into blocks of Markdown.

A figure names the section that it stands under (`figures/`).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from dynexit.bench.report.sections import categories, costs, field, speed, texts
from dynexit.bench.report.study import Evidence, Study
from dynexit.bench.report.wording import code


@dataclass(frozen=True)
class Section:
    """A heading and its blocks; a section without blocks is left out."""

    title: str
    write: Callable[[Evidence], Iterable[str]]


def _per_model(write: Callable[[Study], Iterable[str]]) -> Callable[[Evidence], Iterable[str]]:
    """One model after the other, under their names where there are several."""

    def blocks(evidence: Evidence) -> Iterator[str]:
        for study in evidence.studies:
            own = list(write(study))
            if own and len(evidence.studies) > 1:
                yield f"### {code(study.model)}"
            yield from own

    return blocks


SECTIONS = (
    Section("In short", _per_model(speed.in_short)),
    Section("What was measured", texts.measured),
    Section("Speed", _per_model(speed.by_task)),
    Section("Methods side by side", _per_model(field.compared)),
    Section("Category by category", _per_model(categories.by_category)),
    Section("Prompt by prompt", _per_model(speed.by_prompt)),
    Section("Exit layers and drafts", _per_model(costs.drafts)),
    Section("The same texts", _per_model(texts.compared)),
    Section("Time and memory", _per_model(costs.time_and_memory)),
    Section("What a pass costs", costs.passes),
    Section("Fixed pairs and the oracle", _per_model(speed.against_pairs)),
    Section("Cost per input", _per_model(costs.per_input)),
)
