"""A checkpoint's tokenizer and chat template, through transformers. Its code is never run."""

import inspect
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from dynexit.errors import DynexitError
from dynexit.model.gguf.files import is_gguf
from dynexit.model.inert import InertText
from dynexit.model.reading import check_folder, said

FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json")
GENERIC = ("PreTrainedTokenizerFast", "TokenizersBackend")  # of Llama 3, among others


class CheckpointTokenizer:
    """Text to ids and back, as transformers does it for this checkpoint."""

    def __init__(self, folder: Path) -> None:
        with _told(f"the tokenizer in {folder} cannot be loaded"):
            loaded, self._used = _from_file(folder) if is_gguf(folder) else _from_folder(folder)
        if not getattr(loaded, "is_fast", False):
            raise DynexitError(
                f"the tokenizer in {folder} has no fast version: add a tokenizer.json."
            )
        self.folder = folder
        self.loaded: Any = loaded  # transformers' own object
        with _told(f"the tokenizer in {folder} cannot be used"):
            if not self.backend.get_vocab_size():
                raise DynexitError(f"the tokenizer in {folder} has no tokens.")

    @property
    def backend(self) -> Tokenizer:
        """The tokenizers library's object, for incremental decoding."""
        backend: Tokenizer = self.loaded.backend_tokenizer
        return backend

    @property
    def size(self) -> int:
        """Ids from 0 up to this are tokens; a model's vocabulary may be padded beyond."""
        size = int(max(self.loaded.get_vocab().values(), default=-1)) + 1
        return size if self._used is None else min(size, self._used)

    def agrees_with(self, other: "CheckpointTokenizer") -> bool:
        """Whether both give the same id to every token."""
        return self._tokens() == other._tokens()

    def _tokens(self) -> dict[str, int]:
        size = self.size
        return {token: index for token, index in self.loaded.get_vocab().items() if index < size}

    @property
    def eos(self) -> int | None:
        """The tokenizer's own end-of-sequence token."""
        eos: int | None = self.loaded.eos_token_id
        return eos

    def encode(self, text: str) -> list[int]:
        """Token ids of a prompt, with the special tokens that this tokenizer puts before it."""
        with _told("the tokenizer cannot encode this text"):
            ids: list[int] = self.loaded(text, verbose=False)["input_ids"]
        begin: int | None = self.loaded.bos_token_id
        if begin is not None and ids[:2] == [begin, begin]:
            name = self.loaded.bos_token
            warnings.warn(
                f"the prompt begins with {name}, and the tokenizer puts {name} before it: the "
                "model reads it twice; leave it out.",
                stacklevel=2,
            )
        return ids

    def bare(self, text: str) -> tuple[int, ...]:
        """Token ids of a piece of text, with nothing before it.

        Raises:
            DynexitError: the tokenizer makes none of it.
        """
        with _told("the tokenizer cannot encode this text"):
            ids = tuple(self.backend.encode(text, add_special_tokens=False).ids)
        if not ids:
            raise DynexitError(f"the tokenizer gives no tokens for {text[:40]!r}.")
        return ids

    def render_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        continue_final_message: bool | None = None,
        settings: Mapping[str, Any] | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> str:
        """A conversation as the text that the model was trained on.

        Args:
            add_generation_prompt: end where the assistant's answer begins.
            continue_final_message: the last message is open, to be continued; None is where no
                answer begins.
            settings: variables of the template.
            tools: functions that the answer may call, as OpenAI's clients describe them.

        Raises:
            DynexitError: there is no template, it fails on these messages, or a setting has a name
                that is taken.
        """
        if not self.loaded.chat_template:
            raise DynexitError(
                "this checkpoint has no chat template: it was not trained on conversations; "
                "leave out --chat and write the prompt as text."
            )
        settings, apply = settings or {}, self.loaded.apply_chat_template
        if taken := [name for name in settings if name in inspect.signature(apply).parameters]:
            raise DynexitError(f"a chat template has no variable {taken[0]!r} that could be set.")
        if continue_final_message is None:
            continue_final_message = not add_generation_prompt
        try:
            rendered: str = apply(
                list(messages),
                add_generation_prompt=add_generation_prompt,
                continue_final_message=continue_final_message,
                tokenize=False,
                tools=tools,
                **settings,
            )
        except Exception as error:  # templates are programs, and raise what they like
            raise DynexitError(
                f"this checkpoint's chat template cannot write these messages: {said(error)}"
            ) from error
        return rendered

    def encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        continue_final_message: bool | None = None,
        settings: Mapping[str, Any] | None = None,
        trust_messages: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[int]:
        """Token ids of a conversation; arguments as in `render_chat`.

        Args:
            trust_messages: a special token that a message spells is that token, not text.
        """
        how = (add_generation_prompt, continue_final_message)
        if trust_messages:
            text = self.render_chat(messages, *how, settings, tools)
            ids: list[int] = self.loaded(text, add_special_tokens=False, verbose=False)["input_ids"]
            return ids
        broken = self._inert.broken(list(messages)), self._inert.broken(settings or {})
        described = None if tools is None else self._inert.broken(list(tools), own_words=())
        return self._inert.encode(self.render_chat(broken[0], *how, broken[1], described))

    @cached_property
    def _inert(self) -> InertText:
        return InertText(self.backend)

    def piece(self, token: int) -> str:
        """What one token looks like within a text, its leading space included."""
        before = self.encode("a")[-1:]
        text: str = self.loaded.decode([*before, token])
        return text.removeprefix(self.loaded.decode(before))

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of `tokens` without special ones."""
        text: str = self.loaded.decode(list(tokens), skip_special_tokens=True)
        return text


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Whatever goes wrong in a tokenizer becomes a sentence that begins so: each class raises its
    own kinds, and a panic of the tokenizers library is no `Exception`.
    """
    try:
        yield
    except (DynexitError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise DynexitError(f"{what}: {said(error)}") from error


def _from_file(file: Path) -> tuple[Any, int | None]:
    """A GGUF file's tokenizer, and how many of its ids are tokens where the file says it."""
    from dynexit.model.gguf import tokens  # the gguf package is for such files alone

    return tokens.from_file(file), tokens.used_ids(file)


def _from_folder(folder: Path) -> tuple[Any, None]:
    check_folder(folder)
    options = {"trust_remote_code": False, "local_files_only": True}
    return _loader(folder).from_pretrained(str(folder), **options), None


def _loader(folder: Path) -> Any:
    """The class of transformers' that reads this folder. Where that is the generic one it is asked
    itself: `AutoTokenizer` imports what models need, which takes longer than the rest of a start.
    """
    import transformers

    try:
        told = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
        generic = told["tokenizer_class"] in GENERIC and (folder / "tokenizer.json").exists()
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
    ):  # the tokenizer's loader will report any fault
        generic = False
    return transformers.PreTrainedTokenizerFast if generic else transformers.AutoTokenizer


def load_tokenizer(folder: Path) -> CheckpointTokenizer | None:
    """The tokenizer in a folder or a GGUF file; None where it has none at all."""
    if is_gguf(folder):
        from dynexit.model.gguf import tokens

        return CheckpointTokenizer(folder) if tokens.has_tokenizer(folder) else None
    if not any((folder / name).exists() for name in FILES):
        return None
    return CheckpointTokenizer(folder)
