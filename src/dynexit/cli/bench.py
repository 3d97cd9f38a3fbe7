"""`dynexit bench` and `dynexit sweep`: models x tasks x methods into a file of records."""

from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from dynexit.cli.options import (
    DataDir,
    Device,
    DraftModel,
    Dtype,
    NewTokens,
    NumSamples,
    Runtime,
    Seed,
    Shots,
    Tasks,
    Template,
    Threads,
    look_for_hub,
)
from dynexit.cli.printing import note, notes
from dynexit.errors import INTERRUPTED, DynexitError
from dynexit.model.ranks.joined import refuse_several
from dynexit.rates import speedup

if TYPE_CHECKING:
    from dynexit.bench.executors import Executor
    from dynexit.bench.options import Options
    from dynexit.bench.records import Record

Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model", "-m", help="Folder, GGUF file or hub id; may repeat [default: bundled]."
    ),
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        help="NAME or NAME:setting=value,...; may repeat [default: the five in DEL's Table 1].",
    ),
]
Out = Annotated[
    Path, typer.Option("--out", "-o", help="JSON Lines file; an existing one is continued.")
]
Execute = Annotated[
    bool,
    typer.Option("--allow-code-execution", help="Run generated code, unsandboxed, for pass@1."),
]
Workers = Annotated[
    int, typer.Option(min=1, help="Processes on this machine; more than 1 spoils timings.")
]
Ray = Annotated[str | None, typer.Option(help="Address of a Ray cluster to spread over, or auto.")]
Gpus = Annotated[float, typer.Option(min=0, help="GPUs per worker, declared to Ray.")]


def bench(
    out: Out,
    model: Models = None,
    task: Tasks = None,
    method: Methods = None,
    data_dir: DataDir = None,
    num_samples: NumSamples = None,
    n_shot: Shots = None,
    template: Template = "del",
    max_new_tokens: NewTokens = 512,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.0,
    top_k: Annotated[int, typer.Option(help="Keep the k likeliest tokens; 0 is off.")] = 0,
    top_p: Annotated[
        float, typer.Option(help="Keep the likeliest tokens with this total probability; 1 is off.")
    ] = 1.0,
    seed: Seed = 0,
    dtype: Dtype = None,
    device: Device = None,
    threads: Threads = None,
    runtime: Runtime = None,
    draft_model: DraftModel = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(help="Also time this program: transformers or llama.cpp; may repeat."),
    ] = None,
    allow_code_execution: Execute = False,
    workers: Workers = 1,
    ray: Ray = None,
    gpus_per_worker: Gpus = 0,
) -> None:
    """Time methods on tasks. Every prompt runs all methods in turn; a stopped run continues."""
    from dynexit.bench.options import TABLE_1

    settings = {**locals(), "method": (*(method or TABLE_1), *peer_methods(peer or []))}
    _run(make_options(settings), out, make_executor(workers, ray, gpus_per_worker, threads))


def sweep(
    out: Out,
    model: Models = None,
    task: Tasks = None,
    exit_layers: Annotated[str, typer.Option(help="Exit layers, such as 1-4,6,8.")] = "1-8",
    lengths: Annotated[str, typer.Option(help="Speculation lengths, such as 1-6.")] = "1-6",
    method: Annotated[
        list[str] | None,
        typer.Option("--method", help="Method to compare with; may repeat [default: del]."),
    ] = None,
    data_dir: DataDir = None,
    num_samples: NumSamples = 8,
    n_shot: Shots = None,
    template: Template = "del",
    max_new_tokens: NewTokens = 512,
    seed: Seed = 0,
    dtype: Dtype = None,
    device: Device = None,
    threads: Threads = None,
    runtime: Runtime = None,
    workers: Workers = 1,
    ray: Ray = None,
    gpus_per_worker: Gpus = 0,
) -> None:
    """Time every fixed pair of exit layer and speculation length, and DEL for comparison.

    `dynexit report` draws the heat maps and finds the best pair per prompt, per task and overall.
    """
    pairs = [(e, d) for e in parse_range(exit_layers) for d in parse_range(lengths)]
    grid = [f"layerskip:exit_layer={e},speculation_length={d}" for e, d in pairs]
    settings = {**locals(), "method": (*(method or ["del"]), *grid)}
    _run(make_options(settings), out, make_executor(workers, ray, gpus_per_worker, threads))


def make_options(settings: dict[str, Any]) -> "Options":
    """Options of a benchmark from a command's arguments; vanilla is always included."""
    from dynexit.bench.options import Options
    from dynexit.model.places import BUNDLED
    from dynexit.tasks import usual_tasks

    data_dir = settings["data_dir"]
    named = {
        "models": tuple(settings["model"] or [BUNDLED.name]),
        "tasks": tuple(settings["task"] or usual_tasks()),
        "methods": tuple(dict.fromkeys(("vanilla", *settings["method"]))),
        "data_dir": None if data_dir is None else str(data_dir),
        "shots": settings["n_shot"],
    }
    known = Options.__dataclass_fields__
    return Options(**named, **{k: v for k, v in settings.items() if k in known and k not in named})


def peer_methods(names: list[str]) -> list[str]:
    """Method names of the peers' variants."""
    from dynexit.bench.peers import find_peer

    return [method for name in names for method in find_peer(name)[0].methods]


def make_executor(
    workers: int, ray: str | None, gpus: float, threads: int | None = None
) -> "Executor":
    """Where the shards run, with `threads` CPU threads each."""
    from dynexit.bench.executors import Cluster, Inline, Processes
    from dynexit.model.threads import check_threads

    if ray is not None or workers > 1:
        refuse_several("bench --ray" if workers == 1 else "bench --workers")
    if ray is not None and workers > 1:
        raise DynexitError("give --workers for this machine or --ray for a cluster, not both.")
    if ray is not None:
        return Cluster(ray, gpus)
    check_threads(threads)
    return Processes(workers) if workers > 1 else Inline()


def parse_range(text: str) -> list[int]:
    """Parse a list of numbers such as "1-4,6"."""
    numbers: dict[int, None] = {}
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        try:
            numbers |= dict.fromkeys(range(int(first), int(last or first) + 1))
        except ValueError:
            raise DynexitError(f"{text!r} is not a list of numbers such as 1-4,6,8.") from None
    if not numbers or min(numbers) < 1:
        raise DynexitError(f"{text!r} must name at least one number, each 1 or more.")
    return list(numbers)


def _run(options: "Options", out: Path, executor: "Executor") -> None:
    from dynexit.bench.executors import Cluster
    from dynexit.bench.run import check_options, run
    from dynexit.model.places import check_checkpoint

    check_options(options)
    look_for_hub(list(options.tasks), options.folder)
    if not isinstance(executor, Cluster):  # whose machines may have other folders
        for model in filter(None, (*options.models, options.draft_model)):
            check_checkpoint(model)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    bar, speedups = Progress(*columns, console=notes, transient=True), Speedups()
    task = bar.add_task("loading")
    with ExitStack() as shown:

        def watch(record: "Record | None", done: int, total: int) -> None:
            if record is None:
                shown.enter_context(bar)  # all is checked, and work begins
            else:
                speedups.add(record)
                if record.error is not None:
                    where = f"{record.task} {record.example} {record.method}"
                    note("failed:", "yellow", f"{where}: {record.error}")
            bar.update(task, total=total, completed=done, description=speedups.text(record))

        try:
            found = run(options, out, executor, watch)
        except KeyboardInterrupt:
            kept = f"finished records are in {out}; the same command continues the run."
            notes.print(f"stopped; {kept if out.exists() else 'nothing was finished.'}")
            raise typer.Exit(INTERRUPTED) from None
    notes.print(f"records in {out}; tables and figures: dynexit report {out} --out report")
    if found.gone:
        reason = f"belong to prompts that no longer exist: {out} keeps them, tables ignore them."
        note(f"{found.gone} records", "yellow", reason)
    if found.failed:
        note(f"{found.failed} failed:", "yellow", "their records say why.")
        raise typer.Exit(1)


class Speedups:
    """Median speedup over vanilla of every method, over the prompts that have run so far."""

    def __init__(self) -> None:
        self._plain: dict[tuple[str, str, str], float] = {}
        self._others: dict[str, dict[tuple[str, str, str], float]] = {}

    def add(self, record: "Record") -> None:
        """Take a record in."""
        where = (record.model, record.task, record.example)
        speed = record.stats["tokens_per_second"] if record.stats else 0.0
        if record.method == "vanilla":
            self._plain[where] = speed
        else:
            self._others.setdefault(record.method, {})[where] = speed

    def text(self, record: "Record | None") -> str:
        """Such as "gsm8k del 1.42x"."""
        if record is None:
            return "loading"
        speeds = self._others.get(record.method, {})
        ratios = (speedup(speed, self._plain.get(where)) for where, speed in speeds.items())
        known = [ratio for ratio in ratios if ratio is not None]
        ratio = f" {median(known):.2f}x" if known else ""
        return f"{record.task} {record.method}{ratio}"
