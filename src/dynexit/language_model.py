"""The public entry point: a loaded model that generates text."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from typing import Any

import torch

from dynexit.agreement import ADVICE, SAMPLE, WITHOUT_EXITS, why_none_pays
from dynexit.asking import (
    check_text,
    check_whole,
    meant,
    one_rule,
    stop_strings,
    texts_of,
    token_ids,
)
from dynexit.costs.store import costs_of
from dynexit.decoding.constraint import Constraint
from dynexit.decoding.controllers.base import Controller, SecondModel
from dynexit.decoding.costs import Costs
from dynexit.decoding.earlier import EarlierTexts
from dynexit.decoding.grammars import Grammars
from dynexit.decoding.guide import Guide
from dynexit.decoding.job import Job
from dynexit.decoding.limits import Limits
from dynexit.decoding.loop import finish
from dynexit.decoding.memory import DEFAULT, memory_of
from dynexit.decoding.prefix_files import Origin
from dynexit.decoding.prefixes import PrefixCache
from dynexit.decoding.records import ShadowTokens
from dynexit.decoding.reuse import Reuse
from dynexit.decoding.sampling_parameters import Sampling
from dynexit.decoding.sequence import Decoding
from dynexit.decoding.successors import SuccessorTable
from dynexit.decoding.text import NoText, TextSink, TextStream
from dynexit.errors import DynexitError
from dynexit.generation import Generation, Prompt, Stream
from dynexit.learning.finding import check_learned, find_learned, given_learned
from dynexit.learning.learned import Learned
from dynexit.methods import DEFAULT_METHOD, UnknownSettingError, has_setting, make_controller
from dynexit.model.dtypes import parse_devices
from dynexit.model.fingerprint import checkpoint_fingerprint
from dynexit.model.forking import prepare_forks
from dynexit.model.interface import Configured
from dynexit.model.loading import load_eos, load_shape
from dynexit.model.places import BUNDLED, find_checkpoint
from dynexit.model.runtimes import load_into
from dynexit.model.skips import Skips
from dynexit.model.threads import use_threads
from dynexit.model.tokenizer import CheckpointTokenizer, load_tokenizer
from dynexit.preparing import facts_of, open_decoding, sample_of
from dynexit.sessions import Chat, Session
from dynexit.skips_found import found_skips

__all__ = ["Generation", "LanguageModel", "Prompt", "Stream", "load"]


class LanguageModel:
    """A checkpoint that is ready to generate. Made by `load`.

    Several threads may generate at once: texts share no mutable state, and the native runtime runs
    one pass at a time. A controller that is given as an object serves one text at a time.
    """

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
        self._seconds: list[LanguageModel] = []  # found to share our vocabulary
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
        return sample_of(self.model, self._sample_text)

    def _sample_text(self) -> list[int]:
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
    def costs(self) -> Costs:
        """Seconds of this model's forward passes on this machine: measured once, then cached."""
        return costs_of(self.model)

    def prepare(self, method: str | Controller = DEFAULT_METHOD) -> None:
        """Do a method's one-time work for this model now: measure costs, copy layers, read a text.

        Raises:
            DynexitError: the method is unknown or cannot run here.
        """
        facts_of(make_controller(method), self.model, self._sample_text, self.table)

    def generate(
        self, prompt: Prompt, method: str | Controller = DEFAULT_METHOD, **options: Any
    ) -> Generation:
        """Generate a whole text; arguments as in `sequence`."""
        decoding = self.sequence(prompt, method, **options)
        finish(decoding)
        return Generation.of(decoding)

    def session(
        self,
        method: str = DEFAULT_METHOD,
        *,
        cache_memory: int | str | None = None,
        **settings: Any,
    ) -> Session:
        """Generate several texts in sequence: the method keeps what it learned from earlier ones,
        and a prefix that an earlier text had is not computed again.

        Args:
            method: one with the setting `carry`.
            cache_memory: as for `prefix_cache`.

        Raises:
            DynexitError: the method has no `carry`, or not one of the given settings.
        """
        controller = make_controller(method, carry=True, **settings)
        return Session(self, controller, self.reuse(cache_memory))

    def chat(
        self,
        system: str | None = None,
        method: str = DEFAULT_METHOD,
        *,
        messages: Sequence[Mapping[str, Any]] = (),
        trust_messages: bool = False,
        cache_memory: int | str | None = None,
        **settings: Any,
    ) -> Chat:
        """A conversation through the checkpoint's chat template. Each turn computes only the new
        part of the prompt.

        Args:
            system: the system prompt; None is the template's own.
            method: one that has the setting `carry` keeps what it learned from turn to turn.
            messages: earlier messages, with `role` and `content`.
            trust_messages: as for `sequence`.
            cache_memory: as for `prefix_cache`.

        Raises:
            DynexitError: there is no chat template, or the method or a setting is unknown.
        """
        tokenizer = self.chat_tokenizer("use `session()` and write the prompt as text")
        carry = {"carry": True} if has_setting(method, "carry") else {}
        controller = make_controller(method, **(carry | settings))
        encode = partial(tokenizer.encode_chat, trust_messages=trust_messages)
        session = Session(self, controller, self.reuse(cache_memory))
        return Chat(session, encode, system, messages)

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

    def reuse(self, memory: int | str | None = None) -> Reuse:
        """New caches for texts to share: pass them as `reuse`. For `memory`, see `prefix_cache`."""
        return Reuse(self.prefix_cache(memory), EarlierTexts().of())

    def prefix_cache(self, memory: int | str | None = None) -> PrefixCache | None:
        """A cache of keys and values for texts that begin alike.

        Args:
            memory: bytes, such as 500_000_000 or "500MB"; 0 is no cache. None is 1 GB in a runtime
                whose results stay identical to the bit (native), and no cache elsewhere.

        Raises:
            DynexitError: not an amount of memory, or too little for this model.
        """
        if memory is None:
            memory = DEFAULT if self.model.rows_independent else 0
        if not (limit := memory_of(memory)):
            return None
        origin = None if self.folder is None else self._origin
        return PrefixCache(limit, self.model.new_cache().block_bytes, origin)

    def _origin(self) -> Origin:
        assert self.folder is not None
        runtime, dtype = self.model.runtime_name, str(self.model.dtype).removeprefix("torch.")
        fingerprint = checkpoint_fingerprint(self.folder)
        return Origin(fingerprint, self.name, runtime, dtype, version("dynexit"))

    def stream(
        self, prompt: Prompt, method: str | Controller = DEFAULT_METHOD, **options: Any
    ) -> Stream:
        """Generate a text chunk by chunk; arguments as in `sequence`."""
        return Stream(self.sequence(prompt, method, **options))

    def sequence(
        self,
        prompt: Prompt,
        method: str | Controller = DEFAULT_METHOD,
        *,
        max_new_tokens: int = 128,
        min_new_tokens: int = 0,
        stop: str | Sequence[str] | None = None,
        stop_token_ids: Sequence[int] = (),
        ignore_eos: bool = False,
        chat: bool = False,
        trust_messages: bool = False,
        sampling: Sampling | None = None,
        draft_model: "LanguageModel | None" = None,
        logprobs: int | None = None,
        prompt_logprobs: bool = False,
        constraint: Constraint | None = None,
        bad_words: Sequence[str] = (),
        reuse: Reuse | None = None,
        **options: Any,
    ) -> Decoding:
        """Prepare a text for a scheduler to run; nothing is decoded yet.

        Args:
            prompt: text or token ids.
            method: a method's name, `FILE.py:CLASS`, or a controller.
            max_new_tokens: the exact limit; the text may end earlier. 0 only reads the prompt.
            min_new_tokens: before this many new tokens, EOS and stop tokens cannot be chosen, and
                stop strings do not end the text.
            stop: the text is cut before the first of these strings, which may be special tokens.
            stop_token_ids: tokens that end the text as EOS does and are not part of it.
            ignore_eos: treat EOS as an ordinary token.
            chat: put the prompt through the chat template, as a user's message.
            trust_messages: special tokens spelt in the message are control tokens, not text.
            sampling: how tokens are chosen; or give its fields (temperature, top_k, top_p, min_p,
                repetition_penalty, presence_penalty, frequency_penalty, seed, acceptance,
                logit_bias, banned) as options.
            draft_model: a smaller model of the same vocabulary, for methods that draft with one.
            logprobs: give each chunk its token's log-probability under the target, and this many
                of the likeliest alternatives.
            prompt_logprobs: also give them for the prompt, as `prompt_logprobs` of the sequence.
            constraint: the text follows it; max_new_tokens may still cut the text short.
            bad_words: words that the text never has, in the tokens that the tokenizer gives each.
            reuse: caches of this model that texts share. A known prefix of the prompt is not
                computed again, unless its log-probabilities are wanted; this text is added.
            options: fields of `Sampling`, and settings of the method (such as exit_layer).

        Raises:
            DynexitError: the request cannot be run as asked.
        """
        self.check_writes()
        fields = Sampling.__dataclass_fields__
        chosen = {name: value for name, value in options.items() if name in fields}
        settings = {name: value for name, value in options.items() if name not in fields}
        rule = one_rule(sampling, chosen)
        controller = _controller(method, settings)
        tokens = self.prompt_tokens(prompt, chat, trust_messages)
        for name, count in (("max_new_tokens", max_new_tokens), ("min_new_tokens", min_new_tokens)):
            check_whole(name, count, 0)
        if logprobs is not None:
            check_whole("logprobs", logprobs, 0)
        ends = frozenset(self._checked(stop_token_ids)) | (frozenset() if ignore_eos else self.eos)
        limits = Limits(max_new_tokens, self.model.config.max_positions, ends, min_new_tokens)
        limits.check(len(tokens), self.model.vocabulary_size)
        if bad_words:
            rule = replace(rule, banned=(*rule.banned, *self._banned(bad_words)))
        self._checked([*(rule.logit_bias or {}), *(one for words in rule.banned for one in words)])
        guide = None if constraint is None else self._guide(constraint, limits, ignore_eos)
        stops = stop_strings(stop)
        if stops and self.tokenizer is None:
            raise DynexitError("stop strings need a tokenizer, but this checkpoint has none.")
        text: TextSink = NoText()
        if self.tokenizer is not None:
            text = TextStream(self.tokenizer.backend, tokens, stops, min_new_tokens)
        second = None if draft_model is None else self._second(draft_model)
        job = Job(
            *(tokens, limits, rule, text, second, logprobs, prompt_logprobs, guide),
            reuse or Reuse(),
        )
        known = self._sample_text, self.table, lambda: self.skips
        return open_decoding(self.model, controller, job, *known)

    def _guide(self, constraint: Constraint, limits: Limits, ignore_eos: bool) -> Guide:
        """A guide that holds a text to a constraint.

        Raises:
            DynexitError: the constraint cannot be followed here.
        """
        if self.grammars is None:
            raise DynexitError("a constraint needs a tokenizer, but this checkpoint has none.")
        if ignore_eos or limits.min_new_tokens:
            name = "ignore_eos" if ignore_eos else "min_new_tokens"
            raise DynexitError(
                f"{name} cannot be combined with a constraint, which decides where texts end."
            )
        return self.grammars.guide(constraint, limits.eos, self.model.vocabulary_size)

    @cached_property
    def grammars(self) -> Grammars | None:
        """The compiler of constraints for this model's tokenizer; None without a tokenizer."""
        return None if self.tokenizer is None else Grammars(self.tokenizer.backend, self.eos)

    def _banned(self, words: Sequence[str]) -> list[tuple[int, ...]]:
        """Tokens of words, each at the beginning of a text and after a space."""
        if self.tokenizer is None:
            raise DynexitError("bad_words need a tokenizer, but this checkpoint has none.")
        words = texts_of(words, "bad_words")
        return [self.tokenizer.bare(form) for word in words for form in (word, f" {word}")]

    def _second(self, other: "LanguageModel") -> Configured:
        """The model that drafts for this one.

        Raises:
            DynexitError: its vocabulary differs.
        """
        if not isinstance(other, LanguageModel):
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
        return self._checked(ids)

    def _checked(self, ids: Sequence[int]) -> list[int]:
        limit = self.model.vocabulary_size
        if wrong := [token for token in ids if not 0 <= token < limit]:
            raise DynexitError(f"token id {wrong[0]} is outside the vocabulary of {limit} tokens.")
        return list(ids)


def _controller(method: str | Controller, settings: dict[str, Any]) -> Controller:
    """The method's controller. An unknown setting may be a misspelt argument of `generate`."""
    try:
        return make_controller(method, **settings)
    except UnknownSettingError as error:
        arguments = signature(LanguageModel.sequence).parameters
        found = meant(error.name, [*arguments, *Sampling.__dataclass_fields__])
        if found is None:
            raise
        raise DynexitError(
            f"there is no argument {error.name!r} (did you mean {found}?), and {error}"
        ) from error


def kind_of(model: str | Path) -> SecondModel:
    """The kind of a checkpoint that is not loaded (`LanguageModel.kind`).

    Raises:
        DynexitError: as `load`.
    """
    causal = load_shape(find_checkpoint(model)).mask_token is None
    return "causal" if causal else "diffusion"


def load(
    model: str | Path | None = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    check: bool = True,
    runtime: str | None = None,
    learned: str | Path | bool | None = None,
) -> LanguageModel:
    """Load a checkpoint in Hugging Face format.

    Args:
        model: a local folder, a GGUF file or a hub id; None or "bundled" is the model that comes
            with dynexit.
        dtype: bf16, fp16, fp32 or fp64; None is bf16 where that is fast, else fp32.
        device: cpu, cuda or cuda:N; None is CUDA if available. Several, such as "cuda:0,cuda:1",
            share the layers of a model that is too large for one.
        check: warn once if the checkpoint's early exits are useless.
        runtime: native (C++, on a CPU in bf16 or fp32), graphs (PyTorch with CUDA graphs) or
            eager (PyTorch); None is the first of them that works.
        learned: a folder that `learn` made for this model; None looks beside the model, in the
            cache and in dynexit; False uses none.

    Raises:
        DynexitError: the checkpoint is missing, damaged or not supported (the message names it),
            or `learned` belongs to another model.
    """
    use_threads(None)
    prepare_forks()
    folder = find_checkpoint(model)
    if isinstance(learned, str):
        learned = Path(learned)
    if isinstance(learned, Path):
        check_learned(learned, folder)  # before anything large is read
    devices = parse_devices(device)
    config = load_shape(folder)
    tokenizer = load_tokenizer(folder)
    loaded = LanguageModel(
        load_into(runtime, folder, config, dtype, devices),
        tokenizer,
        load_eos(folder, tokenizer.eos if tokenizer else None),
        BUNDLED.name if model is None else str(model),
        folder,
        learned,
    )
    exits = check and loaded.kind == "causal"
    reason = why_none_pays(loaded.model, loaded.sample) if exits else None
    if reason is not None:
        advice = ADVICE if loaded.learned is None else WITHOUT_EXITS
        warnings.warn(f"{loaded.name}: {reason}. {advice}", stacklevel=2)
    return loaded
