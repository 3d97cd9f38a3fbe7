"""A caller's request for one text, and the job for the decoder that it becomes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from dynexit.asking import check_whole, one_rule, stop_strings, texts_of
from dynexit.decoding.constraint import Constraint
from dynexit.decoding.guide import Guide
from dynexit.decoding.job import Job
from dynexit.decoding.limits import Limits
from dynexit.decoding.reuse import Reuse
from dynexit.decoding.sampling_parameters import Sampling
from dynexit.decoding.text import NoText, TextSink, TextStream
from dynexit.errors import DynexitError
from dynexit.loaded_model import LoadedModel


@dataclass(frozen=True)
class Request:
    """What a caller wants of a text, besides prompt and method.

    Args:
        max_new_tokens: the exact limit; the text may end earlier. 0 only reads the prompt.
        min_new_tokens: before this many new tokens, EOS and stop tokens cannot be chosen, and
            stop strings do not end the text.
        stop: the text is cut before the first of these strings, which may be special tokens.
        stop_token_ids: tokens that end the text as EOS does and are not part of it.
        ignore_eos: treat EOS as an ordinary token.
        chat: put the prompt through the chat template, as a user's message.
        trust_messages: special tokens spelt in the message are control tokens, not text.
        sampling: how tokens are chosen.
        draft_model: a smaller model of the same vocabulary, for methods that draft with one.
        logprobs: give each chunk its token's log-probability under the target, and this many
            of the likeliest alternatives.
        prompt_logprobs: also give them for the prompt, as `prompt_logprobs` of the sequence.
        constraint: the text follows it; max_new_tokens may still cut the text short.
        bad_words: words that the text never has, in the tokens that the tokenizer gives each.
        reuse: caches of this model that texts share. A known prefix of the prompt is not
            computed again, unless its log-probabilities are wanted; this text is added.
    """

    max_new_tokens: int = 128
    min_new_tokens: int = 0
    stop: str | Sequence[str] | None = None
    stop_token_ids: Sequence[int] = ()
    ignore_eos: bool = False
    chat: bool = False
    trust_messages: bool = False
    sampling: Sampling = field(default_factory=Sampling)
    draft_model: LoadedModel | None = None
    logprobs: int | None = None
    prompt_logprobs: bool = False
    constraint: Constraint | None = None
    bad_words: Sequence[str] = ()
    reuse: Reuse | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> tuple[Self, dict[str, Any]]:
        """A request and what is left: settings of a method.

        Args:
            options: fields of a request, of its sampling, or settings, by name.

        Raises:
            DynexitError: `sampling` is given beside its fields, or one of these is wrong.
        """
        own = {name: value for name, value in options.items() if name in REQUEST}
        chosen = {name: value for name, value in options.items() if name in SAMPLING}
        own["sampling"] = one_rule(own.get("sampling"), chosen)
        known = REQUEST | SAMPLING
        return cls(**own), {name: options[name] for name in options if name not in known}

    def job(self, lm: LoadedModel, tokens: list[int]) -> Job:
        """The job of writing this text with a model.

        Args:
            tokens: the prompt.

        Raises:
            DynexitError: the request cannot be run as asked.
        """
        for name in ("max_new_tokens", "min_new_tokens"):
            check_whole(name, getattr(self, name), 0)
        if self.logprobs is not None:
            check_whole("logprobs", self.logprobs, 0)
        limits = self._limits(lm)
        limits.check(len(tokens), lm.model.vocabulary_size)
        rule = self._rule(lm)
        guide = None if self.constraint is None else self._guide(lm, self.constraint, limits)
        return Job(
            tokens,
            limits,
            rule,
            text=self._text(lm, tokens),
            second=None if self.draft_model is None else lm.drafted_by(self.draft_model),
            logprobs=self.logprobs,
            prompt_logprobs=self.prompt_logprobs,
            guide=guide,
            reuse=self.reuse or Reuse(),
        )

    def _limits(self, lm: LoadedModel) -> Limits:
        ends = frozenset(lm.checked(self.stop_token_ids))
        if not self.ignore_eos:
            ends |= lm.eos
        return Limits(self.max_new_tokens, lm.model.config.max_positions, ends, self.min_new_tokens)

    def _rule(self, lm: LoadedModel) -> Sampling:
        """How tokens are chosen, without the bad words."""
        rule = self.sampling
        if self.bad_words:
            rule = replace(rule, banned=(*rule.banned, *_banned(lm, self.bad_words)))
        lm.checked([*(rule.logit_bias or {}), *(one for words in rule.banned for one in words)])
        return rule

    def _guide(self, lm: LoadedModel, constraint: Constraint, limits: Limits) -> Guide:
        """A guide that holds the text to the constraint.

        Raises:
            DynexitError: the constraint cannot be followed here.
        """
        if lm.grammars is None:
            raise DynexitError("a constraint needs a tokenizer, but this checkpoint has none.")
        if self.ignore_eos or self.min_new_tokens:
            name = "ignore_eos" if self.ignore_eos else "min_new_tokens"
            raise DynexitError(
                f"{name} cannot be combined with a constraint, which decides where texts end."
            )
        return lm.grammars.guide(constraint, limits.eos, lm.model.vocabulary_size)

    def _text(self, lm: LoadedModel, tokens: list[int]) -> TextSink:
        """What receives the text's tokens."""
        stops = stop_strings(self.stop)
        if lm.tokenizer is not None:
            return TextStream(lm.tokenizer.backend, tokens, stops, self.min_new_tokens)
        if stops:
            raise DynexitError("stop strings need a tokenizer, but this checkpoint has none.")
        return NoText()


REQUEST = frozenset(one.name for one in fields(Request))
SAMPLING = frozenset(one.name for one in fields(Sampling))


def _banned(lm: LoadedModel, words: Sequence[str]) -> list[tuple[int, ...]]:
    """Tokens of words, each at the beginning of a text and after a space."""
    if lm.tokenizer is None:
        raise DynexitError("bad_words need a tokenizer, but this checkpoint has none.")
    words = texts_of(words, "bad_words")
    return [lm.tokenizer.bare(form) for word in words for form in (word, f" {word}")]
