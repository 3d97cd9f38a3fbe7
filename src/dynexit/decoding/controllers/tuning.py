"""Constants of `auto` that are neither costs nor acceptance rates."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tuning:
    """The defaults: each with its unit, and where it was measured.

    Only runs without texts of the benchmark that judges `auto` count as measurements. Where
    docs/log.md has no such run, a default is marked as chosen, not measured.
    Random texts showed that counts must fade (2026-11-27), not how fast; those that `waiting` was
    tried on (2026-11-21) are not named.
    """

    tokens: int = 24  # tokens of a draft, by an exit or looked up; chosen, not measured
    levels: int = 16  # levels of a draft that must each be worth it; chosen, not measured
    shallow: int = 8  # rounds at first, whose drafts do not branch; chosen, not measured
    doubtful: int = 4  # rounds after which a text that accepted nothing is learned from; chosen,
    # not measured
    first_lessons: tuple[int, ...] = (8, 16, 32)  # rounds at first; measured 2026-11-28
    lessons: tuple[int, int] = (32, 64)  # rounds between two lessons after them: the first number
    # where as many plain steps take `lesson`; measured 2026-11-28
    lesson: float = 0.1  # seconds: Python takes as long for one, however long steps are; chosen
    first_depth: float = 0.15  # of the layers: exit of those rounds; chosen, not measured
    depth: float = 0.25  # of the layers: exit after them; chosen, not measured
    memory: float = 0.9  # of an exit's counts, at each lesson on it; chosen, not measured
    enough: int = 6  # positions after which an exit is known; chosen, not measured
    well: int = 24  # and well known: analysed every `lessons[1]` rounds only; chosen, not measured
    candidates: int = 8  # exits at most; chosen, not measured
    waiting: float = 0.3  # tokens that a draft must add where others wait; chosen, not measured
    hope: float = 1.3  # of plain decoding's pace: the pace at first; chosen, not measured
    drift: float = 4.0  # rounds: drafts count as late as verification is; chosen, not measured


TUNING = Tuning()
