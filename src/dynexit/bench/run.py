"""One benchmark from options to records: plan the shards, run them, write their records."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from dynexit.bench.executors import Executor
from dynexit.bench.journal import Journal
from dynexit.bench.options import Options, Shard
from dynexit.bench.peers import find_peer, is_peer
from dynexit.bench.provenance import provenance
from dynexit.bench.records import Key, Record, conditions
from dynexit.decoding.sampling_parameters import Sampling
from dynexit.errors import DynexitError
from dynexit.methods import usable_controller
from dynexit.model.names import check_names
from dynexit.tasks import load_examples
from dynexit.tasks.base import Example

Examples = Mapping[str, Sequence[Example]]
Watcher = Callable[[Record | None, int, int], None]


class Outcome(NamedTuple):
    """What is the matter with a finished run's file, in records."""

    failed: int
    gone: int


def run(options: Options, out: Path, executor: Executor, watch: Watcher) -> Outcome:
    """Run what `out` does not hold yet.

    Args:
        watch: told of every record, with how many there are and will be; first of none.

    Returns:
        How many records hold an error, and how many are of prompts that are gone.

    Raises:
        DynexitError: options that cannot be run, before anything is written.
    """
    check_options(options)
    examples = {task: _load(task, options) for task in options.tasks}
    wanted = wanted_keys(options, examples)
    total = len(wanted)
    with Journal(out, options) as journal:
        gone = journal.set_aside(wanted)
        shards = plan_shards(options, examples, journal.done, executor.shard_size)
        watch(None, len(journal.done), total)
        origin = provenance()
        for record in executor.run(options, shards):
            record.environment = origin | record.environment
            journal.append(record)
            watch(record, len(journal.done), total)
        failed = sum(record.error is not None for record in journal.done.values())
        return Outcome(failed, gone)


def wanted_keys(options: Options, examples: Examples) -> frozenset[Key]:
    """Of all records that a whole run has."""
    return frozenset(
        (model, task, example.id, method, example.content)
        for model, (task, found), method in product(
            options.models, examples.items(), options.methods
        )
        for example in found
    )


def check_options(options: Options) -> None:
    """Raises DynexitError for what no model could be asked for."""
    check_methods(options)
    Sampling(options.temperature, options.top_k, options.top_p, seed=options.seed)
    check_names(options.dtype, options.device, options.runtime)


def check_methods(options: Options) -> None:
    """Raises DynexitError for a method, a setting of one, or a peer that does not exist."""
    for method in options.methods:
        if is_peer(method):
            find_peer(method)
            if options.temperature > 0:
                raise DynexitError(
                    f"{method} supports greedy decoding only: leave out --temperature."
                )
            continue
        usable_controller(method, options.draft_model is not None)


def plan_shards(
    options: Options, examples: Examples, done: Mapping[Key, Record], size: int | None
) -> list[Shard]:
    """Everything not done, cut into shards of `size` examples; None is a task in one piece."""
    shards = []
    for model, (task, found) in product(options.models, examples.items()):
        over = frozenset((key[2], key[3]) for key in done if key[:2] == (model, task))
        for start in range(0, len(found), size or len(found)):
            part = tuple(found[start : start + (size or len(found))])
            if any((e.id, method) not in over for e, method in product(part, options.methods)):
                shards.append(Shard(model, task, part, over, _conditions(model, done)))
    return shards


def _conditions(model: str, done: Mapping[Key, Record]) -> dict[str, Any]:
    """What a model's records were made with; empty without one."""
    for record in done.values():
        if record.model == model and not is_peer(record.method):
            return conditions(record)
    return {}


def _load(task: str, options: Options) -> list[Example]:
    return load_examples(
        task, options.folder, options.num_samples, options.shots, options.template, options.seed
    )
