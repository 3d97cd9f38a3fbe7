"""The middle prompt: methods compared on each prompt by itself; long texts do not decide."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from dynexit.bench.report.grid import Grid
from dynexit.bench.report.markdown import (
    Cell,
    best_in_bold,
    code,
    counted,
    gain,
    percent,
    table,
    times,
    within,
)
from dynexit.bench.report.naming import VANILLA, contends, pair_label, task_label
from dynexit.bench.report.scores import repeated
from dynexit.bench.report.sections.base import Section, per_model
from dynexit.bench.report.study import Prompt, Study
from dynexit.bench.report.timing import Timing, median_interval

REPEATING = 0.3  # of a text's 4-grams
Ratios = Mapping[Prompt, float]

NOTE = (
    "Medians over prompts of the speed over vanilla's on the same prompt. The last column leaves "
    f"out prompts whose plain text repeats more than {percent(REPEATING)} of its 4-grams. "
    "Bold: the best of a column, where it is faster than vanilla."
)


def _write(study: Study) -> Iterable[str]:
    others = [method for method in study.methods if method != VANILLA]
    listed = (*others, *study.grid.values())
    every = {method: _speeds(study.timings(method)) for method in listed}
    if not every:
        return
    steady = _steady(study)
    tasks = [code(task_label(task)) for task in study.tasks]
    yield table(
        ["method", *tasks, "all [95 %]", f"not repeating ({counted(len(steady), 'prompt')})"],
        best_in_bold(_speed_row(study, method, every[method], steady) for method in every),
    )
    yield NOTE
    fastest = max(filter(contends, others), key=lambda m: _middle_of_all(every[m]), default=None)
    if fastest is None or len(every) == 1:
        return
    own = every.pop(fastest)
    rows = [_row(study, code(m), _against(own, ratios)) for m, ratios in every.items()]
    if grid := Grid.of(study):
        rows.append(_best_pairs(study, own, grid))
    yield (
        f"The speed of {code(fastest)}, the fastest by the median, over each method's, prompt by "
        "prompt; medians again:"
    )
    yield table(["against", *tasks, "all [95 %]"], rows)


def _middle_of_all(ratios: Ratios) -> float:
    return _median(ratios, ratios) or 0.0


def _speeds(timings: Mapping[Prompt, Timing]) -> Ratios:
    return {p: t.speedup for p, t in timings.items() if t.speedup is not None}


def _against(own: Ratios, other: Ratios) -> Ratios:
    return {prompt: own[prompt] / speed for prompt, speed in other.items() if prompt in own}


def _steady(study: Study) -> set[Prompt]:
    """Prompts whose plain text does not go in circles."""
    plain = {sample.prompt: sample.plain for m in study.methods for sample in study.of(m)}
    return {prompt for prompt, one in plain.items() if (repeated([one]) or 0.0) <= REPEATING}


def _speed_row(study: Study, method: str, ratios: Ratios, steady: set[Prompt]) -> list[Cell]:
    texts = [*_row(study, code(method), ratios), _middle(ratios, steady)]
    groups = (*(_of(ratios, task) for task in study.tasks), list(ratios), list(steady))
    medians = [gain(_median(ratios, g)) if contends(method) else None for g in groups]
    return [Cell(text, value) for text, value in zip(texts, (None, *medians), strict=True)]


def _row(study: Study, name: str, ratios: Ratios) -> list[str]:
    cells = [_middle(ratios, _of(ratios, task)) for task in study.tasks]
    bounds = median_interval(list(ratios.values()))
    return [name, *cells, within(_median(ratios, ratios), bounds)]


def _best_pairs(study: Study, own: Ratios, grid: Grid) -> list[str]:
    """Against the pair whose median is best, task by task, with hindsight."""
    speeds, cells = {pair: _speeds(timings) for pair, timings in grid.timings.items()}, []
    for task in (*study.tasks, None):
        middles = {pair: _median(ratios, _of(ratios, task)) for pair, ratios in speeds.items()}
        best = max(middles, key=lambda pair: middles[pair] or 0.0)
        ratios = _against(own, speeds[best])
        middle = _median(ratios, _of(ratios, task))
        cells.append(times(middle) if middle is None else f"{times(middle)} {pair_label(best)}")
    return ["best fixed pair", *cells]


def _of(ratios: Ratios, task: str | None) -> Sequence[Prompt]:
    return [prompt for prompt in ratios if task in (None, prompt[0])]


def _median(ratios: Ratios, prompts: Iterable[Prompt]) -> float | None:
    values = [ratios[prompt] for prompt in prompts if prompt in ratios]
    return median(values) if values else None


def _middle(ratios: Ratios, prompts: Iterable[Prompt]) -> str:
    return times(_median(ratios, prompts))


SECTION = Section("Prompt by prompt", per_model(_write))
