"""A request for one text."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

from dynexit.decoding.guide import Guide
from dynexit.decoding.limits import Limits
from dynexit.decoding.reuse import Reuse
from dynexit.decoding.sampling_parameters import Sampling
from dynexit.decoding.text import NoText, TextSink
from dynexit.model.interface import Described


@dataclass(frozen=True)
class Job:
    """A text to write.

    Attributes:
        prompt: token ids.
        text: receives the text's tokens as they are accepted.
        second: a smaller model of the same vocabulary, for methods that draft with one.
        logprobs: give every token its log-probability, and this many of the likeliest alternatives.
        prompt_logprobs: also for the prompt's tokens, except the first.
        guide: holds the text to a grammar; used for this text only.
        reuse: what it shares with other texts.
        clock: returns seconds.
    """

    prompt: list[int]
    limits: Limits
    sampling: Sampling = field(default_factory=Sampling)
    text: TextSink = field(default_factory=NoText)
    second: Described | None = None
    logprobs: int | None = None
    prompt_logprobs: bool = False
    guide: Guide | None = None
    reuse: Reuse = field(default_factory=Reuse)
    clock: Callable[[], float] = perf_counter
