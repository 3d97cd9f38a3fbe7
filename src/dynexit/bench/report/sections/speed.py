"""How fast every method is: in short, task by task, prompt by prompt, and against fixed pairs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median

from dynexit.bench.report.speeds import Grid, Prompt, Strategy, Timings, axes_of, median_interval
from dynexit.bench.report.study import Study, repeated
from dynexit.bench.report.wording import (
    VANILLA,
    Cell,
    best_in_bold,
    bold,
    bullets,
    code,
    contends,
    counted,
    fixed,
    gain,
    pair_label,
    percent,
    table,
    task_label,
    times,
    within,
)

CONTROL_GOAL = 0.02  # of a round
SHOWN = 6  # the fastest methods
REPEATING = 0.3  # of a text's 4-grams
Ratios = Mapping[Prompt, float]

TASKS_NOTE = (
    "Speedup over vanilla, eTPL in brackets: tokens per layer loaded, tokens / sum over rounds of "
    "(exit layer x drafted + layers). It counts layers of the target alone, neither its head nor a "
    "second model. Bold: the best of a column, where it is better than vanilla."
)
PROMPTS_NOTE = (
    "Medians over prompts of the speed over vanilla's on the same prompt. The last column leaves "
    f"out prompts whose plain text repeats more than {percent(REPEATING)} of its 4-grams. "
    "Bold: the best of a column, where it is faster than vanilla."
)
PAIRS_NOTE = (
    "Brackets hold (exit layer-speculation length). Regret = 1 - speedup / the oracle's speedup. "
    "The oracle takes the fastest pair of each prompt after the fact, and so profits from noise in "
    "as many timings: it bounds what choosing once a prompt can win, from above. Bold: the best "
    "method of a column, where it is faster than vanilla; hindsight is no method."
)


def in_short(study: Study) -> Iterator[str]:
    """The main results in a few lines."""
    speeds = {method: study.total(method).speedup or 0.0 for method in study.others}
    if not speeds:
        return
    ranked = sorted(speeds, key=lambda method: -speeds[method])
    best = next(filter(contends, ranked), None)
    shown = [m for m in ranked if m == best or m in ranked[:SHOWN]]
    promised = [m for m in study.samples if contends(m)]
    same = [sample.identical for method in promised for sample in study.of(method)]
    yield bullets(
        [
            *(_in_short(study, method, method == best and speeds[method] > 1) for method in shown),
            f"{sum(same)} of {len(same)} texts are vanilla's, token for token.",
            *(line for method in shown for line in _regret(study, method)),
        ]
    )


def _in_short(study: Study, method: str, best: bool) -> str:
    speedup = within(study.total(method).speedup, study.interval(method))
    speed = f"{bold(speedup) if best else speedup} the speed of vanilla"
    prompts = counted(len(study.timings(method)), "prompt")
    tasks, control = counted(len(study.tasks), "task"), ""
    if phases := study.rounds(method).phases:
        share, goal = percent(phases.shares.control, 1), percent(CONTROL_GOAL)
        control = f"; its controller takes {share} of a round (goal: at most {goal})"
    return f"{code(method)} decodes at {speed}: {prompts} of {tasks}{control}."


def _regret(study: Study, method: str) -> Iterator[str]:
    grid = study.fixed_pairs
    if not grid or not (strategy := grid.method(method, study.timings(method))):
        return
    best = grid.best_overall
    yield (
        f"{code(method)} against fixed pairs: regret {percent(grid.regret(strategy), 1)} to the "
        f"oracle, {percent(grid.regret(best), 1)} for{_chosen(best)}, the best pair overall."
    )


def by_task(study: Study) -> Iterator[str]:
    """Table 1 of the paper: every method's speedup, task by task and overall."""
    headings = ["method", *_names(study.tasks), "eTPL", "tok/s", "speedup [95 %]"]
    rows = best_in_bold(_by_task(study, method) for method in study.methods)
    counts = [len(study.timings(method)) for method in study.methods]
    if len(set(counts)) > 1:
        headings.append("prompts")
        rows = [[*row, str(count)] for row, count in zip(rows, counts, strict=True)]
    yield table(headings, rows)
    yield TASKS_NOTE


def _by_task(study: Study, method: str) -> list[Cell]:
    total, rounds = study.total(method), study.rounds(method)
    bounds = None if method == VANILLA else study.interval(method)
    etpl, faster = rounds.etpl, _worth(method, total.speedup)
    fewer = _worth(method, None if etpl is None else etpl * rounds.num_layers)
    return [
        Cell(code(method)),
        *(_of_task(study, method, task) for task in study.tasks),
        Cell(fixed(etpl, 4), fewer),
        Cell(fixed(total.tokens_per_second, 1), faster),
        Cell(within(total.speedup, bounds), faster),
    ]


def _of_task(study: Study, method: str, task: str) -> Cell:
    speedup = study.total(method, task).speedup
    if speedup is None:
        return Cell(times(None))
    etpl = fixed(study.rounds(method, task).etpl, 3)
    return Cell(f"{times(speedup)} ({etpl})", _worth(method, speedup))


def by_prompt(study: Study) -> Iterator[str]:
    """The median over prompts, in which long texts count no more than short ones."""
    listed = (*study.others, *study.grid.values())
    every = {method: _speedups(study.timings(method)) for method in listed}
    if not every:
        return
    plain = {sample.prompt: sample.plain for m in study.methods for sample in study.of(m)}
    steady = [p for p, one in plain.items() if (repeated([one]) or 0.0) <= REPEATING]
    last = f"not repeating ({counted(len(steady), 'prompt')})"
    tasks = _names(study.tasks)
    yield table(
        ["method", *tasks, "all [95 %]", last],
        best_in_bold(_by_prompt(study, m, ratios, steady) for m, ratios in every.items()),
    )
    yield PROMPTS_NOTE
    contending = filter(contends, study.others)
    fastest = max(contending, key=lambda m: _median(every[m]) or 0.0, default=None)
    if fastest is None or len(every) == 1:
        return
    own = every.pop(fastest)
    rows = [_medians(study, code(m), _against(own, ratios)) for m, ratios in every.items()]
    if study.fixed_pairs:
        rows.append(_best_pairs(study, own))
    yield (
        f"The speed of {code(fastest)}, the fastest by the median, over each method's, prompt by "
        "prompt; medians again:"
    )
    yield table(["against", *tasks, "all [95 %]"], rows)


def _by_prompt(study: Study, method: str, ratios: Ratios, steady: Sequence[Prompt]) -> list[Cell]:
    found = {prompt: ratios[prompt] for prompt in steady if prompt in ratios}
    groups = (*(_of(ratios, task) for task in study.tasks), ratios, found)
    values = [None, *(_worth(method, _median(group)) for group in groups)]
    texts = [*_medians(study, code(method), ratios), times(_median(found))]
    return [Cell(text, value) for text, value in zip(texts, values, strict=True)]


def _medians(study: Study, name: str, ratios: Ratios) -> list[str]:
    cells = [times(_median(_of(ratios, task))) for task in study.tasks]
    return [name, *cells, within(_median(ratios), median_interval(list(ratios.values())))]


def _best_pairs(study: Study, own: Ratios) -> list[str]:
    """Against the pair whose median is best, task by task, with hindsight."""
    timings, cells = study.fixed_pairs.timings, []
    for task in (*study.tasks, None):
        speedups = {pair: _of(_speedups(found), task) for pair, found in timings.items()}
        best = max(speedups, key=lambda pair: _median(speedups[pair]) or 0.0)
        middle = _median(_against(own, speedups[best]))
        cells.append(times(middle) if middle is None else f"{times(middle)} {pair_label(best)}")
    return ["best fixed pair", *cells]


def _speedups(timings: Timings) -> Ratios:
    return {p: t.speedup for p, t in timings.items() if t.speedup is not None}


def _against(own: Ratios, other: Ratios) -> Ratios:
    return {prompt: own[prompt] / speed for prompt, speed in other.items() if prompt in own}


def _of(ratios: Ratios, task: str | None) -> Ratios:
    return {prompt: ratio for prompt, ratio in ratios.items() if task in (None, prompt[0])}


def _median(ratios: Ratios) -> float | None:
    return median(ratios.values()) if ratios else None


def against_pairs(study: Study) -> Iterator[str]:
    """The grid of fixed pairs: how fast each is, the best with hindsight, methods against it."""
    grid = study.fixed_pairs
    if not grid:
        return
    hindsight = [grid.best_overall, grid.best_per_task, grid.oracle]
    made = (grid.method(method, study.timings(method)) for method in study.others)
    rows = best_in_bold(_against_pairs(grid, one) for one in (*hindsight, *filter(None, made)))
    yield (
        f"{len(grid.timings)} fixed pairs, on the {counted(len(grid.prompts), 'prompt')} that all "
        "of them have finished."
    )
    yield table(["choice", *_names(grid.tasks), "speedup [95 %]", "regret"], rows)
    yield PAIRS_NOTE
    yield "Speedup of every pair over all these prompts:"
    yield _pairs(grid)


def _against_pairs(grid: Grid, strategy: Strategy) -> list[Cell]:
    groups: list[str | None] = [*grid.tasks, None]
    speeds = [strategy.speedup(task) for task in groups]
    texts = [times(speed) for speed in speeds[:-1]] + [within(speeds[-1], strategy.interval)]
    cells = [
        Cell(text + _chosen(strategy, task), _worth(strategy.name, speed, not strategy.pairs))
        for text, task, speed in zip(texts, groups, speeds, strict=True)
    ]
    name = strategy.name if strategy.pairs else code(strategy.name)
    return [Cell(name), *cells, Cell(percent(grid.regret(strategy), 1), cells[-1].value)]


def _chosen(strategy: Strategy, task: str | None = None) -> str:
    pair = strategy.pair(task)
    return "" if pair is None else f" {pair_label(pair)}"


def _pairs(grid: Grid) -> str:
    layers, lengths = axes_of(grid.timings)
    cells = {pair: times(grid.strategy(pair).speedup()) for pair in grid.timings}
    best = grid.best_overall.pair()
    cells |= {pair: bold(text) for pair, text in cells.items() if pair == best}
    return table(
        ["exit layer", *(f"length {d}" for d in lengths)],
        ([str(e), *(cells.get((e, d), times(None)) for d in lengths)] for e in layers),
    )


def _names(tasks: Iterable[str]) -> list[str]:
    return [code(task_label(task)) for task in tasks]


def _worth(method: str, ratio: float | None, contending: bool = True) -> float | None:
    """A ratio to vanilla's, where it may be bold."""
    return gain(ratio) if contending and contends(method) else None
