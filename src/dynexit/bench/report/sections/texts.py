"""Where the texts come from, and whether they equal vanilla's."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dynexit.bench.report.study import GRAM, Evidence, Sample, Study, repeated, task_scores
from dynexit.bench.report.wording import (
    VANILLA,
    bullets,
    code,
    counted,
    fixed,
    lossless,
    percent,
    prompt_label,
    table,
    task_label,
)

PLACE = ("processor", "device", "cores", "threads", "dtype", "runtime", "system")
VERSIONS = ("dynexit", "torch", "transformers", "python", "llama-cpp-python", "built with")
COMMANDS = 8  # shown; a continued run and a second file add theirs
UNKNOWN = "not recorded"  # by an older dynexit
SHOWN = 8  # differing examples of a method, by name

AVERAGES_NOTE = (
    "Times are of decoding alone; prefill is listed apart. A speedup is (vanilla seconds / vanilla "
    "tokens) / (method seconds / method tokens), each summed over all prompts first: a "
    "micro-average over tokens, against vanilla of the same prompts in the same run. Intervals "
    "cover 95 % of 1,000 bootstrap resamples of the prompts within each task; of fewer than five "
    "prompts there is none."
)
DIFFERENCE_NOTE = (
    "A difference is no proof of an error: rounding may decide between two tokens that the target "
    "holds for almost equally likely. `dynexit check` tells the two apart."
)


def origin(evidence: Evidence) -> str:
    """A report's head: when, how, with which versions and on what its records were made."""
    found = [one.environment for one in evidence.generations]
    told = {
        "Date": _dates(_distinct(found, "date")),
        "Command": _commands(_distinct(found, "command")),
        "Versions": _values(found, VERSIONS),
        "Commit": _alternatives(found, "commit"),
        "Machine": _values(found, PLACE),
    }
    return bullets(f"{name}: {value or UNKNOWN}" for name, value in told.items())


def _dates(moments: Sequence[str]) -> str:
    """The first and the last day; moments are in UTC, as ISO 8601 writes them."""
    days = sorted({moment[:10] for moment in moments})
    return " to ".join(map(code, dict.fromkeys((days[0], days[-1])))) if days else ""


def _commands(commands: Sequence[str]) -> str:
    more = f" and {len(commands) - COMMANDS} more" if len(commands) > COMMANDS else ""
    return ", ".join(map(code, commands[:COMMANDS])) + more


def _distinct(found: Iterable[Mapping[str, Any]], name: str) -> list[str]:
    """Values as text, in their order; without None."""
    values = (one.get(name) for one in found)
    return list(dict.fromkeys(str(value) for value in values if value is not None))


def _alternatives(found: Iterable[Mapping[str, Any]], name: str) -> str:
    """Such as "`2` or `4`"; empty without any."""
    return " or ".join(map(code, _distinct(found, name)))


def _values(found: Sequence[Mapping[str, Any]], names: Iterable[str]) -> str:
    """Such as "threads `2`, dtype `bf16`", of what any record says."""
    told = ((name, _alternatives(found, name)) for name in names)
    return ", ".join(f"{name} {values}" for name, values in told if values)


def measured(evidence: Evidence) -> Iterator[str]:
    """What was measured, and how it is averaged."""
    texts = evidence.generations
    options = [one.options for one in texts]
    asked = " or ".join(_distinct(options, "max_new_tokens"))
    longest = asked or f"{max(one.new_tokens for one in texts):,}"
    sampled = any(one.get("temperature") for one in options)
    rule = _values(options, ("temperature", "top_k", "top_p", "seed")) if sampled else "greedy"
    rest = _values(options, ("template", "shots"))
    told = [f"at most {longest} new tokens", rule, *filter(None, [rest])]
    yield bullets([*map(_prompts, evidence.studies), f"Texts: {', '.join(told)}"])
    yield AVERAGES_NOTE


def _prompts(study: Study) -> str:
    prompts: dict[str, set[str]] = {task: set() for task in study.tasks}
    for samples in study.samples.values():
        for task, example in (sample.prompt for sample in samples):
            prompts[task].add(example)
    counts = ", ".join(f"{code(task_label(task))} {len(ids)}" for task, ids in prompts.items())
    total = counted(sum(map(len, prompts.values())), "prompt")
    return f"Model {code(study.model)}: {total} ({counts})"


def compared(study: Study) -> Iterator[str]:
    """Whether the texts are vanilla's, and how good they are."""
    rows = [_compared(code(m), study.of(m), lossless(m)) for m in study.others]
    if study.grid:
        samples = [s for method in study.grid.values() for s in study.of(method)]
        rows.append(_compared(f"{len(study.grid)} fixed pairs of the grid", samples, True))
    if rows:
        yield table(["method", "differing examples", "identical to vanilla"], rows, left=2)
        yield DIFFERENCE_NOTE
    yield from _repetition(study)
    yield from _scores(study)


def _compared(name: str, samples: Sequence[Sample], promised: bool) -> list[str]:
    differing = dict.fromkeys(prompt_label(*s.prompt) for s in samples if not s.identical)
    shown = ", ".join(map(code, list(differing)[:SHOWN]))
    more = f" and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
    same = sum(sample.identical for sample in samples)
    lossy = "" if promised else " (lossy by design)"
    return [name + lossy, (shown + more) or "none", f"{same}/{len(samples)}"]


def _repetition(study: Study) -> Iterator[str]:
    found = ((task, repeated(study.texts(VANILLA, task))) for task in study.tasks)
    shares = [f"{code(task_label(task))} {percent(share)}" for task, share in found if share]
    if shares:
        told = ", ".join(shares)
        yield f"Of vanilla's {GRAM}-grams, so many stood earlier in their text: {told}."


def _scores(study: Study) -> Iterator[str]:
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
