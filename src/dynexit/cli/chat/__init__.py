"""`dynexit chat`: a conversation in a terminal, or with a pipe, one turn a line."""

from dataclasses import dataclass
from typing import Annotated

import typer

from dynexit.cli.generate import Choosing, Own
from dynexit.cli.options import DraftModel, Loading, starting
from dynexit.cli.spreading import spread
from dynexit.errors import DynexitError

ChatModel = Annotated[
    str | None,
    typer.Argument(help="Folder, GGUF file or hub id [default: SmolLM2, where make fetched it]."),
]


@dataclass(frozen=True)
class Answers(Choosing):
    """How answers are written, as options."""

    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", "-n", help="Of one answer.")
    ] = 1024

    def check(self) -> None:
        """Raises DynexitError for what no model could write."""
        from dynexit.decoding.sampling_parameters import check_new_tokens

        check_new_tokens(self.max_new_tokens)
        super().check()


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(chat)


@spread
def chat(
    model: ChatModel = None,
    system: Annotated[
        str | None, typer.Option(help="System prompt [default: the chat template's own].")
    ] = None,
    method: Annotated[str | None, typer.Option(help="Or FILE.py:CLASS [default: auto].")] = None,
    *,
    own: Own,
    draft_model: DraftModel = None,
    answers: Answers,
    how: Loading,
) -> None:
    """Talk with a model; /help names the commands. Without a terminal, one turn a line."""
    from dynexit.methods import DEFAULT_METHOD, usable_controller

    answers.check()
    method = method or DEFAULT_METHOD
    usable_controller(method, draft_model is not None, **own.settings)
    if model is None:
        model = _at_hand()
    with starting():
        from dynexit.cli.chat.conversation import Conversation
        from dynexit.cli.chat.talking import run
    lm, second = how.load_both(model, draft_model, check=False)
    talk = Conversation(lm, {**vars(answers), "draft_model": second}, system)
    with starting("measuring what passes cost"):
        talk.use(method, own.settings)
    run(talk)


def _at_hand() -> str:
    """The chat model that needs no name.

    Raises:
        DynexitError: it is not here.
    """
    from dynexit.model.places import find_chat_model

    if (found := find_chat_model()) is None:
        raise DynexitError(
            "there is no chat model at hand: name one (`dynexit models` lists what is here), or "
            "run `make demo` in the clone, which fetches SmolLM2."
        )
    return str(found)
