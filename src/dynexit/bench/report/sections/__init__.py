"""What a report says, in order: one file a section. Each turns evidence into markdown blocks.

A figure names the section that it stands under (`figures/`).
"""

from dynexit.bench.report.sections import (
    ablations,
    fixed_pairs,
    losslessness,
    measured,
    passes,
    per_input,
    prompts,
    speed,
    summary,
    time_and_memory,
)
from dynexit.bench.report.sections.base import Section

SECTIONS: tuple[Section, ...] = (
    summary.SECTION,
    measured.SECTION,
    speed.SECTION,
    prompts.SECTION,
    ablations.SECTION,
    losslessness.SECTION,
    time_and_memory.SECTION,
    passes.SECTION,
    fixed_pairs.SECTION,
    per_input.SECTION,
)

__all__ = ["SECTIONS", "Section"]
