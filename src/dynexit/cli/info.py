"""`dynexit info`: a checkpoint's shape, memory, and how early its layers know the answer."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from dynexit.cli.generate import read_prompt
from dynexit.cli.options import AsJson, Loading, ModelArgument
from dynexit.cli.printing import output_width, print_json, print_table, say, speaks_unicode
from dynexit.cli.spreading import spread

if TYPE_CHECKING:
    from dynexit.language_model import LanguageModel

BESIDE_BARS = 34  # columns that the rest of the table of agreement takes


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(info)


@spread
def info(
    model: ModelArgument = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="File of text to measure agreement on.")
    ] = None,
    as_json: AsJson = False,
    *,
    how: Loading,
) -> None:
    """Show a model's shape, its memory, and how often each exit layer agrees with the last."""
    text = None if file is None else read_prompt(None, file)
    record = describe(how.load(model), text)
    if as_json:
        print_json(record)
        return
    _print(record)


def describe(lm: "LanguageModel", text: str | None) -> dict[str, Any]:
    """Everything that `info` shows, as plain values. A sample is read where no text is given."""
    from dynexit.agreement import SAMPLE, promise, read_exits
    from dynexit.model.loading import parameters
    from dynexit.model.native.loading import obstacle

    config, model = lm.model.config, lm.model
    size, count = model.dtype.itemsize, parameters(config)[0]
    readings = read_exits(model, lm.text_tokens(SAMPLE if text is None else text))
    best = promise(model, readings.agreement[:-1], lm.costs)
    per_position = 2 * config.num_layers * config.num_kv_heads * config.head_dim * size
    return {
        "model": lm.name,
        "family": config.family,
        "num_layers": config.num_layers,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_heads": config.num_heads,
        "num_kv_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "vocab_size": config.vocab_size,
        "max_positions": config.max_positions,
        "rope": config.rope.kind,
        "tied_embeddings": config.tie_embeddings,
        "parameters": count,
        "head_in_layers": config.head_parameters / config.layer_parameters,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": ", ".join(map(str, model.devices)),
        "runtime": model.runtime_name,
        "native_obstacle": obstacle(config, model.dtype, *model.devices),
        "ranks": len(model.rank_bytes),
        "rank_bytes": list(model.rank_bytes),
        "weight_bytes": model.layer_bytes + model.head_bytes + model.embedding_bytes,
        "kv_bytes_per_position": per_position,
        "tensors": _tensors(lm),
        "eos_token_ids": sorted(lm.eos),
        "positions_read": readings.positions,
        "agreement": readings.agreement,
        "draft_vocabulary": model.draft_tokens.usual(model.vocabulary_size),
        "learned": _learned(lm),
        "promised_speedup": best.speedup,
        "best_exit_layer": best.exit_layer if best.pays else 0,
        "best_speculation_length": best.length if best.pays else 0,
    }


def _learned(lm: "LanguageModel") -> dict[str, Any] | None:
    """What was learned from the model's own text, and how it does on held-out texts."""
    if (learned := lm.learned) is None:
        return None
    recipe, table = learned.about.recipe, learned.table
    told = {"contexts": len(table), "bytes": table.num_bytes, "tokens": recipe.tokens}
    return {**told, "held_out": {n: asdict(f) for n, f in learned.about.held_out.items()}}


def _tensors(lm: "LanguageModel") -> dict[str, dict[str, int]] | None:
    """Bytes of a quantised checkpoint's tensors, by kind and format; None if not quantised."""
    from dynexit.model.quantised import stored_weights, tensor_bytes

    weights = stored_weights(lm.folder) if lm.folder else None
    return tensor_bytes(weights) if weights else None


def _types(record: dict[str, Any]) -> str:
    """Formats of the weights: a quantised checkpoint's own, where they run as they are."""
    kept = record["tensors"] and record["runtime"].startswith("native, ")
    if not kept:
        return str(record["dtype"])
    matrices = (types for kind, types in record["tensors"].items() if kind != "norms")
    return ", ".join(sorted({name for types in matrices for name in types}))


def _print(record: dict[str, Any]) -> None:
    layers, hidden = record["num_layers"], record["hidden_size"]
    shape = f": {record['family']}, {layers} layers of {hidden}"
    say(Text(record["model"], "bold"), shape)
    megabytes = record["weight_bytes"] / 1e6
    say(
        f"{record['parameters'] / 1e6:.1f}M parameters, {megabytes:.1f} MB in {_types(record)} on "
        f"{record['device']} ({record['runtime']})"
    )
    if record["ranks"] > 1:
        shares = ", ".join(f"{held / 1e6:.1f}" for held in record["rank_bytes"])
        say(f"{record['ranks']} processes hold {shares} MB of the weights")
    say(
        f"{record['num_heads']} heads over {record['num_kv_heads']} of {record['head_dim']}, "
        f"vocabulary {record['vocab_size']}, head = {record['head_in_layers']:.1f} layers"
    )
    say(
        f"context {record['max_positions']}, "
        f"KV cache {record['kv_bytes_per_position'] / 1e3:.1f} kB a position"
    )
    for kind, types in (record["tensors"] or {}).items():
        listed = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in types.items())
        say(f"{kind} in the file: {listed}")
    if record["native_obstacle"]:
        say(f"no native runtime: {record['native_obstacle']}")
    title = f"agreement over {record['positions_read']} positions"
    if record["draft_vocabulary"] < record["vocab_size"]:
        title += f", exits choosing among {record['draft_vocabulary']} tokens"
    table = Table("exit layer", title=title, title_style="")
    table.add_column("with the last", justify="right")
    longest = max(5, min(30, output_width() - BESIDE_BARS))
    table.add_column("0 to 100 %", no_wrap=True)
    block = "█" if speaks_unicode() else "#"
    for layer, share in enumerate(record["agreement"], start=1):
        table.add_row(str(layer), f"{share:.0%}", Text(block * round(longest * share), "cyan"))
    print_table(table)
    if record["learned"]:
        say(what_was_learned(record["learned"]))
    say(recommendation(record))


def what_was_learned(told: dict[str, Any]) -> str:
    """One sentence on the learned table."""
    text = (
        f"learned from {told['tokens']:,} of its own tokens: {told['contexts']:,} contexts in "
        f"{told['bytes'] / 1e6:.1f} MB"
    )
    if not (judged := told["held_out"].get("all")):
        return text
    shares = (judged[name] / max(judged["positions"], 1) for name in ("best", "best_three"))
    best, best_three = shares
    return f"{text}; its best token is right {best:.0%} of the time, one of three {best_three:.0%}"


def recommendation(record: dict[str, Any]) -> str:
    """What to draft with, by agreement and by the cost of passes here."""
    digits = 2 if record["best_exit_layer"] else 3  # which may be just below what must be promised
    gain = f"{record['promised_speedup']:.{digits}f}x plain decoding's tokens per second here"
    if not record["best_exit_layer"]:
        from dynexit.decoding.paying import MARGIN

        return f"no early exit pays: the best promises {gain}, below the {MARGIN:.2f}x it needs"
    return (
        f"exit layer {record['best_exit_layer']} and speculation length "
        f"{record['best_speculation_length']} promise the most: {gain}"
    )
