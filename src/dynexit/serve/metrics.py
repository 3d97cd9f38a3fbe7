"""Counters of one server, in Prometheus' format. Raw counts, from which readers compute rates.

Drafts are counted under vLLM's names, too, so that its dashboards read them.
"""

from collections.abc import Callable, Iterable
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from dynexit.decoding.prefixes import PrefixCache
from dynexit.decoding.records import Round
from dynexit.decoding.state import Chunk

FIRST_TOKEN = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
THEIRS = {
    "drafts": "Drafts that were verified.",
    "draft_tokens": "Drafted tokens.",
    "accepted_tokens": "Accepted tokens.",
}
BETWEEN_TOKENS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class _PrefixCounts(Collector):
    """What a prefix cache counts itself, read whenever somebody asks."""

    def __init__(self, prefixes: PrefixCache) -> None:
        self._prefixes = prefixes

    def collect(self) -> Iterable[Metric]:
        """As Prometheus wants it."""
        cache, name = self._prefixes, "dynexit_prefix_cache"
        for kind, text, value in (
            ("queries", "Prompts that looked for their beginning.", cache.asked),
            ("hits", "Prompts that found some of it.", cache.hits),
            ("found_tokens", "Tokens of prompts that were not read again.", cache.found),
            ("evicted_blocks", "Blocks that made room for others.", cache.dropped),
        ):
            yield CounterMetricFamily(f"{name}_{kind}", text, value)
        yield GaugeMetricFamily(f"{name}_bytes", "Bytes that it holds.", cache.bytes)
        yield GaugeMetricFamily(f"{name}_limit_bytes", "Bytes that it may hold.", cache.limit)


class Metrics:
    """What is counted; every method may be called from any thread.

    Args:
        model: the name of the model that is served.
        prefixes: what was read before, if it is kept.
    """

    def __init__(self, model: str, prefixes: PrefixCache | None = None) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "dynexit_requests", "Requests by route and status.", ("route", "status"),
            registry=registry,
        )  # fmt: skip
        self._texts = Counter(
            "dynexit_texts", "Texts by how they ended.", ("ended",), registry=registry
        )
        self._prompt_tokens = Counter(
            "dynexit_prompt_tokens", "Tokens of prompts.", registry=registry
        )
        self._tokens = Counter("dynexit_tokens", "Tokens written.", registry=registry)
        self._rounds = Counter("dynexit_rounds", "Rounds.", registry=registry)
        self._drafted = Counter(
            "dynexit_drafted_tokens", "Drafted tokens by position in their draft.", ("position",),
            registry=registry,
        )  # fmt: skip
        self._accepted = Counter(
            "dynexit_accepted_tokens", "Accepted tokens by position in their draft.",
            ("position",), registry=registry,
        )  # fmt: skip
        counters = [
            Counter(f"vllm:spec_decode_num_{kind}", text, ("model_name",), registry=registry)
            for kind, text in THEIRS.items()
        ]
        self._drafts, drafted, accepted = (counter.labels(model) for counter in counters)
        per_position = Counter(
            "vllm:spec_decode_num_accepted_tokens_per_pos",
            "Accepted tokens by position in their draft, from 0.",
            ("model_name", "position"), registry=registry,
        )  # fmt: skip
        # looked up once for each position: labels are dear
        self._at = cache(
            lambda at: (
                (self._drafted.labels(at + 1), drafted),
                (self._accepted.labels(at + 1), accepted, per_position.labels(model, at)),
            )
        )
        self._first = Histogram(
            "dynexit_time_to_first_token_seconds", "From request to first token.",
            buckets=FIRST_TOKEN, registry=registry,
        )  # fmt: skip
        self._between = Histogram(
            "dynexit_inter_token_seconds", "A round's seconds, shared among its tokens.",
            buckets=BETWEEN_TOKENS, registry=registry,
        )  # fmt: skip

        if prefixes is not None:
            registry.register(_PrefixCounts(prefixes))

    def watch(self, running: Callable[[], int], waiting: Callable[[], int]) -> None:
        """Read these two whenever somebody asks."""
        for name, text, read in (
            ("dynexit_running_texts", "Texts that are being decoded.", running),
            ("dynexit_queue_length", "Texts that wait.", waiting),
        ):
            Gauge(name, text, registry=self._registry).set_function(read)

    def request(self, route: str, status: int) -> None:
        """A reply was sent, or begun."""
        self._requests.labels(route, str(status)).inc()

    def prompt(self, tokens: int) -> None:
        """A prompt was taken on."""
        self._prompt_tokens.inc(tokens)

    def progress(self, chunks: list[Chunk], finished: Round | None, seconds: float) -> None:
        """A round ended (None: a prefill), `seconds` after the last one or the request."""
        tokens = sum(len(chunk.token_ids) for chunk in chunks)
        self._tokens.inc(tokens)
        if finished is None:
            self._first.observe(seconds)
            return
        for _ in range(tokens):
            self._between.observe(seconds / tokens)
        self._rounds.inc()
        self._drafts.inc(finished.drafted > 0)
        for position in range(finished.drafted):
            drafted, accepted = self._at(position)
            for counter in drafted:
                counter.inc()
            for counter in accepted:
                counter.inc(position < finished.accepted)

    def finished(self, reason: str) -> None:
        """A text ended: stop, length, context, cancelled, deadline or error."""
        self._texts.labels(reason).inc()

    @property
    def exposition(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self._registry)
