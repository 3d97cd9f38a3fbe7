"""Settings of a server; the options of `dynexit serve` are these fields."""

from dataclasses import dataclass, field
from math import isfinite

from dynexit.decoding.memory import memory_of
from dynexit.errors import DynexitError
from dynexit.methods import DEFAULT_METHOD

ABOVE_0 = (
    *("running", "max_new_tokens", "max_choices", "max_body"),
    *("connections", "patience", "deadline"),
)

WHOSE = "own", "all", "none"


@dataclass(frozen=True)
class Settings:
    """Limits and defaults of a server. Seconds are seconds, sizes are bytes.

    Args:
        name: the model's id in requests; None is the checkpoint's name.
        method: the method of requests that name none.
        methods: methods that requests may name, in addition to `method`. NAME allows all its
            settings, NAME:setting=value only these. None allows all of the package's methods.
        api_key: the key that every request under /v1 and /dynexit must carry; None needs no key.
        hosts: host names, besides localhost, that requests may use when there is no key.
        running: texts that are decoded at the same time, at most.
        queue: texts that may wait; further ones are refused with 429.
        max_new_tokens: new tokens per text, at most.
        max_choices: texts per request (prompts times n), at most.
        max_body: bytes per request, at most.
        connections: open connections, at most; those without a request are closed first.
        patience: seconds that a client has to send a request, and to receive what it is sent.
        deadline: seconds before a request times out, waiting and decoding together.
        grace: seconds that running texts have to finish when the server shuts down.
        batched: whether texts share forward passes; None is yes where results stay identical to
            the bit.
        cache_memory: memory of the prefix cache, as for `LanguageModel.prefix_cache`.
        earlier_texts: whose earlier texts may be drafted from: those of the client's "own" API
            key, of "all" clients, or of "none".
        generation_config: whether requests that leave out temperature, top_p and the like get
            those of the checkpoint's generation_config.json instead of OpenAI's defaults.
        trust_messages: whether special tokens spelt in messages are control tokens, not text.
        cors: origins whose pages may read replies, such as "http://localhost:3000", or "*".

    Raises:
        DynexitError: a setting is out of range.
    """

    name: str | None = None
    method: str = DEFAULT_METHOD
    methods: tuple[str, ...] | None = None
    api_key: str | None = field(default=None, repr=False)
    hosts: tuple[str, ...] = ()
    running: int = 32
    queue: int = 256
    max_new_tokens: int = 4096
    max_choices: int = 16
    max_body: int = 1_000_000
    connections: int = 512
    patience: float = 30.0
    deadline: float = 600.0
    grace: float = 20.0
    batched: bool | None = None
    cache_memory: int | str | None = None
    earlier_texts: str = "own"
    generation_config: bool = False
    trust_messages: bool = False
    cors: list[str] | None = None

    def __post_init__(self) -> None:
        for name in ("patience", "deadline", "grace"):
            if not isfinite(value := getattr(self, name)):
                raise DynexitError(f"{name} is {value}: it must be finite.")
        for name in ABOVE_0:
            if not getattr(self, name) > 0:  # what is no number is not, either
                raise DynexitError(f"{name} is {getattr(self, name)}: it must be above 0.")
        for name in ("queue", "grace"):
            if not getattr(self, name) >= 0:
                raise DynexitError(f"{name} is {getattr(self, name)}: it must be at least 0.")
        if self.earlier_texts not in WHOSE:
            raise DynexitError(
                f"earlier_texts is {self.earlier_texts!r}: it must be {', '.join(WHOSE)}."
            )
        if self.cache_memory is not None:
            memory_of(self.cache_memory)
        if self.api_key == "":
            raise DynexitError("the API key is empty: give one, or leave the option out.")
        if (key := self.api_key or "") != key.strip() or not (key.isprintable()):
            raise DynexitError(
                "the API key has characters that an HTTP header cannot carry: give another."
            )
