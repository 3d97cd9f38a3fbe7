"""What a section is."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from dynexit.bench.report.markdown import code
from dynexit.bench.report.study import Evidence, Study

Blocks = list[str]  # of markdown, a blank line between them


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it; without blocks the section is left out."""

    title: str
    write: Callable[[Evidence], Blocks]


def per_model(write: Callable[[Study], Iterable[str]]) -> Callable[[Evidence], Blocks]:
    """One model after the other, under their names where there are several."""

    def blocks(evidence: Evidence) -> Blocks:
        found = [(study, list(write(study))) for study in evidence.studies]
        return [block for study, own in found if own for block in (*_name(study, evidence), *own)]

    return blocks


def _name(study: Study, evidence: Evidence) -> Sequence[str]:
    return [f"### {code(study.model)}"] if len(evidence.studies) > 1 else []
