"""Benchmarks: rows of a data set -> prompts, references and scores. One file each.

A file is found by being here. It names its subclass of `Task` in `TASK`; a file without one only
serves the others. A user's own prompts are the task `jsonl:FILE`.

Not responsible for generating, timing or recording anything (`bench/`).
"""

import importlib
import pkgutil
from pathlib import Path

from dynexit.errors import DynexitError
from dynexit.tasks.base import Example, Task, Template
from dynexit.tasks.jsonl import JsonLines


def make_task(name: str, allow_code_execution: bool = False) -> Task:
    """The task of this name.

    Args:
        name: one of `task_names()`, or "jsonl:FILE".
        allow_code_execution: let a task that has to run generated programs do so. Without it such
            a task gives no scores.

    Raises:
        DynexitError: an unknown name.
    """
    kind, _, file = name.partition(":")
    if kind == "jsonl" and file:
        return JsonLines(file)
    known = _tasks()
    if name not in known:
        raise DynexitError(f"task {name!r} is not known: use {', '.join(known)} or jsonl:FILE.")
    return known[name](allow_code_execution)


def task_names() -> list[str]:
    """Every benchmark of this package."""
    return list(_tasks())


def usual_tasks() -> list[str]:
    """Those that run where none is named: all that have answers."""
    return [name for name, task in _tasks().items() if task.has_answers]


def load_examples(
    name: str,
    data_dir: Path | None,
    num_samples: int | None,
    shots: int | None,
    template: str,
    seed: int,
) -> list[Example]:
    """What a model is asked in task `name`; see `Task.examples`.

    Args:
        data_dir: the folder that holds the task's file; None loads it from the Hugging Face hub.

    Raises:
        DynexitError: rows that cannot be read or used, or a request that cannot be met.
    """
    task = make_task(name)
    task.check(num_samples, shots, template)  # before a long download
    return task.examples(task.rows(data_dir), num_samples, shots, template, seed)


def _tasks() -> dict[str, type[Task]]:
    names = sorted(m.name for m in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    found: list[type[Task]] = [module.TASK for module in modules if hasattr(module, "TASK")]
    return {task.name: task for task in found}


__all__ = ["Example", "Task", "Template", "load_examples", "make_task", "task_names", "usual_tasks"]
