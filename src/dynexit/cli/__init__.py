"""The command line: parse, call, print. What runs lives in the library.

Heavy imports stay inside the commands, so that `--help` answers at once.
"""

import sys
from typing import Annotated

import typer
from rich.markup import escape

from dynexit.cli import (
    bench,
    check,
    export_custom_generate,
    generate,
    info,
    perplexity,
    replay,
    report,
    roofline,
    serve,
    synth,
    trace,
    train,
)
from dynexit.cli.options import notes
from dynexit.errors import DynexitError

app = typer.Typer(
    name="dynexit",
    help="Faster text generation by early-exit self-speculation, without changing a token.",
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
    """What comes before any command."""


for command in (
    *(generate, info, bench, check, report, roofline, perplexity, serve, synth, train, trace),
    *(replay, export_custom_generate),
):
    command.register(app)


def main() -> None:
    """Entry point. Bad input is one sentence and exit code 2."""
    try:
        app()
    except DynexitError as error:
        notes.print("[red]error:[/]", escape(str(error)))
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
