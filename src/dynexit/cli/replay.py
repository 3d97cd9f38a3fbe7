"""`dynexit replay`: methods against a trace, at measured or given costs, without a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import track
from rich.table import Table

from dynexit.cli.options import check_folder_of, starting
from dynexit.cli.printing import notes, print_json, print_table
from dynexit.comparing import shown_speedup
from dynexit.errors import DynexitError, reason
from dynexit.model.places import check_checkpoint
from dynexit.rates import speedup

if TYPE_CHECKING:
    from dynexit.decoding.costs import Costs
    from dynexit.decoding.successors import SuccessorTable
    from dynexit.replay.running import Replayed

DEFAULT = ("del", "auto")


def replay(
    trace: Annotated[Path, typer.Argument(help="File made by `dynexit trace`.")],
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method", help="NAME or NAME:setting=value,...; may repeat [default: del and auto]."
        ),
    ] = None,
    cost: Annotated[
        Path | None,
        typer.Option(help="JSON file of costs, from --save-cost [default: measure now]."),
    ] = None,
    save_cost: Annotated[
        Path | None, typer.Option(help="Write the costs used to this file.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Model whose costs to measure [default: bundled]."),
    ] = None,
    learned: Annotated[
        Path | None, typer.Option(help="Folder made by learn for the traced model [default: none].")
    ] = None,
    grid: Annotated[
        bool, typer.Option(help="Also run every fixed pair of exit layer and speculation length.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run methods over recorded texts, without a model: rounds are exact, seconds computed.

    A draft leaves the recorded text at its first mismatch. Later tokens are never accepted; their
    number is estimated from the recorded confidences at those positions.
    """
    from dynexit.methods import usable_controller
    from dynexit.replay.trace import load_trace

    for name in method or DEFAULT:
        usable_controller(name, second=True)
    check_folder_of(save_cost, "--save-cost")
    check_checkpoint(model)
    recorded = load_trace(trace)
    table = None if learned is None else _table(learned, recorded.info.vocab_size)
    with starting():
        from dynexit.model.saving import write_json
        from dynexit.replay.oracle import oracle
        from dynexit.replay.running import Replaying, fixed_grid, replay_all

    costs = _costs(cost, model, recorded.info.vocab_size)
    if save_cost is not None:
        write_json(save_cost, costs.as_dict())
    methods = ["vanilla", *(method or DEFAULT), *(fixed_grid(recorded.info) if grid else [])]
    named = track(dict.fromkeys(methods), "replaying", console=notes, transient=True)
    given = Replaying(recorded, costs, table)
    found = [replay_all(given, name) for name in named]
    best = oracle(recorded, costs)
    if as_json:
        print_json({"methods": [f.as_dict() for f in found], "oracle": best})
    else:
        _print(found, best)


def _table(folder: Path, vocabulary: int) -> "SuccessorTable":
    from dynexit.learning.learned import read_learned

    return read_learned(folder, vocabulary).table


def _costs(file: Path | None, model: str | None, vocabulary: int) -> "Costs":
    """Costs of a file, or of a model on this machine.

    Raises:
        DynexitError: a file that holds none, or a model of another vocabulary.
    """
    from dynexit.decoding.costs import Costs
    from dynexit.plain import parse_json

    if file is not None:
        try:
            return Costs.from_dict(parse_json(file.read_text(encoding="utf-8"), "it"))
        except (OSError, ValueError) as error:
            raise DynexitError(f"--cost {file} holds no costs: {reason(error)}.") from error
    from dynexit.language_model import load

    with starting("loading"):
        lm = load(model, check=False)
    if lm.model.vocabulary_size != vocabulary:
        raise DynexitError(
            f"the trace is of a model of {vocabulary} tokens and {lm.name} has "
            f"{lm.model.vocabulary_size}: give --model or --cost."
        )
    return lm.costs


def _print(found: "list[Replayed]", best: dict[str, float]) -> None:
    plain = found[0].tokens_per_second
    tasks = list(found[0].by_task)
    table = Table(title="speedup over plain decoding, at these costs")
    for heading in ("method", *tasks, "all", "tokens a round", "replayed, rounds/s"):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    for f in found:
        ratios = [speedup(f.by_task[task], found[0].by_task[task]) for task in tasks]
        table.add_row(
            f.method,
            *map(shown_speedup, [*ratios, speedup(f.tokens_per_second, plain)]),
            f"{f.tokens_per_round:.2f}",
            f"{f.rounds_per_second:.0f}",
        )
    for name, key in (("oracle: exits", "exits"), ("oracle: exits and lookup", "both")):
        shares = [best[f"{key} {t}"] for t in [*tasks, "all"]]
        table.add_row(name, *(f"{share:.2f}x" for share in shares), "", "")
    print_table(table)
    notes.print("Drafts past a mismatch are estimated: they cost time, and are never accepted.")
