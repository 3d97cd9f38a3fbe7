"""A loaded checkpoint: its model and tokenizer, what was learned from its text, and token ids.

Not responsible for generating (`language_model.py`).
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from dynexit.agreement import SAMPLE
from dynexit.asking import check_text, token_ids
from dynexit.costs.store import costs_of
from dynexit.decoding.controllers.base import SecondModel
from dynexit.decoding.costs import Costs
from dynexit.decoding.grammars import Grammars
from dynexit.decoding.records import ShadowTokens
from dynexit.decoding.successors import SuccessorTable
from dynexit.errors import DynexitError
from dynexit.generation import Prompt
from dynexit.learning.finding import find_learned, given_learned
from dynexit.learning.learned import Learned
from dynexit.model.interface import Configured
from dynexit.model.skips import Skips
from dynexit.model.tokenizer import CheckpointTokenizer
from dynexit.preparing import Known, sample_of
from dynexit.skips_found import found_skips


class LoadedModel:
    """A checkpoint in memory."""

    def __init__(
        self,
        model: Configured,
        tokenizer: CheckpointTokenizer | None = None,
        eos: frozenset[int] = frozenset(),
        name: str = "model",
        folder: Path | None = None,
        learned: Path | bool | None = None,
    ) -> None:
        self.model, self.tokenizer, self.eos, self.name = model, tokenizer, eos, name
        self.folder, self._learned_in = folder, learned
        self._seconds: list[LoadedModel] = []  # found to share our vocabulary
        if tokenizer is not None:
            model.vocabulary_size = min(model.vocabulary_size, tokenizer.size)
        if self.learned is not None and self.learned.frequent:
            model.draft_by(self.learned.draft_tokens)

    @property
    def kind(self) -> SecondModel:
        """What it can be for another model: one that drafts token by token, or a diffusion model,
        which drafts blocks and writes no text of its own.
        """
        return "causal" if self.model.config.mask_token is None else "diffusion"

    def check_writes(self) -> None:
        """Raises DynexitError where this is a masked-diffusion model, which writes no text here."""
        if self.kind == "diffusion":
            raise DynexitError(
                f"{self.name} is a masked-diffusion model, which writes no text here: give it as "
                "draft model to method diffuspec."
            )

    @property
    def num_layers(self) -> int:
        """Decoder layers."""
        return self.model.config.num_layers

    @property
    def sample(self) -> ShadowTokens:
        """Every exit's predictions for a sample text, for methods that need them in advance."""
        return sample_of(self.model, self.sample_text)

    def sample_text(self) -> list[int]:
        """Tokens of the text that `sample` is of."""
        return self.text_tokens(SAMPLE)

    @cached_property
    def learned(self) -> Learned | None:
        """What `learn` learned from this model's own text; None if not found or switched off.

        Raises:
            DynexitError: the folder that the user named is damaged or of another model.
        """
        if isinstance(self._learned_in, Path):
            return given_learned(self._learned_in, self.folder, self.model.vocabulary_size)
        if self.folder is None or self._learned_in is False:
            return None
        return find_learned(self.folder, self.model.vocabulary_size)

    @cached_property
    def table(self) -> SuccessorTable | None:
        """The learned table of likely next tokens."""
        return None if self.learned is None else self.learned.table

    @cached_property
    def skips(self) -> Skips | None:
        """The sublayers to leave out in drafts that `dynexit skip-search` found for this model."""
        return None if self.folder is None else found_skips(self.folder, self.num_layers)

    @property
    def known(self) -> Known:
        """What methods may ask of this checkpoint."""
        return Known(self.sample_text, self.table, lambda: self.skips)

    @property
    def costs(self) -> Costs:
        """Seconds of this model's forward passes on this machine: measured once, then cached."""
        return costs_of(self.model)

    @cached_property
    def grammars(self) -> Grammars | None:
        """The compiler of constraints for this model's tokenizer; None without a tokenizer."""
        return None if self.tokenizer is None else Grammars(self.tokenizer.backend, self.eos)

    def chat_tokenizer(self, else_do: str) -> CheckpointTokenizer:
        """The tokenizer, with its chat template.

        Raises:
            DynexitError: there is no chat template; the message says what to do instead.
        """
        if self.tokenizer is None or not self.tokenizer.loaded.chat_template:
            raise DynexitError(
                f"{self.name} has no chat template: it was not trained on conversations; {else_do}."
            )
        return self.tokenizer

    def drafted_by(self, other: "LoadedModel") -> Configured:
        """The model of another checkpoint, which drafts for this one.

        Raises:
            DynexitError: its vocabulary differs.
        """
        if not isinstance(other, LoadedModel):
            raise DynexitError("draft_model must be a model that dynexit.load returned.")
        if other in self._seconds:
            return other.model
        if other.model.vocabulary_size != self.model.vocabulary_size:
            raise DynexitError(
                f"{other.name} has {other.model.vocabulary_size} tokens but {self.name} has "
                f"{self.model.vocabulary_size}: a draft model needs the same vocabulary."
            )
        if self.tokenizer and other.tokenizer and not self.tokenizer.agrees_with(other.tokenizer):
            raise DynexitError(
                f"the tokenizers of {other.name} and {self.name} give the same tokens different "
                "ids: a draft model needs the same vocabulary."
            )
        self._seconds.append(other)
        return other.model

    def text_tokens(self, text: str) -> list[int]:
        """Token ids of a text, cut to the context; arbitrary ids if there is no tokenizer.

        Raises:
            DynexitError: the tokenizer gives no tokens, or ids that this model does not have.
        """
        if self.tokenizer is None:
            ids = [position % self.model.vocabulary_size for position in range(64)]
        else:
            ids = self.prompt_tokens(text)
        return ids[: self.model.config.max_positions]

    def prompt_tokens(
        self, prompt: Prompt, chat: bool = False, trust_messages: bool = False
    ) -> list[int]:
        """Token ids of a prompt as given to `stream`.

        Raises:
            DynexitError: the prompt is empty or outside the vocabulary.
        """
        if isinstance(prompt, str):
            if self.tokenizer is None:
                raise DynexitError("this checkpoint has no tokenizer: give token ids as prompt.")
            check_text(prompt, "the prompt")
            ids = (
                self.tokenizer.encode(prompt)
                if not chat
                else self.tokenizer.encode_chat(
                    [{"role": "user", "content": prompt}], trust_messages=trust_messages
                )
            )
        else:
            ids = token_ids(prompt)
        if not ids:
            raise DynexitError("the prompt is empty: give at least one token of text.")
        return self.checked(ids)

    def checked(self, ids: Sequence[int]) -> list[int]:
        """Token ids as given.

        Raises:
            DynexitError: one is outside the vocabulary.
        """
        limit = self.model.vocabulary_size
        if wrong := [token for token in ids if not 0 <= token < limit]:
            raise DynexitError(f"token id {wrong[0]} is outside the vocabulary of {limit} tokens.")
        return list(ids)
