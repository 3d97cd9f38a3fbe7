"""`dynexit serve` and `dynexit demo`: a server that speaks OpenAI's protocol, and its page."""

import webbrowser
from dataclasses import dataclass
from threading import Timer
from typing import TYPE_CHECKING, Annotated

import typer

from dynexit.cli.options import DraftModel, Loading, ModelArgument, starting
from dynexit.cli.printing import notes
from dynexit.cli.spreading import spread
from dynexit.errors import DynexitError
from dynexit.methods import usable_controller
from dynexit.model.ranks.joined import refuse_several

if TYPE_CHECKING:
    from dynexit.language_model import LanguageModel
    from dynexit.serve.logs import Logs
    from dynexit.serve.settings import Settings


@dataclass(frozen=True)
class Limits:
    """`serve.settings.Settings` as options; None leaves its default."""

    name: Annotated[
        str | None, typer.Option(help="Model id for clients [default: the model's name].")
    ] = None
    method: Annotated[
        str | None, typer.Option(help="Method of requests that name none [default: auto].")
    ] = None
    allow_method: Annotated[
        list[str] | None,
        typer.Option(
            help="Method that requests may name, with or without settings; may repeat "
            "[default: all]."
        ),
    ] = None
    api_key: Annotated[
        str | None, typer.Option(envvar="DYNEXIT_API_KEY", help="Key that clients must send.")
    ] = None
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            help="Host name that clients may use besides localhost and --host, where no key is "
            "set; may repeat."
        ),
    ] = None
    running: Annotated[int, typer.Option(help="Texts decoded at once, at most.")] = 32
    queue: Annotated[int, typer.Option(help="Texts that may wait; further ones are refused.")] = 256
    max_new_tokens: Annotated[int, typer.Option(help="New tokens per text, at most.")] = 4096
    max_choices: Annotated[int, typer.Option(help="Texts per request, at most.")] = 16
    max_body: Annotated[int, typer.Option(help="Bytes per request, at most.")] = 1_000_000
    connections: Annotated[int, typer.Option(help="Open connections, at most.")] = 512
    patience: Annotated[
        float, typer.Option(help="Seconds that a client has to send a request.")
    ] = 30.0
    deadline: Annotated[float, typer.Option(help="Seconds before a request times out.")] = 600.0
    grace: Annotated[
        float, typer.Option(help="Seconds that running requests get to finish at shutdown.")
    ] = 20.0
    batched: Annotated[
        bool | None,
        typer.Option(
            "--batched/--one-by-one",
            help="Whether texts share forward passes [default: if results stay identical].",
        ),
    ] = None
    cache_memory: Annotated[
        str | None,
        typer.Option(
            help="Memory for the prefix cache, such as 2GB; 0 turns it off "
            "[default: 1GB if results stay identical]."
        ),
    ] = None
    earlier_texts: Annotated[
        str,
        typer.Option(help="Draft from earlier texts of the same key (own), of all, or of none."),
    ] = "own"
    generation_config: Annotated[
        bool,
        typer.Option(
            "--generation-config", help="Take sampling defaults from generation_config.json."
        ),
    ] = False
    trust_messages: Annotated[
        bool,
        typer.Option(
            "--trust-messages",
            help="Special tokens in messages act as control tokens, not as text.",
        ),
    ] = False
    cors: Annotated[
        list[str] | None,
        typer.Option(help="Origin whose web pages may call the API; * is any; may repeat."),
    ] = None

    def settings(self, host: str) -> "Settings":
        """Settings of a server that listens on `host`."""
        from dynexit.serve.settings import Settings

        told = {name: value for name, value in vars(self).items() if value is not None}
        if (methods := told.pop("allow_method", None)) is not None:
            told["methods"] = tuple(methods)
        hosts = (host, *told.pop("allowed_host", ()))
        return Settings(**told, hosts=hosts)


@dataclass(frozen=True)
class Cluster:
    """Replicas on a Ray cluster, as options."""

    ray: Annotated[bool, typer.Option("--ray", help="Run replicas on a Ray cluster.")] = False
    ray_address: Annotated[
        str | None, typer.Option(help="Address of a running cluster [default: start one here].")
    ] = None
    replicas: Annotated[int, typer.Option(help="With --ray: fewest replicas.")] = 1
    max_replicas: Annotated[
        int | None, typer.Option(help="With --ray: most replicas [default: --replicas].")
    ] = None
    gpus: Annotated[float, typer.Option(help="With --ray: GPUs per process.")] = 0.0
    ranks: Annotated[
        int, typer.Option(min=1, help="With --ray: processes that share a replica's model.")
    ] = 1


@dataclass(frozen=True)
class Listening:
    """The address of a server, as options."""

    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(help="Port; 0 picks a free one.")] = 8000


@dataclass(frozen=True)
class Logging:
    """What a server writes on standard error, as options."""

    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info"
    log_format: Annotated[str, typer.Option(help="text, or json: one object a line.")] = "text"

    @property
    def logs(self) -> "Logs":
        """As a server takes it.

        Raises:
            DynexitError: the level or format is unknown.
        """
        from dynexit.serve.logs import Logs

        return Logs(self.log_level, self.log_format)


@spread
def serve(
    model: ModelArgument = None,
    *,
    listening: Listening,
    limits: Limits,
    draft_model: DraftModel = None,
    cluster: Cluster,
    logging: Logging,
    how: Loading,
) -> None:
    """Serve a model over the OpenAI API, with a web page at / that shows drafts being verified."""
    _need_packages()
    settings = limits.settings(listening.host)
    usable_controller(settings.method, draft_model is not None)
    logs = logging.logs
    if cluster.ray:
        refuse_several("serve --ray")
        from dynexit.serve import replicas

        loading = (how.dtype, how.device, how.runtime, how.threads)
        checkpoint = replicas.Checkpoint(model, *loading, draft_model, how.learned_in)
        most = cluster.max_replicas or cluster.replicas
        wanted = replicas.Replicas(cluster.replicas, most, None, cluster.gpus, cluster.ranks)
        where = (listening.host, listening.port, cluster.ray_address)
        replicas.run(checkpoint, settings, wanted, *where)
        return
    _check_address(listening)
    lm, second = how.load_both(model, draft_model)
    _serve(lm, settings, second, listening, logs)


@spread
def demo(
    model: ModelArgument = None,
    port: Annotated[int, typer.Option(help="Port; 0 picks a free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    *,
    how: Loading,
) -> None:
    """Open a web page that shows tokens being drafted, accepted and rejected."""
    _need_packages()
    from dynexit.serve.settings import Settings

    where = Listening(port=port)
    _check_address(where)
    _serve(how.load(model), Settings(), None, where, Logging("warning").logs, browser)


def _need_packages() -> None:
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise DynexitError(
            f"the server needs the package {error.name}: pip install 'dynexit[serve]'."
        ) from error


def _check_address(where: Listening) -> None:
    """Check that the port is free. It stays closed, so no client waits while the model loads."""
    from dynexit.serve.server import open_socket

    open_socket(where.host, where.port).close()


def _serve(
    lm: "LanguageModel",
    settings: "Settings",
    draft_model: "LanguageModel | None",
    where: Listening,
    logs: "Logs",
    browser: bool = False,
) -> None:
    with starting("starting the server"):  # `auto` may have to measure what passes cost here
        from dynexit.serve.app import create_app
        from dynexit.serve.server import open_socket, run

        app = create_app(lm, settings, draft_model)
    listening = open_socket(where.host, where.port)
    shown = f"[{where.host}]" if ":" in where.host else where.host
    address = f"http://{shown}:{listening.getsockname()[1]}"
    notes.print(f"{app.state.service.name} is served at {address}/ and {address}/v1")
    if browser:
        Timer(1.0, webbrowser.open, (address,)).start()
    run(app, listening, logs)
