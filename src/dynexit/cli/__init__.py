"""The command line: parse, call, print. What runs lives in the library.

Heavy imports stay inside the commands, so that `--help` answers at once.
"""

import sys
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from dynexit.cli import (
    bench,
    chat,
    check,
    draft_vocabulary,
    export_custom_generate,
    generate,
    info,
    learn,
    models,
    perplexity,
    printing,
    quantize,
    replay,
    report,
    roofline,
    serve,
    skip_search,
    synth,
    trace,
    train,
)
from dynexit.errors import DynexitError, reason
from dynexit.methods import own_fault
from dynexit.schema_words import must_be


class PlainWords(TyperGroup):
    """Says in our own words what an option's value must be, where pydantic has refused it."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            faults: list[Any] = getattr(error.__cause__, "errors", list)()
            if faults and (words := must_be(faults[0])):
                error.message = f"{faults[0]['input']!r} must be {words}."
            raise


app = typer.Typer(
    cls=PlainWords,
    name="dynexit",
    help="Generate text faster with lossless speculative decoding: no output token changes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # rich's own would take [default: ...] for a style
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from dynexit import __version__

        typer.echo(f"dynexit {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Options that come before any command."""


COMMANDS: tuple[Callable[..., None], ...] = (
    generate.generate,
    chat.chat,
    info.info,
    bench.bench,
    bench.sweep,
    check.check,
    draft_vocabulary.draft_vocabulary,
    report.report,
    roofline.roofline,
    perplexity.perplexity,
    serve.serve,
    serve.demo,
    quantize.quantize,
    synth.synth,
    train.train,
    learn.learn,
    models.models,
    skip_search.skip_search,
    trace.trace,
    replay.replay,
    export_custom_generate.export_custom_generate,
)
for command in COMMANDS:
    app.command()(command)


def main() -> None:
    """Entry point. Bad input or a full disk prints one sentence; the exit code is then 2."""
    printing.accept_any_text()
    try:
        try:
            app()
        finally:
            printing.finish()
    except DynexitError as error:
        _fail(str(error))
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{reason(error)}.")
    except Exception as error:
        if (told := own_fault(error)) is None:
            raise
        _fail(told)


def _fail(sentence: str) -> NoReturn:
    printing.note("error:", "red", sentence)
    sys.exit(2)
