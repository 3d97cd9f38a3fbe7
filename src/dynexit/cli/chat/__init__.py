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
    typer.Argument(help="Folder, GGUF file or hub id [default: SmolLM2, if make demo fetched it]."),
]


@dataclass(frozen=True)
class Answers(Choosing):
    """How answers are written, as options."""

    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", "-n", help="New tokens per answer, at most.")
    ] = 1024

    def check(self) -> None:
        """Raises DynexitError for options that no model can follow."""
        from dynexit.decoding.sampling_parameters import check_new_tokens

        check_new_tokens(self.max_new_tokens)
        super().check()


@spread
def chat(
    model: ChatModel = None,
    system: Annotated[
        str | None, typer.Option(help="System prompt [default: the chat template's own].")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Name or FILE.py:CLASS [default: auto].")
    ] = None,
    *,
    own: Own,
    draft_model: DraftModel = None,
    answers: Answers,
    how: Loading,
) -> None:
    """Chat with a model; /help lists commands. Without a terminal, each input line is a turn."""
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
    """The default chat model.

    Raises:
        DynexitError: it is not on this machine.
    """
    from dynexit.model.places import find_chat_model

    if (found := find_chat_model()) is None:
        raise DynexitError(
            "no chat model was found: name one (`dynexit models` lists those on this machine), or "
            "run `make demo` in the clone, which fetches SmolLM2."
        )
    return str(found)
