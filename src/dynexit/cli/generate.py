"""`dynexit generate`: text from a prompt, or a comparison of methods on it."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from dynexit.cli import compare
from dynexit.cli.options import AsJson, DraftModel, Loading, Model, noted_warnings
from dynexit.cli.printing import is_coloured, notes, print_json, write
from dynexit.cli.shape import Shape
from dynexit.cli.spreading import spread
from dynexit.errors import INTERRUPTED, DynexitError, reason

if TYPE_CHECKING:
    from dynexit.language_model import Generation, Stream

COLOURS = {  # as on the page that `serve` shows
    "accepted": "green",
    "lookup": "yellow",
    "earlier": "bright_yellow",
    "table": "cyan",
    "grammar": "bright_black",
    "recovered": "magenta",
    "bonus": "blue",
    "target": "default",
}
LEGEND = {
    "accepted": "accepted draft",
    "lookup": "looked up",
    "earlier": "from an earlier text",
    "table": "from a table",
    "grammar": "by the grammar",
    "recovered": "recovered",
    "bonus": "bonus",
}
Method = Annotated[
    list[str] | None,
    typer.Option(
        "--method", help="Name or FILE.py:CLASS; may repeat with --compare [default: auto]."
    ),
]


@dataclass(frozen=True)
class Own:
    """A method's settings, as options; None is the method's own default."""

    exit_layer: Annotated[int | None, typer.Option(help="Layers that drafting runs.")] = None
    speculation_length: Annotated[int | None, typer.Option(help="Tokens per draft.")] = None
    draft_vocabulary: Annotated[
        int | None,
        typer.Option(help="Early exits choose among this many frequent tokens [default: all]."),
    ] = None
    cap: Annotated[
        str | None, typer.Option(help="Method del only: threshold (published) or planned.")
    ] = None
    option: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting of the method: name=value.")
    ] = None

    @property
    def settings(self) -> dict[str, Any]:
        """By their names."""
        from dynexit.methods import parse_settings

        named = {name: value for name, value in vars(self).items() if name != "option"}
        return named | parse_settings(self.option or [])


@dataclass(frozen=True)
class Choosing:
    """How tokens are chosen, as options."""

    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.0
    top_k: Annotated[int, typer.Option(help="Keep the k likeliest tokens; 0 is off.")] = 0
    top_p: Annotated[
        float, typer.Option(help="Keep the likeliest tokens with this total probability; 1 is off.")
    ] = 1.0
    min_p: Annotated[
        float, typer.Option(help="Drop tokens below this share of the top probability; 0 is off.")
    ] = 0.0
    repetition_penalty: Annotated[float, typer.Option(help="1 is off.")] = 1.0
    presence_penalty: Annotated[float, typer.Option(help="0 is off.")] = 0.0
    frequency_penalty: Annotated[float, typer.Option(help="0 is off.")] = 0.0
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same text.")] = None
    acceptance: Annotated[
        str, typer.Option(help="Sampled drafts are accepted by shared-noise or speculative.")
    ] = "shared-noise"

    def check(self) -> None:
        """Raises DynexitError for options that no model can follow."""
        from dynexit.decoding.sampling_parameters import Sampling

        fields = Sampling.__dataclass_fields__
        Sampling(**{name: value for name, value in vars(self).items() if name in fields})


@dataclass(frozen=True)
class Writing(Choosing):
    """How tokens are chosen and where the text ends, as options."""

    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", "-n", help="New tokens, at most.")
    ] = 128
    stop: Annotated[
        list[str] | None, typer.Option(help="End before this text or special token; may repeat.")
    ] = None
    stop_token: Annotated[
        list[int] | None, typer.Option(help="End before this token id; may repeat.")
    ] = None
    min_new_tokens: Annotated[int, typer.Option(help="Write at least this many new tokens.")] = 0
    ignore_eos: Annotated[bool, typer.Option("--ignore-eos", help="Do not end at EOS.")] = False
    chat: Annotated[bool, typer.Option("--chat", help="Put the prompt in the chat template.")] = (
        False
    )
    trust_messages: Annotated[
        bool,
        typer.Option(
            "--trust-messages",
            help="With --chat: special tokens in the prompt act as control tokens, not as text.",
        ),
    ] = False

    @property
    def options(self) -> dict[str, Any]:
        """As `LanguageModel.generate` takes them."""
        given = {name: value for name, value in vars(self).items() if name != "stop_token"}
        return {**given, "stop": self.stop or [], "stop_token_ids": self.stop_token or []}

    def check(self) -> None:
        """Raises DynexitError for options that no model can follow."""
        from dynexit.decoding.sampling_parameters import check_new_tokens, check_stop

        check_new_tokens(self.max_new_tokens)
        for text in self.stop or []:
            check_stop(text)
        super().check()


@spread
def generate(
    prompt: Annotated[str | None, typer.Argument(help="Prompt [default: standard input].")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Read the prompt from.")] = None,
    strip: Annotated[
        bool, typer.Option("--strip", help="Remove spaces and newlines at the prompt's end.")
    ] = False,
    model: Model = None,
    method: Method = None,
    *,
    own: Own,
    draft_model: DraftModel = None,
    writing: Writing,
    shape: Shape,
    how: Loading,
    as_json: AsJson = False,
    compare_methods: Annotated[
        bool, typer.Option("--compare", help="Run several methods and print a table.")
    ] = False,
) -> None:
    """Generate text; colours show where each token came from."""
    from dynexit.methods import DEFAULT_METHOD, usable_controller

    methods, settings, second = method or [], own.settings, draft_model is not None
    if len(methods) > 1 and not compare_methods:
        raise DynexitError("several --method options need --compare: add it, or give one method.")
    writing.check()
    constraint = shape.constraint
    chosen = methods[0] if methods else DEFAULT_METHOD
    if compare_methods:
        controllers = compare.choose(methods, settings, draft_model)
    else:
        controllers = {chosen: usable_controller(chosen, second, **settings)}
    text = read_prompt(prompt, file)
    text = text.rstrip() if strip else text
    if not (text or writing.chat):
        raise DynexitError("the prompt is empty: give at least one token of text.")
    lm, second_lm = how.load_both(model, draft_model)
    options = {**writing.options, "constraint": constraint, "draft_model": second_lm}
    if compare_methods:
        compare.run(lm, text, controllers, options, as_json)
        return
    with noted_warnings():
        stream = lm.stream(text, controllers[chosen], **options)
    if as_json:
        for _ in stream:
            pass
        found = controllers[chosen].found
        print_json({"method": chosen, "found": found, **as_record(stream.output)})
        return
    _show(stream, chosen)
    if found := controllers[chosen].found:
        notes.print(f"{chosen} {found}")


def read_prompt(prompt: str | None, file: Path | None) -> str:
    """The prompt argument, or the text of the file or standard input, without byte order mark."""
    if prompt is not None and file is not None:
        raise DynexitError("give the prompt as an argument or as --file, not both.")
    if prompt is not None:
        return prompt
    place = file or "standard input"
    if file is None and (sys.stdin is None or sys.stdin.isatty()):
        raise DynexitError("give a prompt, --file FILE, or text on standard input.")
    try:
        read = sys.stdin.buffer.read() if file is None else file.read_bytes()
        return read.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DynexitError(f"cannot read {place}: {reason(error)}.") from error


def as_record(output: "Generation") -> dict[str, Any]:
    """A generation as plain values."""
    return {
        "text": output.text,
        "token_ids": output.token_ids,
        "finish_reason": output.finish_reason,
        "seed": output.seed,
        "stats": output.stats.as_dict(),
    }


def _show(stream: "Stream", method: str) -> None:
    interrupted = False
    try:
        for chunk in stream:
            write(chunk.text, COLOURS[chunk.source])
    except KeyboardInterrupt:
        interrupted = True
    finally:
        write("\n")
    notes.print(summary(stream.output, method, interrupted, is_coloured()))
    if interrupted:
        raise typer.Exit(INTERRUPTED)


def summary(
    output: "Generation", method: str, interrupted: bool = False, coloured: bool = False
) -> Text:
    """One line: what was generated, how fast, and what the colours mean if there are any."""
    stats = output.stats
    reason = "interrupted" if interrupted else output.finish_reason
    line = Text(
        f"{method}: {len(output.token_ids)} tokens ({reason}), {stats.tokens_per_second:.1f} tok/s"
    )
    if stats.drafted:
        line.append(f", {stats.mean_acceptance_length:.2f} tokens a round")
        line.append(f", {stats.acceptance_rate:.0%} of {stats.drafted} drafted tokens accepted")
    if stats.drafted and coloured:
        for name, words in LEGEND.items():
            line.append(" / " if name != "accepted" else "; ").append(words, style=COLOURS[name])
    return line
