"""Sessions and conversations: state that is kept from text to text."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dynexit.decoding.controllers.base import Controller
from dynexit.decoding.prefixes import PrefixCache
from dynexit.decoding.reuse import Reuse
from dynexit.generation import Generation, Prompt, Stream

Message = Mapping[str, Any]


class Writer(Protocol):
    """Generates text; `LanguageModel` is one."""

    def generate(self, prompt: Prompt, method: Controller, **options: Any) -> Generation:
        """Generate a whole text."""

    def stream(self, prompt: Prompt, method: Controller, **options: Any) -> Stream:
        """Generate a text chunk by chunk."""


@dataclass(frozen=True)
class Session:
    """A model with a controller and caches that are kept from text to text. It generates one text
    at a time.
    """

    lm: Writer
    controller: Controller
    reuse: Reuse

    @property
    def cache(self) -> PrefixCache | None:
        """Keys and values of earlier prompts and texts; None if there is no prefix cache."""
        return self.reuse.prefixes

    def generate(self, prompt: Prompt, **options: Any) -> Generation:
        """As `LanguageModel.generate`, without a method and its settings."""
        return self.lm.generate(prompt, self.controller, reuse=self.reuse, **options)

    def stream(self, prompt: Prompt, **options: Any) -> Stream:
        """As `LanguageModel.stream`, without a method and its settings."""
        return self.lm.stream(prompt, self.controller, reuse=self.reuse, **options)


class Chat:
    """A conversation, turn by turn.

    Args:
        encode: returns the token ids of messages, up to where the next answer begins.
    """

    def __init__(
        self,
        session: Session,
        encode: Callable[[Sequence[Message]], list[int]],
        system: str | None = None,
        messages: Sequence[Message] = (),
    ) -> None:
        self._session, self._encode = session, encode
        told = [] if system is None else [{"role": "system", "content": system}]
        self._messages: list[Message] = [*told, *messages]
        self._answer: Stream | None = None

    @property
    def cache(self) -> PrefixCache | None:
        """Keys and values of earlier turns; None if there is no prefix cache."""
        return self._session.cache

    @property
    def messages(self) -> list[Message]:
        """The conversation so far, with `role` and `content`."""
        if self._answer is None:
            return list(self._messages)
        return [*self._messages, _said("assistant", self._answer.output.text)]

    def send(self, text: str, **options: Any) -> Generation:
        """Send a user message and return the whole answer.

        Args:
            options: as for `LanguageModel.generate`, without a method and its settings.

        Raises:
            DynexitError: as there; the conversation then stays as it was.
        """
        messages = [*self.messages, _said("user", text)]
        answer = self._session.generate(self._encode(messages), **options)
        self._messages, self._answer = [*messages, _said("assistant", answer.text)], None
        return answer

    def stream(self, text: str, **options: Any) -> Stream:
        """As `send`, chunk by chunk. The next turn keeps as much of the answer as was generated."""
        messages = [*self.messages, _said("user", text)]
        answer = self._session.stream(self._encode(messages), **options)
        self._messages, self._answer = messages, answer
        return answer


def _said(role: str, content: str) -> Message:
    return {"role": role, "content": content}
