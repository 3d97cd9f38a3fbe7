"""The grid of fixed pairs: how fast each is, the best with hindsight, methods against it."""

from collections.abc import Iterable

from dynexit.bench.report.grid import Grid, Strategy
from dynexit.bench.report.markdown import (
    Cell,
    best_in_bold,
    bold,
    code,
    counted,
    gain,
    percent,
    table,
    times,
    within,
)
from dynexit.bench.report.naming import VANILLA, contends, pair_label, task_label
from dynexit.bench.report.sections.base import Section, per_model
from dynexit.bench.report.study import Study

NOTE = (
    "Brackets hold (exit layer-speculation length). Regret = 1 - speedup / the oracle's speedup. "
    "The oracle takes the fastest pair of each prompt after the fact, and so profits from noise in "
    "as many timings: it bounds what choosing once a prompt can win, from above. Bold: the best "
    "method of a column, where it is faster than vanilla; hindsight is no method."
)


def _write(study: Study) -> Iterable[str]:
    grid = Grid.of(study)
    if not grid:
        return
    hindsight = [grid.best_overall, grid.best_per_task, grid.oracle]
    made = (grid.method(study, method) for method in study.methods if method != VANILLA)
    rows = best_in_bold(_row(grid, one) for one in (*hindsight, *filter(None, made)))
    headings = ["choice", *(code(task_label(task)) for task in grid.tasks)]
    yield (
        f"{len(grid.timings)} fixed pairs, on the {counted(len(grid.prompts), 'prompt')} that all "
        "of them have finished."
    )
    yield table([*headings, "speedup [95 %]", "regret"], rows)
    yield NOTE
    yield "Speedup of every pair over all these prompts:"
    yield _pairs(grid)


def _row(grid: Grid, strategy: Strategy) -> list[Cell]:
    contending = not strategy.pairs and contends(strategy.name)
    groups: list[str | None] = [*grid.tasks, None]
    speeds = [strategy.speedup(task) for task in groups]
    texts = [times(speed) for speed in speeds[:-1]] + [within(speeds[-1], strategy.interval)]
    cells = [
        Cell(text + _chosen(strategy, task), gain(speed) if contending else None)
        for text, task, speed in zip(texts, groups, speeds, strict=True)
    ]
    name = strategy.name if strategy.pairs else code(strategy.name)
    return [Cell(name), *cells, Cell(percent(grid.regret(strategy), 1), cells[-1].value)]


def _chosen(strategy: Strategy, task: str | None) -> str:
    pair = strategy.pair(task)
    return "" if pair is None else f" {pair_label(pair)}"


def _pairs(grid: Grid) -> str:
    layers = sorted({layer for layer, _ in grid.timings})
    lengths = sorted({length for _, length in grid.timings})
    best = grid.best_overall.pair()
    cells = {pair: times(grid.strategy(pair).speedup()) for pair in grid.timings}
    rows = (
        [
            str(layer),
            *(
                bold(cells[layer, d]) if (layer, d) == best else cells.get((layer, d), times(None))
                for d in lengths
            ),
        ]
        for layer in layers
    )
    return table(["exit layer", *(f"length {d}" for d in lengths)], rows)


SECTION = Section("Fixed pairs and the oracle", per_model(_write))
