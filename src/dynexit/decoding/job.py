"""What is asked for: one text."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

from dynexit.decoding.guide import Guide
from dynexit.decoding.limits import Limits
from dynexit.decoding.prefixes import PrefixCache
from dynexit.decoding.sampling_parameters import Sampling
from dynexit.decoding.text import NoText, TextSink
from dynexit.model.interface import Model


@dataclass(frozen=True)
class Job:
    """A text to write.

    Attributes:
        prompt: token ids.
        text: where tokens go as they stay.
        second: a smaller model of the same vocabulary, for methods that draft with one.
        logprobs: give every token its log-probability, and so many of the likeliest in its place.
        prompt_logprobs: the prompt's tokens, too, but for the first.
        guide: leads the text along a grammar; it serves this text alone.
        prefixes: what was read before, for texts of this model; they are of its whole depth.
        salt: texts of another salt share nothing of it.
        clock: seconds.
    """

    prompt: list[int]
    limits: Limits
    sampling: Sampling = field(default_factory=Sampling)
    text: TextSink = field(default_factory=NoText)
    second: Model | None = None
    logprobs: int | None = None
    prompt_logprobs: bool = False
    guide: Guide | None = None
    prefixes: PrefixCache | None = None
    salt: str = ""
    clock: Callable[[], float] = perf_counter
