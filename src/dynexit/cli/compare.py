"""`dynexit generate --compare`: several methods on one prompt, in turn, and a table."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.progress import track
from rich.table import Table
from rich.text import Text

from dynexit.cli.options import starting
from dynexit.cli.printing import notes, print_json, print_table, write
from dynexit.comparing import PLAIN, REPEATS, median_speed, run_in_turn, shown_speed, shown_speedup
from dynexit.errors import DynexitError
from dynexit.rates import speedup

if TYPE_CHECKING:
    from dynexit.decoding.controllers.base import Controller, SecondModel
    from dynexit.language_model import Generation, LanguageModel

    Controllers = dict[str, Controller]


def choose(methods: list[str], settings: dict[str, Any], draft_model: str | None) -> "Controllers":
    """Plain decoding and the named methods, or all lossless ones, before the model loads.

    Each gets those of the settings that it has; the others are for its neighbours.

    Raises:
        DynexitError: a method that cannot be made, or a setting that none of them has.
    """
    from dynexit.decoding.controllers import methods as known
    from dynexit.methods import lossless_methods, settings_of, usable_controller

    if not methods:
        methods = lossless_methods(2, None if draft_model is None else _kind_of(draft_model))
    names, second = dict.fromkeys([PLAIN, *methods]), draft_model is not None
    own = {name: settings_of(known()[name]) if name in known() else [] for name in names}
    given = {name: value for name, value in settings.items() if value is not None}
    if unused := [name for name in given if not any(name in its for its in own.values())]:
        raise DynexitError(f"none of the methods to compare has a setting {unused[0]!r}.")
    return {
        name: usable_controller(name, second, **{k: given[k] for k in its if k in given})
        for name, its in own.items()
    }


def _kind_of(model: str) -> "SecondModel":
    with starting():
        from dynexit.language_model import kind_of

    return kind_of(model)


def run(
    lm: "LanguageModel",
    prompt: str,
    controllers: "Controllers",
    options: dict[str, Any],
    as_json: bool,
) -> None:
    """Time every method in turn, and compare with plain decoding."""
    if options["temperature"] and options["seed"] is None:
        options = {**options, "seed": 0}
    outputs = run_in_turn(lm, prompt, controllers, _shown, **options)
    plain = outputs[PLAIN]
    rows = {name: _row(runs, plain) for name, runs in outputs.items()}
    if as_json:
        print_json({"text": plain[0].text, "repeats": REPEATS, "methods": rows})
        return
    write(prompt, "dim")
    write(plain[0].text + "\n")
    print_table(_table(rows))
    for name, controller in controllers.items():
        if controller.found:
            notes.print(f"{name} {controller.found}")


def _shown(turns: Sequence[str]) -> Iterable[str]:
    return track(turns, "comparing", console=notes, transient=True)


def _row(runs: "list[Generation]", vanilla: "list[Generation]") -> dict[str, Any]:
    speed, stats = median_speed(runs), runs[0].stats
    return {
        "tokens_per_second": speed,
        "speedup": speedup(speed, median_speed(vanilla)),
        "acceptance_rate": stats.acceptance_rate if stats.drafted else None,
        "mean_acceptance_length": stats.mean_acceptance_length,
        "identical": all(run.token_ids == vanilla[0].token_ids for run in runs),
    }


def _table(rows: dict[str, dict[str, Any]]) -> Table:
    table = Table("method", title=f"decoding, medians of {REPEATS} runs in turn", title_style="")
    for heading in ("tok/s", "speedup", "acceptance", "tokens a round", "identical"):
        table.add_column(heading, justify="right")
    for name, row in rows.items():
        rate = row["acceptance_rate"]
        table.add_row(
            name,
            shown_speed(row["tokens_per_second"]),
            shown_speedup(row["speedup"]),
            "-" if rate is None else f"{rate:.0%}",
            f"{row['mean_acceptance_length']:.2f}",
            Text("yes", "green") if row["identical"] else Text("no", "red"),
        )
    return table
