"""Whether the texts are vanilla's, and how good they are."""

from collections.abc import Iterable, Sequence

from dynexit.bench.report.markdown import code, fixed, percent, table
from dynexit.bench.report.naming import VANILLA, lossless, prompt_label, task_label
from dynexit.bench.report.scores import GRAM, repeated, task_scores
from dynexit.bench.report.sections.base import Section, per_model
from dynexit.bench.report.study import Sample, Study

SHOWN = 8  # differing examples of a method, by name
NOTE = (
    "A difference is no proof of an error: rounding may decide between two tokens that the target "
    "holds for almost equally likely. `dynexit check` tells the two apart."
)


def _write(study: Study) -> Iterable[str]:
    others = [method for method in study.methods if method != VANILLA]
    rows = [_row(code(method), study.of(method), lossless(method)) for method in others]
    if study.grid:
        samples = [s for method in study.grid.values() for s in study.of(method)]
        rows.append(_row(f"{len(study.grid)} fixed pairs of the grid", samples, True))
    if rows:
        yield table(["method", "differing examples", "identical to vanilla"], rows, left=2)
        yield NOTE
    yield from _repetition(study)
    yield from _scores(study)


def _repetition(study: Study) -> Iterable[str]:
    found = ((task, repeated(study.texts(VANILLA, task))) for task in study.tasks)
    shares = [f"{code(task_label(task))} {percent(share)}" for task, share in found if share]
    if shares:
        told = ", ".join(shares)
        yield f"Of vanilla's {GRAM}-grams, so many stood earlier in their text: {told}."


def _row(name: str, samples: Sequence[Sample], promised: bool) -> list[str]:
    differing = dict.fromkeys(prompt_label(*s.prompt) for s in samples if not s.identical)
    shown = ", ".join(map(code, list(differing)[:SHOWN]))
    more = f" and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
    same = sum(sample.identical for sample in samples)
    lossy = "" if promised else " (lossy by design)"
    return [name + lossy, (shown + more) or "none", f"{same}/{len(samples)}"]


def _scores(study: Study) -> Iterable[str]:
    found = {
        method: {
            (task, name): score
            for task in study.tasks
            for name, score in task_scores(study.texts(method, task)).items()
        }
        for method in study.methods
    }
    columns = list(dict.fromkeys(column for scores in found.values() for column in scores))
    if not columns:
        return
    headings = ["method", *(f"{code(task_label(task))} {name}" for task, name in columns)]
    rows = (
        [code(method), *(fixed(scores.get(column), 3) for column in columns)]
        for method, scores in found.items()
    )
    yield "Scores of the texts that a method has finished: means, or of the corpus (BLEU, chrF)."
    yield table(headings, rows)


SECTION = Section("The same texts", per_model(_write))
