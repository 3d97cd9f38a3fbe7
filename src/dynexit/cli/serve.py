"""`dynexit serve` and `dynexit demo`: a server that speaks OpenAI's protocol, and its page."""

import webbrowser
from threading import Timer
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dynexit.cli.options import (
    Device,
    Dtype,
    Runtime,
    Threads,
    load_for_command,
    load_second,
    notes,
)
from dynexit.errors import DynexitError

if TYPE_CHECKING:
    from dynexit.language_model import LanguageModel

ServedModel = Annotated[
    str | None, typer.Argument(help="Checkpoint folder or hub id [default: the bundled model].")
]
Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(help="0 is any that is free.")]
LogLevel = Annotated[str, typer.Option(help="debug, info, warning or error.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(serve)
    app.command()(demo)


def serve(
    model: ServedModel = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    name: Annotated[str | None, typer.Option(help="The model's id [default: its own].")] = None,
    method: Annotated[
        str | None, typer.Option(help="For requests that name none [default: auto].")
    ] = None,
    draft_model: Annotated[
        str | None, typer.Option(help="Smaller checkpoint that drafts, for two-model.")
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="DYNEXIT_API_KEY", help="Ask clients for this key.")
    ] = None,
    running: Annotated[int, typer.Option(help="Texts decoded at the same time.")] = 32,
    queue: Annotated[int, typer.Option(help="Texts that may wait; more are refused.")] = 256,
    max_new_tokens: Annotated[int, typer.Option(help="Of one text.")] = 4096,
    max_choices: Annotated[int, typer.Option(help="Texts of one request.")] = 16,
    max_body: Annotated[int, typer.Option(help="Bytes of a request.")] = 1_000_000,
    deadline: Annotated[float, typer.Option(help="Seconds until a request is given up.")] = 600.0,
    grace: Annotated[float, typer.Option(help="Seconds to finish in when told to stop.")] = 20.0,
    batched: Annotated[
        bool | None,
        typer.Option(
            "--batched/--one-by-one",
            help="Whether texts share passes [default: where that changes no bit].",
        ),
    ] = None,
    ray: Annotated[bool, typer.Option("--ray", help="Replicas on a Ray cluster.")] = False,
    ray_address: Annotated[
        str | None, typer.Option(help="A running cluster [default: one is started here].")
    ] = None,
    replicas: Annotated[int, typer.Option(help="With --ray: how many always run.")] = 1,
    max_replicas: Annotated[
        int | None, typer.Option(help="With --ray: how many may run [default: --replicas].")
    ] = None,
    gpus: Annotated[float, typer.Option(help="With --ray: of one replica.")] = 0.0,
    log_level: LogLevel = "info",
    dtype: Dtype = None,
    device: Device = None,
    threads: Threads = None,
    runtime: Runtime = None,
) -> None:
    """Serve a model to OpenAI's clients, and a page that shows it working at /."""
    limits: dict[str, Any] = {
        "name": name,
        "api_key": api_key,
        "running": running,
        "queue": queue,
        "max_new_tokens": max_new_tokens,
        "max_choices": max_choices,
        "max_body": max_body,
        "deadline": deadline,
        "grace": grace,
        "batched": batched,
    }
    limits |= {"method": method} if method else {}
    _need_packages()
    if ray:
        from dynexit.serve import replicas as cluster
        from dynexit.serve.settings import Settings

        checkpoint = cluster.Checkpoint(model, dtype, device, runtime, threads, draft_model)
        wanted = cluster.Replicas(replicas, max_replicas or replicas, gpus=gpus)
        cluster.run(checkpoint, Settings(**limits), wanted, host, port, ray_address)
        return
    lm = load_for_command(model, dtype, device, threads, runtime)
    second = load_second(draft_model, dtype, device, runtime)
    _serve(lm, second, limits, host, port, log_level)


def demo(
    model: ServedModel = None,
    port: Port = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    dtype: Dtype = None,
    device: Device = None,
    threads: Threads = None,
    runtime: Runtime = None,
) -> None:
    """Open a page that shows tokens being drafted, accepted and rejected."""
    _need_packages()
    lm = load_for_command(model, dtype, device, threads, runtime)
    _serve(lm, None, {}, "127.0.0.1", port, "warning", browser)


def _need_packages() -> None:
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise DynexitError(
            f"a server needs the package {error.name}: pip install 'dynexit[serve]'."
        ) from error


def _serve(
    lm: "LanguageModel",
    draft_model: "LanguageModel | None",
    settings: dict[str, Any],
    host: str,
    port: int,
    log_level: str,
    browser: bool = False,
) -> None:
    from dynexit.serve.app import create_app
    from dynexit.serve.server import open_socket, run
    from dynexit.serve.settings import Settings

    if log_level not in ("debug", "info", "warning", "error"):
        raise DynexitError(f"log level {log_level!r} is not debug, info, warning or error.")
    app = create_app(lm, Settings(**settings), draft_model)
    listening = open_socket(host, port)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listening.getsockname()[1]}"
    notes.print(f"{app.state.service.name} is served at {address}/ and {address}/v1", markup=False)
    if browser:
        Timer(1.0, webbrowser.open, (address,)).start()
    run(app, listening, log_level)
