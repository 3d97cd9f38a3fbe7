"""`dynexit generate --compare`: several methods on one prompt, interleaved, and a table."""

from statistics import median
from typing import TYPE_CHECKING, Any

from rich.progress import track
from rich.table import Table
from rich.text import Text

from dynexit.cli.printing import notes, print_json, print_table, write

if TYPE_CHECKING:
    from dynexit.language_model import Generation, LanguageModel

REPEATS = 3


def run(
    lm: "LanguageModel",
    prompt: str,
    methods: list[str],
    options: dict[str, Any],
    settings: dict[str, Any],
    as_json: bool,
) -> None:
    """Time every method `REPEATS` times in turn, after one warm-up, and compare with vanilla."""
    second = options["draft_model"] is not None
    names = list(dict.fromkeys(["vanilla", *(methods or _default_methods(lm, second))]))
    controllers = {name: _controller(name, settings) for name in names}
    if options["temperature"] and options["seed"] is None:
        options = {**options, "seed": 0}
    outputs: dict[str, list[Generation]] = {name: [] for name in names}
    warm_up = {**options, "max_new_tokens": min(8, options["max_new_tokens"])}
    lm.generate(prompt, "vanilla", **warm_up)
    turns = [name for _ in range(REPEATS) for name in names]
    for name in track(turns, "comparing", console=notes, transient=True):
        outputs[name].append(lm.generate(prompt, controllers[name], **options))
    rows = {name: _row(runs, outputs["vanilla"]) for name, runs in outputs.items()}
    if as_json:
        print_json({"text": outputs["vanilla"][0].text, "methods": rows})
        return
    write(prompt, "dim")
    write(outputs["vanilla"][0].text + "\n")
    print_table(_table(rows))


def _default_methods(lm: "LanguageModel", second: bool) -> list[str]:
    """Every lossless method of the package that this model, or these two, can run."""
    from dynexit.methods import lossless_methods

    return lossless_methods(lm.num_layers, second)


def _controller(name: str, settings: dict[str, Any]) -> Any:
    """The method with those of the settings that it has; the others are for its neighbours."""
    from dynexit.decoding.controllers import methods
    from dynexit.methods import make_controller, settings_of

    if name not in methods():
        return make_controller(name)
    accepted = settings_of(methods()[name])
    return make_controller(name, **{k: v for k, v in settings.items() if k in accepted})


def _row(runs: list["Generation"], vanilla: list["Generation"]) -> dict[str, Any]:
    speed = [run.stats.tokens_per_second for run in runs]
    plain = [run.stats.tokens_per_second for run in vanilla]
    pairs = [a / b for a, b in zip(speed, plain, strict=True) if b]
    stats = runs[0].stats
    return {
        "tokens_per_second": median(speed),
        "speedup": median(pairs) if pairs else 1.0,
        "acceptance_rate": stats.acceptance_rate if stats.drafted else None,
        "mean_acceptance_length": stats.mean_acceptance_length,
        "identical": all(run.token_ids == vanilla[0].token_ids for run in runs),
    }


def _table(rows: dict[str, dict[str, Any]]) -> Table:
    table = Table("method", title=f"decoding, median of {REPEATS} runs in turn", title_style="")
    for heading in ("tok/s", "speedup", "acceptance", "tokens/round", "identical"):
        table.add_column(heading, justify="right")
    for name, row in rows.items():
        rate = row["acceptance_rate"]
        table.add_row(
            name,
            f"{row['tokens_per_second']:.1f}",
            f"{row['speedup']:.2f}x",
            "-" if rate is None else f"{rate:.0%}",
            f"{row['mean_acceptance_length']:.2f}",
            Text("yes", "green") if row["identical"] else Text("no", "red"),
        )
    return table
