"""`dynexit serve` and `dynexit demo`: a server that speaks OpenAI's protocol, and its page."""

import webbrowser
from dataclasses import dataclass
from threading import Timer
from typing import TYPE_CHECKING, Annotated

import typer

from dynexit.cli.options import DraftModel, Loading, ModelArgument, notes
from dynexit.cli.spreading import spread
from dynexit.errors import DynexitError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from dynexit.serve.settings import Settings

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(help="0 is any that is free.")]
LogLevel = Annotated[str, typer.Option(help="debug, info, warning or error.")]


@dataclass(frozen=True)
class Limits:
    """`serve.settings.Settings` as options; None is what it says itself."""

    name: Annotated[str | None, typer.Option(help="The model's id [default: its own].")] = None
    method: Annotated[
        str | None, typer.Option(help="For requests that name none [default: auto].")
    ] = None
    api_key: Annotated[
        str | None, typer.Option(envvar="DYNEXIT_API_KEY", help="Ask clients for this key.")
    ] = None
    running: Annotated[int, typer.Option(help="Texts decoded at the same time.")] = 32
    queue: Annotated[int, typer.Option(help="Texts that may wait; more are refused.")] = 256
    max_new_tokens: Annotated[int, typer.Option(help="Of one text.")] = 4096
    max_choices: Annotated[int, typer.Option(help="Texts of one request.")] = 16
    max_body: Annotated[int, typer.Option(help="Bytes of a request.")] = 1_000_000
    deadline: Annotated[float, typer.Option(help="Seconds until a request is given up.")] = 600.0
    grace: Annotated[float, typer.Option(help="Seconds to finish in when told to stop.")] = 20.0
    batched: Annotated[
        bool | None,
        typer.Option(
            "--batched/--one-by-one",
            help="Whether texts share passes [default: where that changes no bit].",
        ),
    ] = None
    generation_config: Annotated[
        bool,
        typer.Option("--generation-config", help="Sample by default as the checkpoint says."),
    ] = False
    trust_messages: Annotated[
        bool,
        typer.Option("--trust-messages", help="Special tokens in messages are no text."),
    ] = False
    cors: Annotated[
        list[str] | None, typer.Option(help="Pages of this origin may ask, or of any: *.")
    ] = None

    @property
    def settings(self) -> "Settings":
        """As the server takes them."""
        from dynexit.serve.settings import Settings

        return Settings(**{name: value for name, value in vars(self).items() if value is not None})


@dataclass(frozen=True)
class Cluster:
    """Replicas on a Ray cluster, as options."""

    ray: Annotated[bool, typer.Option("--ray", help="Replicas on a Ray cluster.")] = False
    ray_address: Annotated[
        str | None, typer.Option(help="A running cluster [default: one is started here].")
    ] = None
    replicas: Annotated[int, typer.Option(help="With --ray: how many always run.")] = 1
    max_replicas: Annotated[
        int | None, typer.Option(help="With --ray: how many may run [default: --replicas].")
    ] = None
    gpus: Annotated[float, typer.Option(help="With --ray: of one replica.")] = 0.0


@dataclass(frozen=True)
class Listening:
    """Where a server is found."""

    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(help="0 is any that is free.")] = 8000


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(serve)
    app.command()(demo)


@spread
def serve(
    model: ModelArgument = None,
    *,
    listening: Listening,
    limits: Limits,
    draft_model: DraftModel = None,
    cluster: Cluster,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    how: Loading,
) -> None:
    """Serve a model to OpenAI's clients, and a page that shows it working at /."""
    _need_packages()
    if cluster.ray:
        from dynexit.serve import replicas

        loading = (how.dtype, how.device, how.runtime, how.threads)
        checkpoint = replicas.Checkpoint(model, *loading, draft_model)
        most = cluster.max_replicas or cluster.replicas
        wanted = replicas.Replicas(cluster.replicas, most, gpus=cluster.gpus)
        where = (listening.host, listening.port, cluster.ray_address)
        replicas.run(checkpoint, limits.settings, wanted, *where)
        return
    from dynexit.serve.app import create_app

    second = how.load_second(draft_model)
    _serve(create_app(how.load(model), limits.settings, second), listening, log_level)


@spread
def demo(
    model: ModelArgument = None,
    port: Annotated[int, typer.Option(help="0 is any that is free.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    *,
    how: Loading,
) -> None:
    """Open a page that shows tokens being drafted, accepted and rejected."""
    _need_packages()
    from dynexit.serve.app import create_app
    from dynexit.serve.settings import Settings

    app = create_app(how.load(model), Settings())
    _serve(app, Listening(port=port), "warning", browser)


def _need_packages() -> None:
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise DynexitError(
            f"a server needs the package {error.name}: pip install 'dynexit[serve]'."
        ) from error


def _serve(app: "FastAPI", where: Listening, log_level: str, browser: bool = False) -> None:
    from dynexit.serve.server import open_socket, run

    if log_level not in ("debug", "info", "warning", "error"):
        raise DynexitError(f"log level {log_level!r} is not debug, info, warning or error.")
    listening = open_socket(where.host, where.port)
    shown = f"[{where.host}]" if ":" in where.host else where.host
    address = f"http://{shown}:{listening.getsockname()[1]}"
    notes.print(f"{app.state.service.name} is served at {address}/ and {address}/v1", markup=False)
    if browser:
        Timer(1.0, webbrowser.open, (address,)).start()
    run(app, listening, log_level)
