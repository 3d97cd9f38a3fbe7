"""What was measured, and how it is averaged."""

from dynexit.bench.report.markdown import bullets, code, counted
from dynexit.bench.report.naming import task_label
from dynexit.bench.report.sections.base import Blocks, Section
from dynexit.bench.report.sections.origin import alternatives, distinct
from dynexit.bench.report.study import Evidence, Study

METHOD = (
    "Times are of decoding alone; prefill is listed apart. A speedup is (vanilla seconds / vanilla "
    "tokens) / (method seconds / method tokens), each summed over all prompts first: a "
    "micro-average over tokens, against vanilla of the same prompts in the same run. Intervals "
    "cover 95 % of 1,000 bootstrap resamples of the prompts within each task; of fewer than five "
    "prompts there is none."
)


def _write(evidence: Evidence) -> Blocks:
    options = [line for name in ("template", "shots") if (line := _values(evidence, name))]
    lines = [
        *(_model(study) for study in evidence.studies),
        f"Texts: {', '.join([_new_tokens(evidence), _sampling(evidence), *options])}",
    ]
    return [bullets(lines), METHOD]


def _model(study: Study) -> str:
    prompts: dict[str, set[str]] = {task: set() for task in study.tasks}
    for samples in study.samples.values():
        for task, example in (sample.prompt for sample in samples):
            prompts[task].add(example)
    counts = ", ".join(f"{code(task_label(task))} {len(ids)}" for task, ids in prompts.items())
    total = counted(sum(map(len, prompts.values())), "prompt")
    return f"Model {code(study.model)}: {total} ({counts})"


def _new_tokens(evidence: Evidence) -> str:
    asked = distinct(one.options.get("max_new_tokens") for one in evidence.generations)
    longest = max(one.new_tokens for one in evidence.generations)
    return f"at most {' or '.join(asked) or f'{longest:,}'} new tokens"


def _sampling(evidence: Evidence) -> str:
    options = [one.options for one in evidence.generations]
    if not any(one.get("temperature") for one in options):
        return "greedy"
    names = ("temperature", "top_k", "top_p", "seed")
    return ", ".join(_values(evidence, name) for name in names)


def _values(evidence: Evidence, name: str) -> str:
    """Such as "seed `0`"; empty where no record says it."""
    told = alternatives(one.options.get(name) for one in evidence.generations)
    return f"{name} {told}" if told else ""


SECTION = Section("What was measured", _write)
