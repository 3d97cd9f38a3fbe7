"""A conversation: its turns, and the one place where an answer is decoded.

Not responsible for terminals.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynexit.errors import DynexitError
from dynexit.generation import Generation, Stream
from dynexit.language_model import LanguageModel
from dynexit.methods import UnknownSettingError, usable_controller
from dynexit.sessions import Session

if TYPE_CHECKING:
    from dynexit.decoding.controllers import Controller
    from dynexit.decoding.records import Source

Message = dict[str, str]
Part = tuple[str, "Source"]  # a piece of an answer, and where it came from


@dataclass(frozen=True)
class Turn:
    """A question, its answer, and the method that wrote it.

    Attributes:
        asked: tokens of the prompt, which is the whole conversation up to the answer.
    """

    question: str
    asked: int
    parts: list[Part]
    method: str
    output: Generation
    stopped: bool  # by the user, before its end

    @property
    def messages(self) -> list[Message]:
        """As chat templates know them."""
        answer = "".join(text for text, _ in self.parts)
        return [
            {"role": "user", "content": self.question},
            {"role": "assistant", "content": answer},
        ]


def lasting(method: str, second: bool, settings: Mapping[str, Any]) -> "Controller":
    """A controller that keeps what it learns from turn to turn, where its method can.

    Raises:
        DynexitError: as `usable_controller`.
    """
    try:
        return usable_controller(method, second, **{"carry": True, **settings})
    except UnknownSettingError as error:
        if error.name != "carry" or "carry" in settings:
            raise
        return usable_controller(method, second, **settings)


class Conversation:
    """Turns with a model that has a chat template.

    Args:
        options: of `LanguageModel.stream`, for every answer.

    Raises:
        DynexitError: the model was not trained on conversations.
    """

    def __init__(self, lm: LanguageModel, options: Mapping[str, Any], system: str | None) -> None:
        advice = "name a chat model, or write a text with `dynexit generate`"
        self._tokenizer = lm.chat_tokenizer(advice)
        self.lm, self.options, self.system = lm, options, system
        self._reuse = lm.reuse()  # whatever the method
        self.turns: list[Turn] = []
        self.length = 0  # tokens of the context that the turns take
        self.method = ""

    @property
    def name(self) -> str:
        """The model's, without its folder."""
        return Path(self.lm.name).name

    @property
    def room(self) -> int:
        """Tokens that the context holds."""
        return self.lm.model.config.max_positions

    @property
    def messages(self) -> list[Message]:
        """All messages so far, the system prompt first."""
        first = [] if self.system is None else [{"role": "system", "content": self.system}]
        return [*first, *(message for turn in self.turns for message in turn.messages)]

    def use(self, method: str, settings: Mapping[str, Any] | None = None) -> None:
        """Write the next answers by this method.

        Raises:
            DynexitError: the method cannot run here; the previous method then stays.
        """
        second = self.options.get("draft_model") is not None
        controller = lasting(method, second, settings or {})
        self.lm.prepare(controller)
        self.method, self._session = method, Session(self.lm, controller, self._reuse)

    @property
    def controller(self) -> "Controller":
        """What plans the rounds of the next answers."""
        return self._session.controller

    def ask(self, question: str) -> Stream:
        """Begin an answer; decoding starts when the stream is read.

        Raises:
            DynexitError: the context has no room for it, or the template cannot write it.
        """
        asked = [*self.messages, {"role": "user", "content": question}]
        tokens = self._tokenizer.encode_chat(asked)
        if len(tokens) >= self.room:
            raise DynexitError(
                f"the conversation would have {len(tokens)} tokens, and the context holds "
                f"{self.room}: shorten the message, or /save the conversation and /reset it."
            )
        self._asked = len(tokens)
        return self._session.stream(tokens, **self.options)

    def keep(self, question: str, parts: list[Part], output: Generation, stopped: bool) -> Turn:
        """Make a turn of an answer, whole or stopped."""
        turn = Turn(question, self._asked, parts, self.method, output, stopped)
        self.turns.append(turn)
        self.length = self._asked + len(output.token_ids)
        return turn

    def reset(self) -> None:
        """Forget all turns; the system prompt stays."""
        self.turns.clear()
        self.length = 0
