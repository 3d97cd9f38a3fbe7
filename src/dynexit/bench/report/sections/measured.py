"""What was measured, on what, and how it is averaged."""

from collections.abc import Iterable

from dynexit.bench.report.markdown import bullets, code, counted
from dynexit.bench.report.naming import task_label
from dynexit.bench.report.sections.base import Blocks, Section
from dynexit.bench.report.study import Evidence, Study

PLACE = ("processor", "device", "cores", "threads", "dtype", "runtime", "system")
VERSIONS = ("dynexit", "torch", "python", "transformers", "llama-cpp-python", "built with")
METHOD = (
    "Times are of decoding alone; prefill is listed apart. A speedup is (vanilla seconds / vanilla "
    "tokens) / (method seconds / method tokens), each summed over all prompts first: a "
    "micro-average over tokens, against vanilla of the same prompts in the same run. Intervals "
    "cover 95 % of 1,000 bootstrap resamples of the prompts within each task; of fewer than five "
    "prompts there is none."
)


def _write(evidence: Evidence) -> Blocks:
    machine = [line for name in PLACE if (line := _values(evidence, "environment", name))]
    versions = [line for name in VERSIONS if (line := _values(evidence, "environment", name))]
    options = [
        line for name in ("template", "shots") if (line := _values(evidence, "options", name))
    ]
    lines = [
        *(_model(study) for study in evidence.studies),
        f"Texts: {', '.join([_new_tokens(evidence), _sampling(evidence), *options])}",
        f"Machine: {', '.join(machine) or 'not recorded'}",
        f"Versions: {', '.join(versions) or 'not recorded'}",
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
    asked = _distinct(one.options.get("max_new_tokens") for one in evidence.generations)
    longest = max(one.new_tokens for one in evidence.generations)
    return f"at most {' or '.join(asked) or f'{longest:,}'} new tokens"


def _sampling(evidence: Evidence) -> str:
    options = [one.options for one in evidence.generations]
    if not any(one.get("temperature") for one in options):
        return "greedy"
    names = ("temperature", "top_k", "top_p", "seed")
    return ", ".join(_values(evidence, "options", name) for name in names)


def _values(evidence: Evidence, holder: str, name: str) -> str:
    """Such as "threads 2"; empty where no record says it."""
    found = _distinct(getattr(one, holder).get(name) for one in evidence.generations)
    return f"{name} {code(' or '.join(found))}" if found else ""


def _distinct(values: Iterable[object]) -> list[str]:
    return list(dict.fromkeys(str(value) for value in values if value is not None))


SECTION = Section("What was measured", _write)
